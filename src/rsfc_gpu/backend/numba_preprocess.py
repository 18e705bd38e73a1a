"""The CPU's loops over the volumes of a raw run, compiled by Numba and cached on disk.

As in `numba_kernels`, no loop starts threads of its own, and a volume is (Z, Y, X) in C order, which is file order.
Coefficient volumes carry a mirrored border, so that a sample within the volume never reads outside the array.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

# Multiply and add may fuse: that rounds once instead of twice. No other rearrangement is allowed.
_compile = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})

#: Positions up to this many voxels outside the first and last sample still count as inside, as in SPM.
TOLERANCE = 0.05


@_compile
def linear_sample(c, x, y, z):
    """Trilinear value at a position of the volume whose coefficients, with border 1, are `c`."""
    ix, iy, iz = math.floor(x), math.floor(y), math.floor(z)
    tx, ty, tz = np.float32(x - ix), np.float32(y - iy), np.float32(z - iz)
    ix, iy, iz = ix + 1, iy + 1, iz + 1
    # At the last sample, and within the tolerance beyond it, the far neighbour is the mirrored border.
    one = np.float32(1.0)
    c00 = c[iz, iy, ix] * (one - tx) + c[iz, iy, ix + 1] * tx
    c01 = c[iz, iy + 1, ix] * (one - tx) + c[iz, iy + 1, ix + 1] * tx
    c10 = c[iz + 1, iy, ix] * (one - tx) + c[iz + 1, iy, ix + 1] * tx
    c11 = c[iz + 1, iy + 1, ix] * (one - tx) + c[iz + 1, iy + 1, ix + 1] * tx
    return (c00 * (one - ty) + c01 * ty) * (one - tz) + (c10 * (one - ty) + c11 * ty) * tz


@_compile
def quadratic_weights(t):
    """Weights of the three nearest coefficients, the position being t in [-0.5, 0.5] from the middle one."""
    low = np.float32(0.5) - t
    high = np.float32(0.5) + t
    return np.float32(0.5) * low * low, np.float32(0.75) - t * t, np.float32(0.5) * high * high


@_compile
def quadratic_sample(c, x, y, z):
    """Second-degree B-spline at a position; the coefficients `c` have border 1."""
    ix, iy, iz = math.floor(x + 0.5), math.floor(y + 0.5), math.floor(z + 0.5)
    x0, x1, x2 = quadratic_weights(np.float32(x - ix))
    wy = quadratic_weights(np.float32(y - iy))
    wz = quadratic_weights(np.float32(z - iz))
    total = np.float32(0.0)
    for k in range(3):
        for j in range(3):
            row = c[iz + k, iy + j]
            total += wz[k] * wy[j] * (x0 * row[ix] + x1 * row[ix + 1] + x2 * row[ix + 2])
    return total


@_compile
def _quartic_middle(x):
    """The fourth-degree B-spline at a distance of 0.5 to 1.5."""
    return np.float32(55 / 96) + x * (
        np.float32(5 / 24) + x * (np.float32(-5 / 4) + x * (np.float32(5 / 6) - x * np.float32(1 / 6)))
    )


@_compile
def quartic_weights(t):
    """Weights of the five nearest coefficients, the position being t in [-0.5, 0.5] from the middle one."""
    one, half = np.float32(1.0), np.float32(0.5)
    low, high, square = (half - t) * (half - t), (half + t) * (half + t), t * t
    return (
        low * low * np.float32(1 / 24),
        _quartic_middle(one + t),
        np.float32(115 / 192) + square * (np.float32(-5 / 8) + square * np.float32(1 / 4)),
        _quartic_middle(one - t),
        high * high * np.float32(1 / 24),
    )


@_compile
def quartic_sample(c, x, y, z):
    """Fourth-degree B-spline at a position; the coefficients `c` have border 2."""
    ix, iy, iz = math.floor(x + 0.5), math.floor(y + 0.5), math.floor(z + 0.5)
    wx = quartic_weights(np.float32(x - ix))
    wy = quartic_weights(np.float32(y - iy))
    wz = quartic_weights(np.float32(z - iz))
    # One sum per column of the neighbourhood: five independent chains of additions.
    s0 = s1 = s2 = s3 = s4 = np.float32(0.0)
    for k in range(5):
        for j in range(5):
            weight = wz[k] * wy[j]
            row = c[iz + k, iy + j]
            s0 += weight * row[ix]
            s1 += weight * row[ix + 1]
            s2 += weight * row[ix + 2]
            s3 += weight * row[ix + 3]
            s4 += weight * row[ix + 4]
    return wx[0] * s0 + wx[1] * s1 + wx[2] * s2 + wx[3] * s3 + wx[4] * s4


@_compile
def sample_volume(degree, c, points, affine, values, count):
    """Sample `c` at affine (3, 4) @ points, and add 1 to `count`, where that is inside `c`; 0 elsewhere."""
    edge = 2 if degree == 4 else 1
    last_x = c.shape[2] - 1 - 2 * edge + TOLERANCE
    last_y = c.shape[1] - 1 - 2 * edge + TOLERANCE
    last_z = c.shape[0] - 1 - 2 * edge + TOLERANCE
    for i in range(points.shape[0]):
        px, py, pz = points[i, 0], points[i, 1], points[i, 2]
        x = affine[0, 0] * px + affine[0, 1] * py + affine[0, 2] * pz + affine[0, 3]
        y = affine[1, 0] * px + affine[1, 1] * py + affine[1, 2] * pz + affine[1, 3]
        z = affine[2, 0] * px + affine[2, 1] * py + affine[2, 2] * pz + affine[2, 3]
        if -TOLERANCE <= x <= last_x and -TOLERANCE <= y <= last_y and -TOLERANCE <= z <= last_z:
            if degree == 4:
                value = quartic_sample(c, x, y, z)
            elif degree == 2:
                value = quadratic_sample(c, x, y, z)
            else:
                value = linear_sample(c, x, y, z)
            values[i] = value
            count[i] += 1
        else:
            values[i] = 0.0


@_compile
def sample_gradient(c, points, values, gradient):
    """Second-degree B-spline and its derivatives along x, y, z (per voxel) at each position; NaN outside."""
    last_z, last_y, last_x = c.shape[0] - 3, c.shape[1] - 3, c.shape[2] - 3
    for i in range(points.shape[0]):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        if not (0.0 <= x <= last_x and 0.0 <= y <= last_y and 0.0 <= z <= last_z):
            values[i] = math.nan
            gradient[i, :] = math.nan
            continue
        ix, iy, iz = math.floor(x + 0.5), math.floor(y + 0.5), math.floor(z + 0.5)
        tx, ty, tz = x - ix, y - iy, z - iz
        wx = (0.5 * (0.5 - tx) ** 2, 0.75 - tx * tx, 0.5 * (0.5 + tx) ** 2)
        wy = (0.5 * (0.5 - ty) ** 2, 0.75 - ty * ty, 0.5 * (0.5 + ty) ** 2)
        wz = (0.5 * (0.5 - tz) ** 2, 0.75 - tz * tz, 0.5 * (0.5 + tz) ** 2)
        dx = (tx - 0.5, -2.0 * tx, tx + 0.5)
        dy = (ty - 0.5, -2.0 * ty, ty + 0.5)
        dz = (tz - 0.5, -2.0 * tz, tz + 0.5)
        value = along_x = along_y = along_z = 0.0
        for k in range(3):
            for j in range(3):
                row = c[iz + k, iy + j]
                plain = wx[0] * row[ix] + wx[1] * row[ix + 1] + wx[2] * row[ix + 2]
                slope = dx[0] * row[ix] + dx[1] * row[ix + 1] + dx[2] * row[ix + 2]
                value += wz[k] * wy[j] * plain
                along_x += wz[k] * wy[j] * slope
                along_y += wz[k] * dy[j] * plain
                along_z += dz[k] * wy[j] * plain
        values[i] = value
        gradient[i, 0] = along_x
        gradient[i, 1] = along_y
        gradient[i, 2] = along_z


@_compile
def rigid_equations(c, points, design, affine, moment, lost):
    """One step of a rigid fit of coefficients `c`: the samples that lie inside, counted.

    `moment` (7,) gets design' @ values over the samples inside; `lost` (7, 7) gets design' design over those outside.
    """
    last_z, last_y, last_x = c.shape[0] - 3, c.shape[1] - 3, c.shape[2] - 3
    moment[:] = 0.0
    lost[:] = 0.0
    inside = 0
    for i in range(points.shape[0]):
        px, py, pz = points[i, 0], points[i, 1], points[i, 2]
        x = affine[0, 0] * px + affine[0, 1] * py + affine[0, 2] * pz + affine[0, 3]
        y = affine[1, 0] * px + affine[1, 1] * py + affine[1, 2] * pz + affine[1, 3]
        z = affine[2, 0] * px + affine[2, 1] * py + affine[2, 2] * pz + affine[2, 3]
        if 0.0 <= x <= last_x and 0.0 <= y <= last_y and 0.0 <= z <= last_z:
            inside += 1
            value = quadratic_sample(c, x, y, z)
            for a in range(7):
                moment[a] += design[i, a] * value
        else:
            for a in range(7):
                for b in range(7):
                    lost[a, b] += design[i, a] * design[i, b]
    return inside
