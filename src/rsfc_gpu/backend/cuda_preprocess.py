"""Raw-run operations on CUDA: what `CudaBackend`'s methods of the same names do, in CuPy expressions.

A volume is (Z, Y, X). Splines are evaluated by cupyx's interpolation on coefficients that hold their own border, so
that no point of a volume reads beyond it.
"""

from __future__ import annotations

from typing import Any, Literal

import cupy
import numpy as np
from cupyx.scipy.ndimage import map_coordinates
from numpy.typing import NDArray

from rsfc_gpu.backend import F32, F64
from rsfc_gpu.backend.cuda_memory import DeviceMemory, Lane
from rsfc_gpu.backend.dct import CosineBasis, assemble_curvature
from rsfc_gpu.backend.numba_preprocess import TOLERANCE
from rsfc_gpu.backend.rigid import RigidFits, RigidTarget, fit_rigid
from rsfc_gpu.backend.splines import AxisFilters, border, coefficient_filters

_KINDS: tuple[Literal["single"], Literal["products"]] = ("single", "products")


def filter_axes(volume: Any, filters: tuple[Any, Any, Any]) -> Any:
    """Apply one matrix along each axis of a volume, or of several (..., Z, Y, X)."""
    along_z, along_y, along_x = filters
    planes = cupy.matmul(along_y, cupy.matmul(volume, along_x.T))
    flat = planes.reshape(*planes.shape[:-2], -1)
    return cupy.matmul(along_z, flat).reshape(*volume.shape[:-3], len(along_z), *planes.shape[-2:])


def shift_slices(volumes: NDArray[Any], operators: F64, memory: DeviceMemory) -> F32:
    n_volumes, n_slices, n_y, n_x = volumes.shape
    shifted = np.empty(volumes.shape, dtype=np.float32)

    def some_slices(lane: Lane, first: int, last: int) -> None:
        stored = lane.upload(volumes[:, first:last]).reshape(n_volumes, last - first, n_y * n_x)
        series = stored.astype(cupy.float32).transpose(1, 0, 2)
        # The operator keeps constants, so the mean may be taken out: float32 then rounds the fluctuation only.
        centre = series.mean(axis=1, dtype=cupy.float64, keepdims=True).astype(cupy.float32)
        operator = lane.upload(operators[first:last].astype(np.float32))
        result = cupy.matmul(operator, cupy.ascontiguousarray(series - centre)) + centre
        lane.download(result.transpose(1, 0, 2).reshape(n_volumes, last - first, n_y, n_x), shifted[:, first:last])

    memory.in_batches(n_slices, n_volumes * n_y * n_x * volumes.itemsize, some_slices)
    return shifted


def register_rigid(volumes: F32, target: RigidTarget, start: F64, memory: DeviceMemory) -> RigidFits:
    n_volumes = len(volumes)
    matrices = np.array(start, dtype=np.float64)
    converged = np.zeros(n_volumes, dtype=bool)
    samples = np.zeros(n_volumes, dtype=np.int64)
    filters = _on_device(target.filters, memory)
    points, design = memory.constant(target.points), memory.constant(target.design)

    def some_volumes(lane: Lane, first: int, last: int) -> None:
        coefficients = filter_axes(lane.upload(volumes[first:last]), filters)
        for t in range(first, last):

            def equations(to_volume: F64, image: Any = coefficients[t - first]) -> tuple[int, F64, F64]:
                inside, values = _sample(image, _moved(points, to_volume), degree=2, tolerance=0.0)
                outside = design * ~inside[:, None]
                both = cupy.concatenate([design.T @ values[:, None], outside.T @ outside], axis=1).get()
                return int(inside.sum()), both[:, 0], both[:, 1:]

            matrices[t], converged[t], samples[t] = fit_rigid(equations, target, np.array(start[t], dtype=np.float64))

    memory.in_batches(n_volumes, volumes[:1].nbytes, some_volumes)
    return RigidFits(matrices, converged, samples)


def resample(volumes: F32, points: F64, maps: F64, *, degree: int, out: F32 | None, memory: DeviceMemory) -> F32:
    grid = points.shape[:-1]
    filters = _on_device(coefficient_filters(volumes.shape[1:], degree, (0.0, 0.0, 0.0)), memory)
    flat_points = memory.constant(points.reshape(-1, 3))
    n_points = len(flat_points)
    totals: dict[int, F64] = {}
    counts: dict[int, NDArray[np.int64]] = {}

    def some_volumes(lane: Lane, first: int, last: int) -> None:
        coefficients = filter_axes(lane.upload(volumes[first:last]), filters)
        values = cupy.empty((last - first, n_points), cupy.float32)
        inside = cupy.empty((last - first, n_points), cupy.bool_)
        for i, affine in enumerate(maps[first:last]):
            inside[i], values[i] = _sample(
                coefficients[i], _moved(flat_points, affine), degree=degree, tolerance=TOLERANCE
            )
        totals[first], counts[first] = np.empty(n_points), np.empty(n_points, dtype=np.int64)
        lane.download(values.sum(axis=0, dtype=cupy.float64), totals[first])
        lane.download(inside.sum(axis=0, dtype=cupy.int64), counts[first])
        if out is not None:
            lane.download(values.reshape(last - first, *grid), out[first:last])

    memory.in_batches(len(volumes), volumes[:1].nbytes, some_volumes)
    total = sum((totals[first] for first in sorted(totals)), np.zeros(n_points))
    count = sum(counts.values(), np.zeros(n_points, dtype=np.int64))
    if out is not None:
        out[:, (count < len(volumes)).reshape(grid)] = 0.0
    mean = np.divide(total, count, out=np.zeros(n_points), where=count > 0)
    return mean.reshape(grid).astype(np.float32)


def sample_gradient(volume: F32, filters: AxisFilters, points: F64, memory: DeviceMemory) -> tuple[F64, F64]:
    coefficients = filter_axes(memory.constant(volume), _on_device(filters, memory))
    flat_points = memory.constant(points.reshape(-1, 3))
    last = cupy.asarray([n - 3.0 for n in reversed(coefficients.shape)])
    inside = ((flat_points >= 0.0) & (flat_points <= last)).all(axis=1)
    where = cupy.where(inside[:, None], flat_points, 0.0)
    nearest = cupy.floor(where + 0.5)
    t = where - nearest
    # For each axis: weights of the three coefficients near a point, (points, 3), and their derivatives.
    weights = cupy.stack([0.5 * (0.5 - t) ** 2, 0.75 - t * t, 0.5 * (0.5 + t) ** 2], axis=2)
    slopes = cupy.stack([t - 0.5, -2.0 * t, t + 0.5], axis=2)
    x, y, z = nearest.astype(cupy.int64).T
    sums = [cupy.zeros(len(flat_points)) for _ in range(4)]
    for k, j, i in np.ndindex(3, 3, 3):
        c = coefficients[z + k, y + j, x + i].astype(cupy.float64)
        in_x, in_y, in_z = weights[:, 0, i], weights[:, 1, j], weights[:, 2, k]
        sums[0] += c * in_x * in_y * in_z
        sums[1] += c * slopes[:, 0, i] * in_y * in_z
        sums[2] += c * in_x * slopes[:, 1, j] * in_z
        sums[3] += c * in_x * in_y * slopes[:, 2, k]
    found = cupy.where(inside[:, None], cupy.stack(sums, axis=1), np.nan).get()
    grid = points.shape[:-1]
    return np.ascontiguousarray(found[:, 0]).reshape(grid), np.ascontiguousarray(found[:, 1:]).reshape(points.shape)


def warp_equations(
    gradient: F64, residual: F64, templates: F64, basis: CosineBasis, memory: DeviceMemory
) -> tuple[F64, F64]:
    by_axis = cupy.moveaxis(memory.constant(gradient), -1, 0)
    fields = memory.constant(np.concatenate([residual[None], templates]))
    products = cupy.stack([by_axis[i] * by_axis[j] for i in range(3) for j in range(i, 3)])
    waves, pairs = ([memory.constant(basis.cosines(axis, kind=kind)) for axis in range(3)] for kind in _KINDS)
    curvature = assemble_curvature(_contract(products, pairs).get(), basis)
    by_direction = (by_axis[:, None] * fields).reshape(-1, *residual.shape)
    moments = _contract(by_direction, waves).get().reshape(3, len(fields), -1)
    flat = fields.reshape(len(fields), -1)
    scales = (flat[1:] @ flat.T).get()
    n, n_scales = len(curvature), len(templates)
    normal = np.empty((n + n_scales, n + n_scales))
    normal[:n, :n] = curvature
    normal[:n, n:] = -moments[:, 1:].transpose(0, 2, 1).reshape(n, n_scales)
    normal[n:, :n] = normal[:n, n:].T
    normal[n:, n:] = scales[:, 1:]
    return normal, np.concatenate([-moments[:, 0].ravel(), scales[:, 0]])


def _contract(fields: Any, cosines: list[Any]) -> Any:
    """Sum of each field (n, Z, Y, X) against every product of cosines: (n, count z, count y, count x)."""
    z, y, x = cosines
    return filter_axes(fields, (cupy.ascontiguousarray(z.T), cupy.ascontiguousarray(y.T), cupy.ascontiguousarray(x.T)))


def _moved(points: Any, affine: F64) -> Any:
    """Points (N, 3), x, y, z, taken by the first three rows of an affine matrix."""
    return points @ cupy.asarray(np.ascontiguousarray(affine[:3, :3].T)) + cupy.asarray(affine[:3, 3])


def _sample(coefficients: Any, points: Any, *, degree: int, tolerance: float) -> tuple[Any, Any]:
    """Whether each point (N, 3), x, y, z, is inside the volume (N,), and the spline there, 0 outside (N,)."""
    edge = border(degree)
    last = cupy.asarray([n - 1.0 - 2 * edge for n in reversed(coefficients.shape)])
    inside = ((points >= -tolerance) & (points <= last + tolerance)).all(axis=1)
    where = cupy.where(inside[:, None], points, 0.0)[:, ::-1].T + edge
    values = map_coordinates(coefficients, cupy.ascontiguousarray(where), order=degree, mode="mirror", prefilter=False)
    return inside, cupy.where(inside, values, cupy.float32(0.0))


def _on_device(filters: AxisFilters, memory: DeviceMemory) -> tuple[Any, Any, Any]:
    z, y, x = (memory.constant(matrix) for matrix in filters)
    return z, y, x
