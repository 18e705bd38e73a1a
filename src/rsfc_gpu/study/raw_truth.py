"""Raw runs of a simulated cohort: the motion and the warp that were found, held against those that were planted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rsfc_gpu.backend import Backend
from rsfc_gpu.bids.confounds import MOTION_COLUMNS
from rsfc_gpu.connectivity import Seeds
from rsfc_gpu.images.atlas import labels_at
from rsfc_gpu.images.mask import VoxelGrid
from rsfc_gpu.preprocess import Warp
from rsfc_gpu.preprocess.template import box_affine, box_shape, brain_mask
from rsfc_gpu.simulate import HEADS, MOTION_FOLDER, Head

GRID_MM = 3.0
NAME = "planted_vs_found_runs.tsv"


def score_raw_runs(out: Path, dataset: Path, space: str, backend: Backend) -> pd.DataFrame:
    """planted_vs_found_runs.tsv: one row per run that was normalised.

    Returns
    -------
    DataFrame with columns file; motion_rms_mm, motion_max_mm, motion_rms_degrees, motion_max_degrees, of the difference
    between estimated and planted parameters over the analysed volumes; warp_mean_mm and warp_95_mm, mean and 95th
    percentile over the brain of how far the place that a voxel was read from lies from its own; dice of the voxels of
    each seed with those of the structure that they were read from, mean over the seeds.
    """
    heads = json.loads((dataset / HEADS).read_text(encoding="utf-8"))
    rows = []
    for name in sorted(heads):
        start = str(out / name).replace("_bold.nii.gz", f"_space-{space}_desc-")
        sidecar = Path(f"{start}mean_bold.json")
        if sidecar.is_file():
            scan = Path(name).name.removesuffix("_bold.nii.gz")
            truth = pd.read_csv(dataset / MOTION_FOLDER / f"{scan}_motion.tsv", sep="\t").to_numpy()
            found = pd.read_csv(f"{start}motion_timeseries.tsv", sep="\t")[list(MOTION_COLUMNS)].to_numpy()
            facts = json.loads(sidecar.read_text(encoding="utf-8"))
            head = Head.from_facts(heads[name])
            rows.append({"file": name} | _motion_errors(found, truth) | _warp_errors(facts, head, space, backend))
    return pd.DataFrame(rows)


def _motion_errors(found: NDArray[np.float64], truth: NDArray[np.float64]) -> dict[str, float]:
    difference = found - truth[len(truth) - len(found) :]
    parts = {"mm": difference[:, :3], "degrees": np.degrees(difference[:, 3:])}
    rms = {f"motion_rms_{unit}": float(np.sqrt((part**2).mean())) for unit, part in parts.items()}
    return rms | {f"motion_max_{unit}": float(np.abs(part).max()) for unit, part in parts.items()}


def _warp_errors(facts: dict[str, Any], head: Head, space: str, backend: Backend) -> dict[str, float]:
    warp = Warp(np.array(facts["Affine"]), np.array(facts["WarpCoefficients"]), facts["NormalisationDice"], backend)
    grid = VoxelGrid(box_shape(GRID_MM)[::-1], box_affine(GRID_MM))
    axes = [grid.affine[axis, axis] * np.arange(n) + grid.affine[axis, 3] for axis, n in enumerate(grid.shape)]
    reached = head.to_template(warp.source_mm(*axes))  # (Z, Y, X, 3)
    own = np.stack(np.meshgrid(*axes[::-1], indexing="ij")[::-1], axis=-1)
    off = np.linalg.norm(reached - own, axis=-1)[brain_mask(GRID_MM)]
    return {
        "warp_mean_mm": float(off.mean()),
        "warp_95_mm": float(np.percentile(off, 95)),
        "seed_dice": _seed_dice(reached, grid, space),
    }


def _seed_dice(reached: NDArray[np.float64], grid: VoxelGrid, space: str) -> float:
    """Mean Dice of the amygdala's groups: voxels that are in one, and voxels that were read from inside it."""
    seeds = Seeds.from_atlas("juelich-amygdala", like=grid, space=space)
    labels = np.zeros(int(np.prod(grid.shape)), dtype=np.int16)
    for number, members in enumerate(seeds.members, start=1):
        labels[members] = number
    volume = labels.reshape(grid.shape, order="F")
    found = labels_at(volume, grid.affine, reached.reshape(-1, 3)).reshape(reached.shape[:3]).T
    pairs = [(volume == number, found == number) for number in range(1, len(seeds) + 1)]
    return float(np.mean([2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in pairs]))
