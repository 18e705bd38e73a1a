"""A set of voxels on a grid, and the way between volumes and the flat voxel axis V."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rsfc_gpu.errors import InputError


class Grid(Protocol):
    """Anything that has a shape and an affine: a mask, a nibabel image, a BOLD file."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def affine(self) -> NDArray[np.float64]: ...


@dataclass(frozen=True, eq=False)
class VoxelGrid:
    """A grid without an image: (X, Y, Z) voxels and the affine (4, 4) to mm."""

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Mask:
    """Voxels of one grid, in Fortran order (x fastest), the order in which NIfTI files store them.

    Attributes
    ----------
    inside : (X, Y, Z) bool.
    affine : (4, 4) voxel indices to mm.
    """

    inside: NDArray[np.bool_]
    affine: NDArray[np.float64]

    @classmethod
    def from_array(cls, values: ArrayLike, affine: ArrayLike) -> Mask:
        """The voxels of `values` (X, Y, Z) that are greater than 0; NaN is outside."""
        array = np.asarray(values)
        if array.ndim == 4 and array.shape[3] == 1:
            array = array[..., 0]
        if array.ndim != 3:
            raise InputError(f"a mask needs three dimensions, found shape {array.shape}")
        return cls(np.asarray(array > 0, dtype=bool), np.asarray(affine, dtype=np.float64))

    @property
    def shape(self) -> tuple[int, int, int]:
        """The grid (X, Y, Z)."""
        return self.inside.shape

    @cached_property
    def index(self) -> NDArray[np.int64]:
        """(V,) flat Fortran-order index of each voxel, ascending."""
        return np.flatnonzero(self.inside.ravel(order="F"))

    @cached_property
    def runs(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The same voxels as R runs of neighbours along x: flat start of each (R,), and its place on the voxel axis.

        Run k takes the places places[k] to places[k + 1]; so `places` is (R + 1,).
        """
        breaks = np.flatnonzero(np.diff(self.index) != 1) + 1
        places = np.concatenate([[0], breaks, [len(self.index)]])
        return self.index[places[:-1]], places

    def __len__(self) -> int:
        return len(self.index)

    @property
    def voxel_mm(self) -> NDArray[np.float64]:
        """(3,) voxel edge lengths in mm."""
        return np.asarray(np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0)))

    def take(self, volume: NDArray[Any]) -> NDArray[Any]:
        """Values inside: (X, Y, Z) to (V,)."""
        return volume.ravel(order="F")[self.index]

    def put(self, values: ArrayLike, fill: float = 0.0) -> NDArray[Any]:
        """Volumes with `values` inside and `fill` outside: (..., V) to (..., X, Y, Z), in the dtype of `values`."""
        array = np.asarray(values)
        flat = np.full((*array.shape[:-1], self.inside.size), fill, dtype=array.dtype)
        flat[..., self.index] = array
        # Reversed axes read in C order are the Fortran order of the grid.
        volumes = flat.reshape(*array.shape[:-1], *self.shape[::-1])
        return np.moveaxis(volumes, (-1, -2, -3), (-3, -2, -1))


def check_same_grid(what: str, grid: Grid, other: str, expected: Grid) -> None:
    """Raise InputError, printing both grids, unless they agree in shape and within 1e-3 mm at every corner."""
    same_shape = tuple(grid.shape[:3]) == tuple(expected.shape[:3])
    if same_shape and corner_distance_mm(expected.shape[:3], grid.affine, expected.affine) <= 1e-3:
        return

    def describe(grid: Grid) -> str:
        rows = "; ".join(" ".join(f"{value:.5g}" for value in row) for row in grid.affine[:3])
        return f"{'x'.join(map(str, grid.shape[:3]))} voxels [{rows}]"

    raise InputError(
        f"{what} and {other} are on different grids: {describe(grid)} against {describe(expected)}. "
        "Resample one of them to the other."
    )


def corner_distance_mm(shape: tuple[int, ...], affine: NDArray[Any], other: NDArray[Any]) -> float:
    """Largest distance in mm between the eight corners of a grid placed by two affines."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape])).reshape(3, -1)
    difference = affine - other
    return float(np.linalg.norm(difference[:3, :3] @ corners + difference[:3, 3:], axis=0).max())
