"""Raw-run operations of the CPU backend: what `CpuBackend`'s methods of the same names do.

`for_blocks(n, width, work)` calls work(start, stop) for every block of 0..n on the backend's threads.
One volume is in work on each thread at a time, so scratch memory does not grow with the length of the run.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rsfc_gpu.backend import F32, F64, numba_kernels, numba_preprocess
from rsfc_gpu.backend.dct import CosineBasis, assemble_curvature
from rsfc_gpu.backend.rigid import RigidFits, RigidTarget, fit_rigid
from rsfc_gpu.backend.smoothing_kernel import smoothing_weights
from rsfc_gpu.backend.splines import AxisFilters, coefficient_filters

ForBlocks = Callable[[int, int, Callable[[int, int], None]], None]

POINTS_PER_BLOCK = 16384
CHUNKS = 8  # partial sums of a mean: a fixed number, so that the sum does not depend on the number of threads


def shift_slices(volumes: NDArray[Any], operators: F64, for_blocks: ForBlocks) -> F32:
    shifted = np.empty(volumes.shape, dtype=np.float32)
    n_volumes = len(volumes)

    def one_slice(first: int, last: int) -> None:
        for z in range(first, last):
            series = volumes[:, z].reshape(n_volumes, -1).astype(np.float32)
            # The operator keeps constants, so the mean may be taken out: float32 then rounds the fluctuation only.
            centre = series.mean(axis=0)
            series -= centre
            result = operators[z].astype(np.float32) @ series
            result += centre
            shifted[:, z] = result.reshape(shifted[:, z].shape)

    for_blocks(volumes.shape[1], 1, one_slice)
    return shifted


def register_rigid(volumes: F32, target: RigidTarget, start: F64, for_blocks: ForBlocks) -> RigidFits:
    n_volumes = len(volumes)
    matrices = np.array(start, dtype=np.float64)
    converged = np.zeros(n_volumes, dtype=bool)
    samples = np.zeros(n_volumes, dtype=np.int64)

    def some_volumes(first: int, last: int) -> None:
        for t in range(first, last):
            coefficients = filter_axes(volumes[t], target.filters)
            matrices[t], converged[t], samples[t] = fit_rigid(
                partial(_rigid_equations, coefficients, target), target, matrices[t]
            )

    for_blocks(n_volumes, 1, some_volumes)
    return RigidFits(matrices, converged, samples)


def _rigid_equations(coefficients: F32, target: RigidTarget, to_volume: F64) -> tuple[int, F64, F64]:
    moment, lost = np.empty(7), np.empty((7, 7))
    inside = numba_preprocess.rigid_equations(coefficients, target.points, target.design, to_volume, moment, lost)
    return inside, moment, lost


def resample(
    volumes: F32,
    points: F64,
    maps: F64,
    *,
    degree: int,
    fwhm_voxels: ArrayLike,
    out: F32 | None,
    for_blocks: ForBlocks,
) -> F32:
    n_volumes, grid = len(volumes), points.shape[:-1]
    flat_points = np.ascontiguousarray(points.reshape(-1, 3), dtype=np.float64)
    n_points = len(flat_points)
    filters = coefficient_filters(volumes.shape[1:], degree, (0.0, 0.0, 0.0))
    width = max(1, -(-n_volumes // CHUNKS))
    count = np.zeros(n_points, dtype=np.int32)
    # With `out`, the mean is taken of it: the sums would come on top of the largest array of the whole chain.
    totals = np.zeros((0 if out is not None else -(-n_volumes // width), n_points))
    lock = Lock()

    def some_volumes(first: int, last: int) -> None:
        values, inside = np.empty(n_points, dtype=np.float32), np.zeros(n_points, dtype=np.int16)
        for t in range(first, last):
            if out is not None:
                values = out[t].reshape(-1)
            coefficients = filter_axes(volumes[t], filters)
            numba_preprocess.sample_volume(degree, coefficients, flat_points, maps[t], values, inside)
            if out is None:
                totals[first // width] += values
        with lock:
            np.add(count, inside, out=count)  # whole numbers: the order makes no difference

    for_blocks(n_volumes, width, some_volumes)
    total = totals.sum(axis=0) if out is None else _sum_over_volumes(out.reshape(n_volumes, -1), for_blocks)
    mean = np.divide(total, count, out=np.zeros(n_points), where=count > 0)
    if out is not None:
        _finish(out, np.flatnonzero(count < n_volumes), np.asarray(fwhm_voxels, dtype=np.float64), for_blocks)
    return np.asarray(mean.reshape(grid), dtype=np.float32)


def _sum_over_volumes(samples: F32, for_blocks: ForBlocks) -> F64:
    total = np.empty(samples.shape[1])

    def some_points(first: int, last: int) -> None:
        samples[:, first:last].sum(axis=0, dtype=np.float64, out=total[first:last])

    for_blocks(len(total), POINTS_PER_BLOCK, some_points)
    return total


def _finish(out: F32, missing: NDArray[np.intp], fwhm_voxels: F64, for_blocks: ForBlocks) -> None:
    """Zero the `missing` points in every volume; then smooth each volume, in place."""
    weights = [smoothing_weights(float(width)) for width in fwhm_voxels]
    smoothing = bool((fwhm_voxels > 0).any())

    def some_volumes(first: int, last: int) -> None:
        scratch = np.empty_like(out[0])
        for t in range(first, last):
            out[t].reshape(-1)[missing] = 0.0
            if smoothing:
                numba_kernels.smooth_x(out[t], weights[0], scratch)
                numba_kernels.smooth_y(scratch, weights[1], out[t])
                scratch[:] = out[t]
                numba_kernels.smooth_z(scratch, weights[2], 0, len(scratch), out[t])

    for_blocks(len(out), 1, some_volumes)


def sample_gradient(volume: F32, filters: AxisFilters, points: F64, for_blocks: ForBlocks) -> tuple[F64, F64]:
    coefficients = filter_axes(volume, filters)
    flat_points = np.ascontiguousarray(points.reshape(-1, 3), dtype=np.float64)
    values = np.empty(len(flat_points))
    gradient = np.empty((len(flat_points), 3))

    def some_points(first: int, last: int) -> None:
        numba_preprocess.sample_gradient(
            coefficients, flat_points[first:last], values[first:last], gradient[first:last]
        )

    for_blocks(len(flat_points), POINTS_PER_BLOCK, some_points)
    return values.reshape(points.shape[:-1]), gradient.reshape(points.shape)


def warp_equations(gradient: F64, residual: F64, templates: F64, basis: CosineBasis) -> tuple[F64, F64]:
    products = np.stack([gradient[..., i] * gradient[..., j] for i in range(3) for j in range(i, 3)])
    curvature = assemble_curvature(basis.contract(products, "products"), basis)
    fields = np.concatenate([residual[None], templates])
    by_direction = np.moveaxis(gradient, -1, 0)[:, None] * fields
    moments = basis.contract(by_direction.reshape(-1, *residual.shape), "single").reshape(3, len(fields), -1)
    flat_templates = templates.reshape(len(templates), -1)
    n, n_scales = len(curvature), len(templates)
    normal = np.empty((n + n_scales, n + n_scales))
    normal[:n, :n] = curvature
    normal[:n, n:] = -moments[:, 1:].transpose(0, 2, 1).reshape(n, n_scales)
    normal[n:, :n] = normal[:n, n:].T
    normal[n:, n:] = flat_templates @ flat_templates.T
    return normal, np.concatenate([-moments[:, 0].ravel(), flat_templates @ residual.ravel()])


def filter_axes(volume: F32, filters: AxisFilters) -> F32:
    """Apply one matrix along each axis of a volume (Z, Y, X)."""
    along_z, along_y, along_x = filters
    rows = np.matmul(np.ascontiguousarray(volume), along_x.T)
    planes = np.matmul(along_y, rows)
    return np.asarray((along_z @ planes.reshape(len(planes), -1)).reshape(len(along_z), *planes.shape[1:]))
