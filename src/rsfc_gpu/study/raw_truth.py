"""Raw runs of a simulated cohort: the motion and the warp that were found, held against those that were planted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rsfc_gpu.backend import Backend
from rsfc_gpu.bids.confounds import MOTION_COLUMNS
from rsfc_gpu.images.atlas import labels_at, read_card, seed_labels
from rsfc_gpu.preprocess import Warp
from rsfc_gpu.preprocess.template import box_affine, box_shape, brain_mask
from rsfc_gpu.simulate import HEADS, MOTION_FOLDER, Head

GRID_MM, SEED_GRID_MM = 3.0, 1.0
MARGIN_MM = 8.0  # around the seeds
NAME = "planted_vs_found_runs.tsv"


def score_raw_runs(out: Path, dataset: Path, space: str, backend: Backend) -> pd.DataFrame:
    """planted_vs_found_runs.tsv: one row per run that was normalised.

    Returns
    -------
    DataFrame with columns file; motion_rms_mm, motion_max_mm, motion_rms_degrees, motion_max_degrees, of the difference
    between estimated and planted parameters over the analysed volumes; warp_mean_mm and warp_95_mm, mean and 95th
    percentile over the brain of how far the place that a voxel was read from lies from its own; seed_dice of the points
    of each seed with those that were read from inside it, mean over the seeds. Points are 1 mm apart: on the 3-mm
    voxels of a map, an error of less than half a voxel would not be seen.
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
            rows.append({"file": name} | _motion_errors(found, truth) | _warp_errors(facts, head, backend))
    return pd.DataFrame(rows)


def _motion_errors(found: NDArray[np.float64], truth: NDArray[np.float64]) -> dict[str, float]:
    difference = found - truth[len(truth) - len(found) :]
    parts = {"mm": difference[:, :3], "degrees": np.degrees(difference[:, 3:])}
    rms = {f"motion_rms_{unit}": float(np.sqrt((part**2).mean())) for unit, part in parts.items()}
    return rms | {f"motion_max_{unit}": float(np.abs(part).max()) for unit, part in parts.items()}


def _warp_errors(facts: dict[str, Any], head: Head, backend: Backend) -> dict[str, float]:
    warp = Warp(np.array(facts["Affine"]), np.array(facts["WarpCoefficients"]), facts["NormalisationDice"], backend)
    affine = box_affine(GRID_MM)
    axes = [affine[axis, axis] * np.arange(n) + affine[axis, 3] for axis, n in enumerate(box_shape(GRID_MM)[::-1])]
    reached, own = _reached(warp, head, axes)
    off = np.linalg.norm(reached - own, axis=-1)[brain_mask(GRID_MM)]
    return {
        "warp_mean_mm": float(off.mean()),
        "warp_95_mm": float(np.percentile(off, 95)),
        "seed_dice": _seed_dice(warp, head),
    }


def _reached(warp: Warp, head: Head, axes: Sequence[NDArray[np.float64]]) -> tuple[NDArray[np.float64], ...]:
    """Where in the template the points of a grid were read from, and the points (Z, Y, X, 3)."""
    own = np.stack(np.meshgrid(*axes[::-1], indexing="ij")[::-1], axis=-1)
    return head.to_template(warp.source_mm(*axes)), own


def _seed_dice(warp: Warp, head: Head) -> float:
    """Mean Dice of the amygdala's groups: points that are in one, and points that were read from inside it."""
    labels, affine, names = seed_labels(read_card("juelich-amygdala"))
    corners = np.array([[0, 0, 0], np.array(labels.shape) - 1]) @ affine[:3, :3].T + affine[:3, 3]
    low, high = corners.min(axis=0) - MARGIN_MM, corners.max(axis=0) + MARGIN_MM
    axes = [np.arange(a, b + SEED_GRID_MM / 2, SEED_GRID_MM) for a, b in zip(low, high, strict=True)]
    found, wanted = (labels_at(labels, affine, points.reshape(-1, 3)) for points in _reached(warp, head, axes))
    pairs = [(wanted == value, found == value) for value in names]
    return float(np.mean([2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in pairs]))
