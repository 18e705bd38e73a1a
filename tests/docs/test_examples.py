"""The scripts of docs/examples run as a reader runs them, and find what they planted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def run_example(name: str, folder: Path) -> str:
    """What docs/examples/NAME prints, with `folder` as its only argument."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "examples" / name), str(folder)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_one_run(tmp_path: Path) -> None:
    # The script itself ends with an error where the planted connection is further than 10 mm away.
    assert "planted at (48.0, 18.0, 40.0)" in run_example("one_run.py", tmp_path)
    assert len(list((tmp_path / "maps").glob("*_statmap.nii.gz"))) == 6


def test_a_study(tmp_path: Path) -> None:
    printed = run_example("a_study.py", tmp_path / "study")
    found = printed.split("q_fdr")[1].split("seed ")[0]
    for region in ("Precuneus_L", "Temporal_Inf_R", "Putamen_L", "Cingulate_Mid_R"):
        assert region in found
    assert "damaged after volume" in printed
    assert (tmp_path / "study" / "out" / "report.html").stat().st_size > 1e5
