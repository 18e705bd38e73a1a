"""The CPU's loops over the voxels of a group model, compiled by Numba and cached on disk.

Residuals lie voxel after voxel, (voxels, images), so that a voxel and its neighbour are two short contiguous rows.
Sums may be reordered ("reassoc"), which lets them use vector registers; all are in float64.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_compile = njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})


@_compile
def scale_to_unit_norm(rows, n_residuals, squares):
    """Sum of squares of the first `n_residuals` values of each row, to `squares`; the values divided by its root."""
    for v in range(rows.shape[0]):
        total = 0.0
        for i in range(n_residuals):
            total += rows[v, i] * rows[v, i]
        squares[v] = total
        scale = 1.0 / np.sqrt(total) if total > 0.0 else 0.0
        for i in range(n_residuals):
            rows[v, i] *= scale


@_compile
def difference_products(here, above, first, first_above, neighbours, n_used, products):
    """Sums over images of the products of forward differences, for the voxels of one plane.

    here, above : (voxels, columns) unit residuals of this plane and the next; the first `n_used` columns count.
    first, first_above : number of the first voxel of each plane.
    neighbours : (V, 3) number of the next voxel along x, y and z; the voxel itself on the last plane of the volume;
        -1 in the first column where the 2x2x2 neighbourhood is not complete.
    products : (6, V) xx, xy, xz, yy, yz, zz, written for the voxels of `here`; 0 where incomplete.
    """
    for row in range(here.shape[0]):
        v = first + row
        xx, xy, xz, yy, yz, zz = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        if neighbours[v, 0] >= 0:
            own = here[row]
            next_x = here[neighbours[v, 0] - first]
            next_y = here[neighbours[v, 1] - first]
            next_z = own if neighbours[v, 2] == v else above[neighbours[v, 2] - first_above]
            for i in range(n_used):
                dx = next_x[i] - own[i]
                dy = next_y[i] - own[i]
                dz = next_z[i] - own[i]
                xx += dx * dx
                xy += dx * dy
                xz += dx * dz
                yy += dy * dy
                yz += dy * dz
                zz += dz * dz
        products[0, v], products[1, v], products[2, v] = xx, xy, xz
        products[3, v], products[4, v], products[5, v] = yy, yz, zz
