"""B-spline interpolation as one small matrix per axis, shared by both backends.

Interpolating coefficients, smoothing and the mirrored border are all linear along an axis. Their product is a
matrix of at most a few hundred rows, so that a volume becomes coefficients by three matrix products.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.backend.smoothing_kernel import smoothing_weights

AxisFilters = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]

#: Weight of each neighbour at distance 0, 1, 2 of a B-spline of this degree, at a grid point.
_AT_GRID_POINTS = {1: (1.0,), 2: (3 / 4, 1 / 8), 4: (115 / 192, 19 / 96, 1 / 384)}


def border(degree: int) -> int:
    """Coefficients needed beyond each end of an axis, so that no evaluation has to reflect an index."""
    return (degree + 1) // 2


def coefficient_matrix(n: int, degree: int, fwhm_voxels: float = 0.0) -> NDArray[np.float32]:
    """Matrix (n + 2 border, n): samples along an axis to B-spline coefficients, smoothed first, with a mirrored border.

    Parameters
    ----------
    n : samples along the axis.
    degree : 1, 2 or 4.
    fwhm_voxels : width of the Gaussian; its kernel is renormalised where it leaves the axis.

    References
    ----------
    Unser, Aldroubi and Eden 1993, IEEE Trans Signal Process 41:821-848; mirrored about the end samples.
    """
    interpolation = np.zeros((n, n))
    rows = np.arange(n)
    for distance, weight in enumerate(_AT_GRID_POINTS[degree]):
        for neighbour in {distance, -distance}:
            np.add.at(interpolation, (rows, _reflected(rows + neighbour, n)), weight)
    coefficients = np.linalg.solve(interpolation, smoothing_matrix(n, fwhm_voxels))
    edge = border(degree)
    return coefficients[_reflected(np.arange(-edge, n + edge), n)].astype(np.float32)


def smoothing_matrix(n: int, fwhm_voxels: float) -> NDArray[np.float64]:
    """Matrix (n, n) that smooths along an axis, each row of sum 1: constants stay constant up to the ends."""
    matrix = convolution_matrix(n, fwhm_voxels)
    return np.asarray(matrix / matrix.sum(axis=1, keepdims=True))


def convolution_matrix(n: int, fwhm_voxels: float) -> NDArray[np.float64]:
    """Matrix (n, n) that smooths along an axis, zero outside it."""
    weights = smoothing_weights(fwhm_voxels).astype(np.float64)
    radius = len(weights) // 2
    offsets = np.arange(n)[None, :] - np.arange(n)[:, None]
    near = np.abs(offsets) <= radius
    return np.where(near, weights[np.clip(offsets + radius, 0, 2 * radius)], 0.0)


def coefficient_filters(shape_zyx: tuple[int, ...], degree: int, fwhm_voxels_xyz: tuple[float, ...]) -> AxisFilters:
    """The matrices of the z, y and x axis of a volume (Z, Y, X)."""
    fwhm_zyx = fwhm_voxels_xyz[::-1]
    z, y, x = (coefficient_matrix(n, degree, width) for n, width in zip(shape_zyx, fwhm_zyx, strict=True))
    return z, y, x


def _reflected(index: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Indices mirrored about the first and the last sample, as often as needed."""
    if n == 1:
        return np.zeros_like(index)
    folded = np.abs(index) % (2 * (n - 1))
    return np.asarray(np.minimum(folded, 2 * (n - 1) - folded))
