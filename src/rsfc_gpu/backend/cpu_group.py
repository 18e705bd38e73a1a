"""Group statistics on the CPU: the voxel work of a linear model, in blocks that stay in cache."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.backend import F32, F64, numba_group
from rsfc_gpu.backend.linear_model import LinearFit, forward_neighbours

ForBlocks = Callable[[int, int, Callable[[int, int], None]], None]

POOL_VOXELS = 2048  # an (84, 2048) float64 block takes 1.4 MB


def pool_second_moment(samples: F32, basis: F64, blocks: F64, f_above: float, for_blocks: ForBlocks) -> tuple[F64, int]:
    n_images, n_voxels = samples.shape
    effects, freedom = basis.shape[1] - blocks.shape[1], n_images - basis.shape[1]
    total = np.zeros((n_images, n_images))
    pooled, next_start = 0, 0
    waiting: dict[int, tuple[int, F64, int]] = {}
    lock = Lock()

    def one_block(start: int, stop: int) -> None:
        nonlocal total, pooled, next_start
        block = samples[:, start:stop].astype(np.float64)
        explained = np.square(basis.T @ block).sum(axis=0)
        residual = np.square(block).sum(axis=0) - explained
        by_effects = explained - np.square(blocks.T @ block).sum(axis=0)
        chosen = by_effects * freedom > f_above * effects * residual
        scaled = block[:, chosen] * np.sqrt(freedom / residual[chosen])
        moment = scaled @ scaled.T
        with lock:
            # In the order of the voxels, not as blocks end: a sum's last digits depend on it.
            waiting[start] = stop, moment, int(chosen.sum())
            while next_start in waiting:
                next_start, moment, n_chosen = waiting.pop(next_start)
                total += moment
                pooled += n_chosen

    for_blocks(n_voxels, POOL_VOXELS, one_block)
    return total / max(pooled, 1), pooled


def fit_linear_model(
    samples: F32,
    residuals: F64,
    linear: F64,
    n_used: int,
    inside: NDArray[np.bool_],
    threads: int,
    for_blocks: ForBlocks,
) -> LinearFit:
    n_images, n_voxels = samples.shape
    operator = np.ascontiguousarray(np.vstack([residuals, linear]).T)
    starts = np.concatenate([[0], np.cumsum(inside.sum(axis=(0, 1)))])
    neighbours, complete = forward_neighbours(inside)
    found = LinearFit(np.empty((len(linear), n_voxels)), np.empty(n_voxels), np.empty((6, n_voxels)), complete)

    def plane(z: int) -> F64:
        """Fit the voxels of plane z; their unit residuals, (voxels, images and functions)."""
        here = slice(starts[z], starts[z + 1])
        rows = samples[:, here].astype(np.float64).T @ operator
        numba_group.scale_to_unit_norm(rows, n_images, found.residual_squares[here])
        found.linear[:, here] = rows[:, n_images:].T
        return rows

    def slab(first: int, stop: int) -> None:
        # The plane above a slab is fitted twice, which is cheaper than keeping residuals; both write the same numbers.
        here = plane(first)
        for z in range(first, stop):
            above = plane(z + 1) if z + 1 < inside.shape[2] else here[:0]
            numba_group.difference_products(here, above, starts[z], starts[z + 1], neighbours, n_used, found.products)
            here = above

    n_planes = inside.shape[2]
    for_blocks(n_planes, max(1, -(-n_planes // (2 * threads))), slab)
    return found
