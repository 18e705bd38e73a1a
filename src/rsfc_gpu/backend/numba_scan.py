"""The CPU's loop over the voxels of a simulated scanner, compiled by Numba and cached on disk."""

from __future__ import annotations

import math

from numba import njit

_compile = njit(cache=True, nogil=True, error_model="numpy")


@_compile
def read_head(contrast, to_contrast, steps, column, to_column, moment, points_mm, values):
    """values[i] = contrast * (1 + change) at points_mm[i] (P, 3), each linear in space, the change also in time.

    contrast (Z, Y, X), and column (Z, Y, X), the place of a voxel in a row of steps (M, V); to_contrast, to_column
    (3, 4) take mm to their voxels x, y, z. moment (P,) counts rows of steps. Outside contrast the value is 0, outside
    column the change.
    """
    for i in range(points_mm.shape[0]):
        values[i] = 0.0
        x, y, z = _voxel(to_contrast, points_mm, i)
        if not _inside(contrast, x, y, z):
            continue
        ix, iy, iz = int(x), int(y), int(z)
        brightness = 0.0
        for corner in range(8):
            dx, dy, dz = corner & 1, corner >> 1 & 1, corner >> 2
            brightness += _weight(x - ix, y - iy, z - iz, dx, dy, dz) * contrast[iz + dz, iy + dy, ix + dx]
        x, y, z = _voxel(to_column, points_mm, i)
        if _inside(column, x, y, z):
            ix, iy, iz = int(x), int(y), int(z)
            row = int(moment[i])
            now, later = 0.0, 0.0
            for corner in range(8):
                dx, dy, dz = corner & 1, corner >> 1 & 1, corner >> 2
                weight = _weight(x - ix, y - iy, z - iz, dx, dy, dz)
                place = column[iz + dz, iy + dy, ix + dx]
                now += weight * steps[row, place]
                later += weight * steps[row + 1, place]
            brightness *= 1.0 + now + (moment[i] - row) * (later - now)
        values[i] = brightness


@_compile
def _voxel(affine, points, i):
    x, y, z = points[i, 0], points[i, 1], points[i, 2]
    return (
        affine[0, 0] * x + affine[0, 1] * y + affine[0, 2] * z + affine[0, 3],
        affine[1, 0] * x + affine[1, 1] * y + affine[1, 2] * z + affine[1, 3],
        affine[2, 0] * x + affine[2, 1] * y + affine[2, 2] * z + affine[2, 3],
    )


@_compile
def _inside(volume, x, y, z):
    """Between the first and last sample, so that every position has eight neighbours."""
    n_z, n_y, n_x = volume.shape
    return 0.0 <= x < n_x - 1 and 0.0 <= y < n_y - 1 and 0.0 <= z < n_z - 1


@_compile
def _weight(tx, ty, tz, dx, dy, dz):
    return math.fabs(1 - dx - tx) * math.fabs(1 - dy - ty) * math.fabs(1 - dz - tz)
