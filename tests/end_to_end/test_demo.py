"""The demonstration on a small cohort: every file is there, and faults that differ from the planted ones are told."""

from __future__ import annotations

import pandas as pd
import pytest

from rsfc_gpu import cli
from rsfc_gpu.errors import InputError
from rsfc_gpu.simulate import CohortSettings
from rsfc_gpu.study.demo import run_demo, surprises
from rsfc_gpu.study.run import RunOptions

SETTINGS = CohortSettings(participants=30, n_volumes=100, grid_mm=5.0, seed=2)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demonstration(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "out"
    return out, run_demo(out, SETTINGS, RunOptions(device="cpu"))


def test_files_and_faults(demonstration):
    out, done = demonstration
    assert done.surprises == []
    assert done.report == out / "report.html" and done.report.stat().st_size < 30e6
    score = pd.read_csv(out / "planted_vs_found.tsv", sep="\t", na_values="n/a")
    planted = pd.read_csv(out / "simulated" / "planted.tsv", sep="\t", na_values="n/a")
    wanted = planted[planted["role"] == "planted"]  # effects, and correlations with treatment
    assert set(score.loc[score["result"].isin(["found", "missed"]), "name"]) == set(wanted["name"])
    assert "Planted effects and clusters" in done.report.read_text(encoding="utf-8")


def test_a_second_call_computes_nothing_again(demonstration):
    out, first = demonstration
    again = run_demo(out, SETTINGS, RunOptions(device="cpu"))
    # A damaged run is tried again: it might have been mended.
    assert again.outcome.n_reused == len(again.outcome.flow[again.outcome.flow["bold"].notna()]) - 1
    pd.testing.assert_frame_equal(again.score, first.score)


def test_other_settings_do_not_take_the_cohort_that_is_there(demonstration, tmp_path):
    out, _ = demonstration
    with pytest.raises(InputError, match="made with other settings"):
        run_demo(out, CohortSettings(seed=3), RunOptions(device="cpu"))
    (tmp_path / "thesis.txt").write_text("mine")
    assert cli.main(["demo", str(tmp_path)]) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_reports_that_differ_from_what_was_planted_are_told(demonstration, tmp_path):
    out, _ = demonstration
    (tmp_path / "group").symlink_to(out / "group")
    flow = pd.read_csv(out / "participants_flow.tsv", sep="\t", na_values="n/a")
    moved = flow["stage"] == "motion"
    flow.loc[moved & (flow.index == flow.index[moved][0]), ["stage", "status"]] = ["analysed", "kept"]
    kept = flow.index[(flow["status"] == "kept") & (flow["group"] == "HC")][0]
    flow.loc[kept, ["stage", "status"]] = ["coverage", "excluded"]
    flow.to_csv(tmp_path / "participants_flow.tsv", sep="\t", index=False, na_rep="n/a")
    told = surprises(tmp_path, out / "simulated")
    assert len(told) == 2
    assert "planted to stop at motion, reported as usable" in told[0]
    assert "stopped at coverage, nothing was planted" in told[1]


def test_raw_runs_are_held_against_their_truth(tmp_path):
    """The fewest people, from scanner files to the report."""
    out = tmp_path / "raw"
    settings = CohortSettings(level="raw", participants=12, n_volumes=100, grid_mm=5.0, seed=5)
    done = run_demo(out, settings, RunOptions(device="cpu"))
    assert done.surprises == []
    flow = pd.read_csv(out / "participants_flow.tsv", sep="\t", na_values="n/a")
    stopped = flow[flow["stage"].isin(["motion", "images"])]
    assert sorted(stopped["status"]) == ["excluded", "failed", "failed"]
    runs = pd.read_csv(out / "planted_vs_found_runs.tsv", sep="\t", na_values="n/a")
    assert len(runs) == flow["normalisation_dice"].notna().sum() >= 20
    assert runs["motion_rms_mm"].max() < 0.03 and runs["motion_rms_degrees"].max() < 0.03
    assert runs["warp_mean_mm"].mean() < 2.0
    assert runs["seed_dice"].mean() > 0.5
    assert "Planted effects and clusters" in done.report.read_text(encoding="utf-8")
