"""The demonstration on a small cohort: every file is there, and faults that differ from the planted ones are told."""

from __future__ import annotations

import pandas as pd
import pytest

from rsfc_gpu import cli
from rsfc_gpu.backend import select_backend
from rsfc_gpu.errors import InputError
from rsfc_gpu.simulate import CohortSettings, plan_cohort, simulate_cohort
from rsfc_gpu.simulate.anatomy import SPACE
from rsfc_gpu.simulate.dataset import write_scan
from rsfc_gpu.study.config import load_study
from rsfc_gpu.study.demo import run_demo, surprises
from rsfc_gpu.study.raw_truth import score_raw_runs
from rsfc_gpu.study.run import RunOptions, run_study

SETTINGS = CohortSettings(participants=30, n_volumes=100, grid_mm=5.0, skull_stripped=True, seed=2)
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


def test_the_number_of_jobs_holds_for_the_cohort_too(tmp_path, monkeypatch):
    seen = []

    def simulate(*_, jobs):
        seen.append(jobs)
        raise InputError("enough")

    monkeypatch.setattr("rsfc_gpu.study.demo.simulate_cohort", simulate)
    with pytest.raises(InputError, match="enough"):
        run_demo(tmp_path, SETTINGS, RunOptions(device="cpu", jobs=3))
    assert seen == [3]


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


def test_raw_runs_are_held_against_their_truth(tmp_path, monkeypatch):
    """Three people of a raw cohort; `rsfc demo --raw` does the same with more, and then what every study does."""
    settings = CohortSettings(level="raw", participants=12, n_volumes=100, grid_mm=5.0, seed=5)
    table = plan_cohort(settings).people.table
    chosen = {fate: table.index[table["fate"] == fate][0] for fate in ("analysed", "moved", "no-seed")}

    def few(root, cohort, scan):
        if scan.row in chosen.values() and (scan.session == 0 or scan.excursion_mm):
            write_scan(root, cohort, scan)

    monkeypatch.setattr("rsfc_gpu.simulate.dataset.write_scan", few)
    dataset, out = tmp_path / "simulated", tmp_path / "out"
    simulate_cohort(dataset, settings)
    options = RunOptions(device="cpu", level="participant")
    flow = run_study(dataset, out, load_study(None), options).flow.set_index("bold")
    stages = {name: list(rows["stage"]) for name, rows in flow.groupby("participant_id")}
    ids = {fate: table.loc[row, "participant_id"] for fate, row in chosen.items()}
    assert stages[ids["analysed"]] == ["analysed"]
    assert "motion" in stages[ids["moved"]]
    assert stages[ids["no-seed"]] == ["images"]
    runs = score_raw_runs(out, dataset, SPACE, select_backend("cpu")).set_index("file")
    assert set(runs.index) == set(flow.index[flow["stage"] == "analysed"])
    assert runs["motion_rms_mm"].max() < 0.03 and runs["motion_rms_degrees"].max() < 0.03
    assert runs["warp_mean_mm"].max() < 2.5
    assert runs["seed_dice"].min() > 0.5
