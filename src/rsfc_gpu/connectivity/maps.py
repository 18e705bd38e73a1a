"""Seed-to-voxel correlation maps of one run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.backend import Backend
from rsfc_gpu.connectivity.seeds import Seeds
from rsfc_gpu.errors import InputError
from rsfc_gpu.files import bids_label, write_text
from rsfc_gpu.images.mask import Mask, check_same_grid
from rsfc_gpu.images.series import Series

SMALLEST_RETAINED = 1e-6  # below this share of its norm a cleaned voxel holds rounding noise: its r would mean nothing


class SeedNotCovered(InputError):
    """A seed without a usable voxel: a reason to leave the run out, not a fault of its files."""


@dataclass(frozen=True, eq=False)
class SeedMaps:
    """Correlation maps of S seeds in one run.

    Attributes
    ----------
    r, z : (S, X, Y, Z) float32, Pearson correlation and Fisher z; 0 where a voxel is not usable.
    usable : (X, Y, Z) bool: in the mask, finite, not constant, and not explained away by the nuisance signals.
    voxel_r, voxel_z : (S, V) the same, of the usable voxels alone; volumes are made of them when they are asked for.
    mask : the V usable voxels. names : of the seeds.
    affine : (4, 4) voxel indices to mm.
    kept : (T,) bool, volumes that survived scrubbing, of those left after the first were discarded.
    rank, dof : of the temporal operator.
    coverage : (S,) share of each seed's voxels that were usable.
    fd_mm : (T,) framewise displacement, or None without motion parameters.
    counts : voxels of the mask left out: "not_finite", "constant", "nuisance_only".
    settings : what was done, for the sidecars.
    """

    voxel_r: NDArray[np.float32]
    voxel_z: NDArray[np.float32]
    mask: Mask
    names: tuple[str, ...]
    kept: NDArray[np.bool_]
    rank: int
    dof: float
    coverage: NDArray[np.float64]
    fd_mm: NDArray[np.float64] | None
    counts: Mapping[str, int]
    settings: Mapping[str, Any]

    @cached_property
    def r(self) -> NDArray[np.float32]:
        return self.mask.put(self.voxel_r)

    @cached_property
    def z(self) -> NDArray[np.float32]:
        return self.mask.put(self.voxel_z)

    @property
    def usable(self) -> NDArray[np.bool_]:
        return self.mask.inside

    @property
    def affine(self) -> NDArray[np.float64]:
        return self.mask.affine

    def save(self, folder: str | Path, *, prefix: str = "") -> list[Path]:
        """Write one z map per seed, PREFIXseed-NAME_stat-z_statmap.nii.gz with a JSON sidecar; NaN where not usable.

        Each file appears whole or not at all. Returns the paths of the maps.

        Raises
        ------
        ResourceError : the folder cannot be written.
        """
        from rsfc_gpu.images.nifti import save_volume

        paths = []
        flat = np.full(self.usable.size, np.nan, dtype=np.float32)
        for seed, (name, z) in enumerate(zip(self.names, self.voxel_z, strict=True)):
            path = Path(folder) / f"{prefix}seed-{bids_label(name)}_stat-z_statmap.nii.gz"
            flat[self.mask.index] = z
            save_volume(path, flat.reshape(self.mask.shape, order="F"), self.affine)
            sidecar = {
                "Seed": name,
                "SeedCoverage": round(float(self.coverage[seed]), 6),
                "DegreesOfFreedom": round(self.dof, 6),
                "Rank": self.rank,
                "Volumes": len(self.kept),
                "CensoredVolumes": np.flatnonzero(~self.kept).tolist(),
                "MeanFramewiseDisplacement": None if self.fd_mm is None else round(float(self.fd_mm.mean()), 6),
                "UsableVoxels": len(self.mask),
                "ExcludedVoxels": dict(self.counts),
                "Settings": dict(self.settings),
            }
            write_text(
                path.with_name(path.name.replace(".nii.gz", ".json")),
                json.dumps(sidecar, indent=2, allow_nan=False) + "\n",
            )
            paths.append(path)
        return paths


def correlate_seeds(
    series: Series, seeds: Seeds, compressor: NDArray[np.float64], backend: Backend
) -> tuple[NDArray[np.float32], NDArray[np.float32], Mask, NDArray[np.float64]]:
    """r and z (S, V) of the usable voxels, these voxels, and the coverage (S,) of the seeds.

    The seed's series is the unweighted mean over its voxels inside the mask. z = atanh(r), |r| clipped to 1 - 1e-7.

    Raises
    ------
    InputError : other grids, or a seed without a usable voxel.

    References
    ----------
    DPABI 5.0, y_SCA: mean of the seed, Pearson correlation, Fisher transformation.
    """
    check_same_grid("the seeds", seeds, "the mask", series.mask)
    inside, coverage = seeds.within(series.mask)
    for name, members, at in zip(seeds.names, seeds.members, inside, strict=True):
        if len(at) == 0:
            raise SeedNotCovered(f"seed {name}: none of its {len(members)} voxels is usable in this run")
    r, z, retained = backend.correlate(series.samples, series.centre, compressor, series.mean_over(inside))
    usable = retained >= SMALLEST_RETAINED
    if usable.all():
        return r, z, series.mask, coverage
    mask = Mask(series.mask.put(usable, fill=False), series.mask.affine)
    return r[:, usable], z[:, usable], mask, coverage
