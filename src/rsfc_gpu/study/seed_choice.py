"""The seeds of a study as voxels of a grid."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.connectivity import Seeds
from rsfc_gpu.errors import InputError
from rsfc_gpu.images.mask import Grid, VoxelGrid
from rsfc_gpu.study.config import SeedChoice


def seeds_on(choice: SeedChoice, grid: Grid, space: str) -> Seeds:
    """The seeds of a study on a grid."""
    n_x, n_y, n_z = grid.shape[:3]
    return _seeds(choice, (n_x, n_y, n_z), grid.affine.tobytes(), space)


@cache
def _seeds(choice: SeedChoice, shape: tuple[int, int, int], affine: bytes, space: str) -> Seeds:
    grid = VoxelGrid(shape, np.frombuffer(affine).reshape(4, 4))
    names: list[str] = []
    members: list[NDArray[np.int64]] = []
    if choice.atlas is not None:
        atlas = Seeds.from_atlas(choice.atlas, like=grid, space=space, allow_space=choice.allow_space)
        unknown = [name for name in choice.names if name not in atlas.names]
        if unknown:
            raise InputError(
                f"atlas {choice.atlas} has no seed {unknown[0]!r}: expected some of {', '.join(atlas.names)}"
            )
        wanted = choice.names or atlas.names
        names += wanted
        members += [atlas.members[atlas.names.index(name)] for name in wanted]
    for sphere in choice.spheres:
        found = Seeds.from_spheres([sphere.xyz_mm], sphere.radius_mm, like=grid, names=[sphere.name])
        names.append(sphere.name)
        members += found.members
    return Seeds(tuple(names), tuple(members), shape, grid.affine)
