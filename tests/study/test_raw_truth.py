"""The scorer of simulated raw runs, on files whose errors are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rsfc_gpu.backend import Backend
from rsfc_gpu.backend.rigid import rigid_matrix
from rsfc_gpu.bids.confounds import MOTION_COLUMNS
from rsfc_gpu.simulate import HEADS, MOTION_FOLDER, Head
from rsfc_gpu.study.raw_truth import score_raw_runs

SPACE = "MNI152NLin6Asym"
BOLD = "sub-1/ses-baseline/func/sub-1_ses-baseline_task-rest_bold.nii.gz"
START = BOLD.replace("_bold.nii.gz", f"_space-{SPACE}_desc-")
TRUTH = np.cumsum(np.random.default_rng(0).normal(size=(15, 6)), axis=0) * 0.01


def files(root: Path, head: Head, affine: np.ndarray, found: np.ndarray) -> None:
    """A dataset with one run, and what a study made of it: the motion it found, and an affine as the whole warp."""
    for name in (root / "out" / START, root / "data" / MOTION_FOLDER / "x"):
        name.parent.mkdir(parents=True, exist_ok=True)
    unseen = BOLD.replace("sub-1", "sub-2")  # never normalised: no row
    (root / "data" / HEADS).write_text(json.dumps({BOLD: head.facts(), unseen: head.facts()}))
    truth = root / "data" / MOTION_FOLDER / "sub-1_ses-baseline_task-rest_motion.tsv"
    pd.DataFrame(TRUTH, columns=list(MOTION_COLUMNS)).to_csv(truth, sep="\t", index=False)
    table = pd.DataFrame(found, columns=list(MOTION_COLUMNS)).assign(framewise_displacement=9.0)
    table.to_csv(root / "out" / f"{START}motion_timeseries.tsv", sep="\t", index=False)
    warp = {"Affine": affine.tolist(), "WarpCoefficients": np.zeros((3, 7, 9, 7)).tolist(), "NormalisationDice": 1.0}
    (root / "out" / f"{START}mean_bold.json").write_text(json.dumps(warp))


def score(root: Path, backend: Backend) -> pd.Series:
    runs = score_raw_runs(root / "out", root / "data", SPACE, backend)
    assert list(runs["file"]) == [BOLD]
    return runs.iloc[0].drop("file").astype(float)


def test_the_truth_has_no_error(tmp_path, cpu) -> None:
    head = Head.draw(np.random.default_rng(1), warp_mm=0.0)  # placed and sized only: an affine undoes it exactly
    files(tmp_path, head, np.linalg.inv(head.affine), TRUTH[5:])  # five volumes were discarded
    found = score(tmp_path, cpu)
    assert found.pop("seed_dice") == 1.0
    assert (found.abs() < 1e-6).all()


def test_known_errors_are_found_in_their_units(tmp_path, cpu) -> None:
    head = Head.draw(np.random.default_rng(2), warp_mm=0.0)
    motion = TRUTH.copy()
    motion[3, 1] -= 0.06
    motion[4, 5] += np.radians(0.3)
    shift = rigid_matrix([0.0, 3.0, 0.0, 0.0, 0.0, 0.0])
    files(tmp_path, head, np.linalg.inv(head.affine) @ shift, motion)
    found = score(tmp_path, cpu)
    assert found["motion_max_mm"] == pytest.approx(0.06)
    assert found["motion_rms_mm"] == pytest.approx(0.06 / np.sqrt(15 * 3))
    assert found["motion_max_degrees"] == pytest.approx(0.3)
    assert found["motion_rms_degrees"] == pytest.approx(0.3 / np.sqrt(15 * 3))
    assert found["warp_mean_mm"] == pytest.approx(3.0) and found["warp_95_mm"] == pytest.approx(3.0)
    assert 0.2 < found["seed_dice"] < 0.9  # one voxel of structures that are a few voxels wide


def test_errors_smaller_than_a_voxel_of_a_map_cost_overlap(tmp_path, cpu) -> None:
    head = Head.draw(np.random.default_rng(4), warp_mm=0.0)
    dice = [1.0]
    for mm in (1.0, 2.0, 40.0):
        files(tmp_path, head, np.linalg.inv(head.affine) @ rigid_matrix([mm, 0.0, 0.0, 0.0, 0.0, 0.0]), TRUTH)
        dice.append(score(tmp_path, cpu)["seed_dice"])
    assert dice[0] > dice[1] + 0.05 > dice[2] + 0.1
    assert dice[3] == 0.0


def test_the_waves_of_a_head_are_part_of_the_error(tmp_path, cpu) -> None:
    head = Head.draw(np.random.default_rng(3))
    files(tmp_path, head, np.linalg.inv(head.affine), TRUTH)
    found = score(tmp_path, cpu)
    assert 1.0 < found["warp_mean_mm"] < found["warp_95_mm"] < np.linalg.norm(head.amplitudes, axis=1).sum()
