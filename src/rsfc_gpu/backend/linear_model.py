"""What the voxelwise fit of a linear model finds, and which neighbours its smoothness compares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class LinearFit:
    """What `fit_linear_model` finds, on the voxel axis V.

    Attributes
    ----------
    linear : (L, V) the asked-for linear functions of the maps.
    residual_squares : (V,) sum of squared residuals.
    products : (6, V) sums over the used images of products of forward differences of residuals of unit norm: xx, xy,
        xz, yy, yz, zz; 0 where the 2x2x2 neighbourhood is not complete.
    complete : (V,) bool, where it is.
    """

    linear: NDArray[np.float64]
    residual_squares: NDArray[np.float64]
    products: NDArray[np.float64]
    complete: NDArray[np.bool_]


def forward_neighbours(inside: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Numbers of the next voxels along x, y and z, (V, 3), and whether the forward 2x2x2 cube is inside, (V,).

    Voxels count in Fortran order. Beyond the volume the last plane repeats: there the next voxel is the voxel itself.
    An incomplete voxel has -1.
    """
    padded = np.pad(inside, [(0, 1)] * 3, mode="edge")
    shape = inside.shape
    cube = np.ones(shape, dtype=bool)
    for x in (0, 1):
        for y in (0, 1):
            for z in (0, 1):
                cube &= padded[x : x + shape[0], y : y + shape[1], z : z + shape[2]]
    number = np.full(inside.size, -1, dtype=np.int64)
    index = np.flatnonzero(inside.ravel(order="F"))
    number[index] = np.arange(len(index))
    numbers = np.pad(number.reshape(shape, order="F"), [(0, 1)] * 3, mode="edge")
    nexts = (numbers[1:, :-1, :-1], numbers[:-1, 1:, :-1], numbers[:-1, :-1, 1:])
    complete = cube.ravel(order="F")[index]
    neighbours = np.stack([following.ravel(order="F")[index] for following in nexts], axis=1)
    neighbours[~complete] = -1
    return neighbours, complete
