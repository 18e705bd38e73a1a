"""Seed regions: sets of voxels on one grid, from labels, spheres or an atlas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.errors import InputError
from rsfc_gpu.files import bids_label
from rsfc_gpu.images.mask import Grid, Mask

if TYPE_CHECKING:
    from nibabel.spatialimages import SpatialImage


@dataclass(frozen=True, eq=False)
class Seeds:
    """S named sets of voxels; they may overlap.

    Attributes
    ----------
    names : S names, unique.
    members : S arrays of flat Fortran-order voxel indices of the grid, ascending.
    shape, affine : the grid.
    """

    names: tuple[str, ...]
    members: tuple[NDArray[np.int64], ...]
    shape: tuple[int, ...]
    affine: NDArray[np.float64]

    def __post_init__(self) -> None:
        if not self.names:
            raise InputError("there is no seed")
        if len(set(self.names)) < len(self.names):
            raise InputError(f"seed names must be unique: {', '.join(self.names)}")
        if len(self.names) != len(self.members):
            raise InputError(f"{len(self.names)} names for {len(self.members)} seeds")
        labels = [bids_label(name) for name in self.names]
        for name, label in zip(self.names, labels, strict=True):
            if not label or labels.count(label) > 1:
                raise InputError(f"seed {name!r} has no file name of its own: letters and digits alone give {label!r}")
        for name, members in zip(self.names, self.members, strict=True):
            if len(members) == 0:
                raise InputError(f"seed {name} has no voxel on this grid")

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def from_labels(
        cls, image: str | Path | SpatialImage, names: Mapping[int, str] | Sequence[str] | None = None
    ) -> Seeds:
        """One seed per integer label greater than 0, in ascending order.

        Parameters
        ----------
        names : of the labels, by value, or in ascending order; None names them "label1", "label2", ...

        Raises
        ------
        InputError : labels that are not integers, no label, or names that do not match the labels.
        """
        from rsfc_gpu.images.nifti import load_volume

        values, affine = load_volume(image)
        return cls._from_volume(values, affine, names)

    @classmethod
    def from_spheres(
        cls,
        centres: Sequence[Sequence[float]],
        radius_mm: float = 6,
        *,
        like: Any,
        names: Sequence[str] | None = None,
        snap: bool = False,
    ) -> Seeds:
        """All voxels whose centre lies within `radius_mm` of each centre, the bound included.

        Parameters
        ----------
        centres : S triples x, y, z in mm.
        like : the grid: a path, a nibabel image, or anything with a shape and an affine.
        names : S names; None makes them of the coordinates.
        snap : move each centre to the nearest voxel first, halves up, as DPABI's y_Sphere does.
        """
        shape, affine = _grid(like)
        try:
            points = np.atleast_2d(np.asarray(centres, dtype=np.float64))
        except (ValueError, TypeError) as error:
            raise InputError(f"centres of spheres: expected triples x, y, z, found {centres}") from error
        if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all() or not radius_mm > 0:
            raise InputError(f"spheres need triples of coordinates and a positive radius, found {centres}, {radius_mm}")
        indices = np.stack(np.unravel_index(np.arange(np.prod(shape)), shape, order="F"), axis=1)
        voxels_mm = indices @ affine[:3, :3].T + affine[:3, 3]
        members = []
        for point in points:
            centre = point
            if snap:
                voxel = np.floor(np.linalg.solve(affine[:3, :3], point - affine[:3, 3]) + 0.5)
                centre = affine[:3, :3] @ voxel + affine[:3, 3]
            # The tolerance keeps voxels at exactly the radius, whatever rounding made of the coordinates.
            members.append(np.flatnonzero(((voxels_mm - centre) ** 2).sum(axis=1) <= (radius_mm + 1e-6) ** 2))
        labels = names or ["sphere_" + "_".join(f"{value:g}" for value in point) for point in points]
        return cls(tuple(labels), tuple(members), shape, affine)

    @classmethod
    def from_atlas(cls, name: str, *, like: Any, space: str | None, allow_space: str | None = None) -> Seeds:
        """The regions of a packaged atlas on the grid of `like`, nearest neighbour.

        Parameters
        ----------
        name : "juelich-amygdala", or another card of atlases/ with labels.
        like : the grid: a path, a nibabel image, or anything with a shape and an affine.
        space : space of `like`, as TemplateFlow spells it ("MNI152NLin6Asym").
        allow_space : a further space that the caller accepts in spite of its shift against the atlas.

        Raises
        ------
        InputError : an atlas that is not there or does not hold seeds, or a space that the atlas does not accept.
        """
        from rsfc_gpu.images.atlas import read_card, require_space, resample_labels, seed_labels

        card = read_card(name)
        require_space(card, space, also_allowed=() if allow_space is None else (allow_space,))
        shape, affine = _grid(like)
        labels, labels_affine, names = seed_labels(card)
        resampled = resample_labels(labels, labels_affine, shape, affine)
        lost = [names[value] for value in names if not (resampled == value).any()]
        if lost:
            raise InputError(
                f"atlas {name} on this grid: no voxel for {', '.join(lost)}; the grid is too coarse or misses it"
            )
        return cls._from_volume(resampled, affine, names)

    @classmethod
    def _from_volume(
        cls, values: NDArray[Any], affine: NDArray[Any], names: Mapping[int, str] | Sequence[str] | None
    ) -> Seeds:
        flat = np.asarray(values).ravel(order="F")
        if not np.isfinite(flat).all() or (flat != np.round(flat)).any():
            raise InputError("a label image holds integers; this one holds others (a probability map?)")
        found = [int(value) for value in np.unique(flat) if value > 0]
        if names is None:
            names = {value: f"label{value}" for value in found}
        elif not isinstance(names, Mapping):
            if len(names) != len(found):
                raise InputError(f"{len(names)} names for {len(found)} labels ({', '.join(map(str, found))})")
            names = dict(zip(found, names, strict=True))
        missing = [value for value in found if value not in names]
        if missing:
            raise InputError(f"labels without a name: {', '.join(map(str, missing))}")
        members = tuple(np.flatnonzero(flat == value) for value in found)
        return cls(tuple(names[value] for value in found), members, values.shape, np.asarray(affine, np.float64))

    def within(self, mask: Mask) -> tuple[list[NDArray[np.int64]], NDArray[np.float64]]:
        """Positions of each seed on the voxel axis of `mask`, and the share of its voxels that the mask holds, (S,)."""
        positions = np.full(mask.inside.size, -1, dtype=np.int64)
        positions[mask.index] = np.arange(len(mask))
        inside = [positions[members][positions[members] >= 0] for members in self.members]
        coverage = np.array([len(at) / len(members) for at, members in zip(inside, self.members, strict=True)])
        return inside, coverage


def _grid(like: Any) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    from rsfc_gpu.images.nifti import load_image

    grid: Grid = load_image(like) if isinstance(like, (str, Path)) else like
    if len(grid.shape) < 3:
        raise InputError(f"the grid of a seed needs three dimensions, found shape {grid.shape}")
    shape = (int(grid.shape[0]), int(grid.shape[1]), int(grid.shape[2]))
    return shape, np.asarray(grid.affine, dtype=np.float64)
