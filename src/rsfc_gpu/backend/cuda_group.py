"""Group statistics on CUDA: linear models in slabs of planes, and the clusters of many maps at once."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.backend import F32, F64, cuda_kernels
from rsfc_gpu.backend.cuda_memory import DeviceMemory, Lane
from rsfc_gpu.backend.linear_model import LinearFit, forward_neighbours


def pool_second_moment(samples: F32, basis: F64, blocks: F64, f_above: float, memory: DeviceMemory) -> tuple[F64, int]:
    n_images, n_voxels = samples.shape
    effects, freedom = basis.shape[1] - blocks.shape[1], n_images - basis.shape[1]
    all_columns, subject_columns = memory.constant(basis.T), memory.constant(blocks.T)
    moments: dict[int, F64] = {}
    pooled: dict[int, NDArray[np.int64]] = {}

    def one_batch(lane: Lane, start: int, stop: int) -> None:
        block = lane.upload(samples[:, start:stop]).astype(cupy.float64)
        explained = cupy.square(all_columns @ block).sum(axis=0)
        residual = cupy.square(block).sum(axis=0) - explained
        by_effects = explained - cupy.square(subject_columns @ block).sum(axis=0)
        chosen = by_effects * freedom > f_above * effects * residual
        # A voxel that is not chosen becomes 0: a list of the chosen would have to come back to the host first.
        scaled = cupy.where(chosen, block * cupy.sqrt(freedom / cupy.where(chosen, residual, 1.0)), 0.0)
        moments[start], pooled[start] = np.empty((n_images, n_images)), np.empty(1, dtype=np.int64)
        lane.download(scaled @ scaled.T, moments[start])
        lane.download(chosen.sum(keepdims=True), pooled[start])

    memory.in_batches(n_voxels, n_images * samples.itemsize, one_batch)
    n_pooled = int(sum(int(count[0]) for count in pooled.values()))
    total = sum((moments[start] for start in sorted(moments)), np.zeros((n_images, n_images)))
    return total / max(n_pooled, 1), n_pooled


def fit_linear_model(
    samples: F32, residuals: F64, linear: F64, n_used: int, inside: NDArray[np.bool_], memory: DeviceMemory
) -> LinearFit:
    n_images, n_voxels = samples.shape
    n_planes = inside.shape[2]
    starts = np.concatenate([[0], np.cumsum(inside.sum(axis=(0, 1)))])
    neighbours, complete = forward_neighbours(inside)
    found = LinearFit(np.empty((len(linear), n_voxels)), np.empty(n_voxels), np.empty((6, n_voxels)), complete)
    operator = memory.constant(np.vstack([residuals, linear]))
    next_voxels = memory.constant(neighbours)
    products = cupy.empty((6, n_voxels), cupy.float64)

    def fitted(lane: Lane, first: int, stop: int) -> tuple[Any, Any]:
        """Unit residuals and linear functions (columns, voxels) of some voxels, and the sums of squared residuals."""
        if first == stop:
            return cupy.empty((len(operator), 0), cupy.float64), cupy.empty(0, cupy.float64)
        rows = operator @ lane.upload(samples[:, first:stop]).astype(cupy.float64)
        squares = cupy.empty(stop - first, cupy.float64)
        cuda_kernels.scale_to_unit_norm(rows, n_images, squares)
        return rows, squares

    def slab(lane: Lane, first: int, stop: int) -> None:
        # The plane after a slab is fitted twice, which is cheaper than keeping residuals.
        begin, end = int(starts[first]), int(starts[stop])
        here, squares = fitted(lane, begin, end)
        above, _ = fitted(lane, end, int(starts[min(stop + 1, n_planes)]))
        cuda_kernels.difference_products(here, above, begin, end, next_voxels, n_used, products)
        lane.download(squares, found.residual_squares[begin:end])
        lane.download(here[n_images:], found.linear[:, begin:end])

    memory.in_batches(n_planes, int(np.diff(starts).max()) * n_images * samples.itemsize, slab)
    products.get(out=found.products)
    return found


def label_maps(values: Any, neighbours: Any, threshold: float) -> tuple[Any, Any, Any]:
    """Clusters of many maps at once: labels, sizes and highest values, each (N, V), on the device.

    Parameters
    ----------
    values : (N, V) float32 or float64 on the device.
    neighbours : (V, 6, 18 or 26) int32 on the device, from `numba_labels.neighbour_table`.

    labels : the number of the first voxel of the cluster; -1 where the map does not exceed `threshold`.
    sizes : voxels of the cluster, at its first voxel; 0 elsewhere.
    highest : its highest value, in float32, at its first voxel; -inf elsewhere.
    """
    if values.dtype not in (np.float32, np.float64):
        values = values.astype(cupy.float64)
    labels, sizes, peaks = (cupy.empty(values.shape, cupy.int32) for _ in range(3))
    cuda_kernels.label_init(values, threshold, labels, sizes, peaks)
    cuda_kernels.label_merge(labels, neighbours)
    cuda_kernels.label_compress(labels)
    cuda_kernels.label_measure(values, labels, sizes, peaks)
    bits = cupy.where(peaks >= 0, peaks, peaks ^ 0x7FFFFFFF)
    return labels, sizes, cupy.where(sizes > 0, bits.view(cupy.float32), cupy.float32(-np.inf))


def number_clusters(roots: Any) -> Any:
    """Clusters (V,) numbered 1, 2, ... in the order of their first voxels; 0 where there is none."""
    is_root = roots == cupy.arange(roots.size, dtype=cupy.int32)
    numbers = cupy.cumsum(is_root, dtype=cupy.int32)
    return cupy.where(roots >= 0, numbers[cupy.maximum(roots, 0)], 0).astype(cupy.int32)
