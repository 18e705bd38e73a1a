"""Maps to the matrix that a group model fits: images by voxels, over the voxels that every image has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rsfc_gpu.errors import InputError
from rsfc_gpu.images.mask import Mask, check_same_grid

F32 = NDArray[np.float32]
Maps = NDArray[Any] | Sequence[str | Path] | Sequence[NDArray[Any]]
MaskSource = Mask | NDArray[Any] | str | Path


def read_samples(
    maps: Maps, rows: NDArray[np.int64], n_table_rows: int, mask: MaskSource | None, affine: ArrayLike | None
) -> tuple[F32, Mask]:
    """The chosen maps over the group mask, (N, V) float32, one image in memory at a time beside the result.

    Parameters
    ----------
    maps : (n_table_rows, X, Y, Z) array, or that many of (X, Y, Z), or NIfTI paths. rows : positions of those to take.
    mask : search volume, values above 0; None: the whole grid.
    affine : of an array, (4, 4); from the files otherwise.

    A voxel is in the group mask where `mask` holds, no map has NaN or infinity, the maps are not all equal, and, in
    images of an integer type, no map has 0: there 0 stands for "outside", in floating-point images it is a value. SPM12
    does the same, but keeps infinite values.

    Raises
    ------
    InputError : a number of maps other than of table rows, maps or masks on different grids, no voxel left.
    """
    if len(maps) != n_table_rows:
        raise InputError(
            f"{len(maps)} maps for a table of {n_table_rows} rows: give one map per row, in the table's order"
        )
    first, integer, grid_affine = _load(maps, int(rows[0]), affine)
    grid = Mask(np.ones(first.shape, dtype=bool), grid_affine)
    search = grid if mask is None else _search_volume(mask, grid)
    index = search.index
    index = index[_usable(first.ravel(order="F")[index], integer)]
    # The same voxels in C order, so that an array stored that way is read where it stands.
    c_index = np.ravel_multi_index(np.unravel_index(index, grid.shape, order="F"), grid.shape)
    samples = np.empty((len(rows), len(index)), dtype=np.float32)
    valid = np.ones(len(index), dtype=bool)
    varies = np.zeros(len(index), dtype=bool)
    for position, row in enumerate(rows):
        image, integer, row_affine = _load(maps, int(row), affine)
        if position and (image.shape != grid.shape or row_affine is not grid_affine):
            check_same_grid(f"map {row}{_named(maps, row)}", _Placed(image.shape, row_affine), "the first", grid)
        fortran = image.flags.f_contiguous
        values = image.ravel(order="F").take(index) if fortran else image.ravel().take(c_index)
        valid &= _usable(values, integer)
        samples[position] = values
        varies |= samples[position] != samples[0]
    kept = valid & varies
    if not kept.any():
        raise InputError(
            f"no voxel is left of {len(search)} in the mask: {int((~valid).sum())} lack a value in some map, "
            f"{int((valid & ~varies).sum())} are the same in all maps"
        )
    inside = np.zeros(search.inside.size, dtype=bool)
    inside[index[kept]] = True
    found = Mask(inside.reshape(search.shape, order="F"), search.affine)
    return samples if kept.all() else samples[:, kept], found


def _load(maps: Maps, row: int, affine: ArrayLike | None) -> tuple[NDArray[Any], bool, NDArray[np.float64]]:
    """One map, whether its stored type is an integer, and its affine."""
    source = maps[row]
    if isinstance(source, (str, Path)):
        from rsfc_gpu.images.nifti import load_image, load_volume

        image = load_image(source)
        values, own = load_volume(image)
        return values, image.get_data_dtype().kind in "iu", own
    values = np.asarray(source)
    if values.ndim != 3 or values.dtype.kind not in "fiu":
        raise InputError(f"map {row} has shape {values.shape} and type {values.dtype}: expected real numbers (X, Y, Z)")
    placed = _IDENTITY if affine is None else np.asarray(affine, dtype=np.float64)
    if placed.shape != (4, 4) or not np.isfinite(placed).all():
        raise InputError(f"the affine of the maps: expected 4 x 4 finite numbers, found shape {placed.shape}")
    return values, values.dtype.kind in "iu", placed


_IDENTITY = np.eye(4)


class _Placed:
    def __init__(self, shape: tuple[int, ...], affine: NDArray[np.float64]) -> None:
        self.shape, self.affine = shape, affine


def _named(maps: Maps, row: int) -> str:
    return f" ({maps[row]})" if isinstance(maps[row], (str, Path)) else ""


def _search_volume(mask: MaskSource, grid: Mask) -> Mask:
    if isinstance(mask, (str, Path)):
        from rsfc_gpu.images.nifti import load_volume

        mask = Mask.from_array(*load_volume(mask))
    elif not isinstance(mask, Mask):
        mask = Mask.from_array(np.asarray(mask), grid.affine)
    check_same_grid("the mask", mask, "the maps", grid)
    return mask


def _usable(values: NDArray[Any], integer: bool) -> NDArray[np.bool_]:
    usable = np.asarray(np.isfinite(values), dtype=bool)
    return usable & (values != 0) if integer else usable
