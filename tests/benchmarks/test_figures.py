"""Figures and text of docs/ come from JSON: from a tiny one here, and what is committed is what is shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_laws import MEASURED

import figures
import scaling_text
from laws import fit_law, project

REPOSITORY = Path(__file__).parents[2]
TIMING = {"median_s": 0.2, "lowest_s": 0.1, "highest_s": 0.3, "rounds": 3}


def axis(sizes: list[int], fixed: dict[str, int], *stages: str) -> dict[str, Any]:
    costs = [0.01 * size for size in sizes]
    found = {
        "median_s": costs,
        "lowest_s": [0.9 * cost for cost in costs],
        "highest_s": [1.2 * cost for cost in costs],
        "law": fit_law([*map(float, sizes)], costs).as_json(),
    }
    return {"fixed": fixed, "sizes": sizes, "stages": dict.fromkeys(stages, found)}


def scaling_results() -> dict[str, Any]:
    study = MEASURED["study"] | {"workers": {"runs": 16, "one_s": 4.0, "two_s": 2.2}}
    paper = MEASURED["paper_run"] | {"predicted_s": MEASURED["paper_run"]["stages_s"]}
    stages = ("decode", "read", "maps", "whole")
    return {
        "quick": False,
        "seconds": 200.0,
        "machine": {"date": "2026-01-01T00:00:00", "cpu": "a CPU", "load_average": 0.1, "load_average_after": 1.9},
        "axes": {
            "volumes": axis([100, 200, 400], {"voxels": 2000, "seeds": 6}, *stages, "operator"),
            "voxels": axis([1000, 2000, 4000], {"volumes": 200, "seeds": 6}, *stages),
            "seeds": axis([6, 12, 24], {"volumes": 200, "voxels": 2000}, "maps"),
            "maps": axis([10, 20, 40], {"voxels": 2000}, "group model"),
            "runs": axis([2, 4, 8], {"workers": 1}, "participant stage"),
        },
        "paper_run": paper,
        "study": study,
        "projection": project(MEASURED),
    }


def peers_results() -> dict[str, Any]:
    run = {"in_process": {"rsfc_gpu": TIMING, "plain NumPy": TIMING}, "floors": {"decode": TIMING}}
    group = {"in_process": {"rsfc_gpu": TIMING, "statsmodels, a part": TIMING | {"extrapolated_to_all_s": 9.0}}}
    size = {"n_runs": 1, "n_volumes": 120, "n_maps": 24}
    return {"sizes": {"small": {"size": size, "run": run, "group": group | {"floors": {}}}}}


def stages_results() -> dict[str, Any]:
    """As pytest-benchmark writes them."""
    tests = {"test_decode_floor": {"run": "noise"}, "test_seed_maps": {"run": "noise", "backend": "cpu"}}
    tests |= {"test_plain_numpy": {"run": "noise"}}
    found = [
        {"fullname": f"benchmarks/bench_run.py::{name}[x]", "params": params, "stats": {"median": 0.1}}
        for name, params in tests.items()
    ]
    found.append({"fullname": "benchmarks/bench_report.py::test_report", "params": None, "stats": {"median": 20.0}})
    return {"benchmarks": found}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder of results: the committed ones, and tiny ones of what may not be committed yet."""
    folder = tmp_path / "results"
    folder.mkdir()
    for name in ("calibration", "planted-clear", "planted-paper", "planted-none"):
        (folder / f"{name}.json").write_text((figures.RESULTS / f"{name}.json").read_text())
    (folder / "scaling.json").write_text(json.dumps(scaling_results()))
    (folder / "stages.json").write_text(json.dumps(stages_results()))
    (folder / "peers.json").write_text(json.dumps(peers_results()))
    return folder


def draw(results: Path, out: Path) -> str:
    text = out.with_name("performance.md")
    text.write_text(f"before\n{scaling_text.BEGIN}\nold\n{scaling_text.END}\nafter\n")
    assert figures.main(["--results", str(results), "--figures", str(out), "--text", str(text)]) == 0
    return text.read_text()


def test_every_figure_is_drawn_and_depends_on_its_numbers_alone(results: Path, tmp_path: Path) -> None:
    text = draw(results, tmp_path / "one")
    changed = scaling_results()
    changed["axes"]["maps"]["stages"]["group model"]["median_s"][0] *= 1.1
    (results / "scaling.json").write_text(json.dumps(changed))
    draw(results, tmp_path / "two")
    assert {path.stem for path in (tmp_path / "one").iterdir()} == set(figures.FIGURES)
    for path in (tmp_path / "one").iterdir():
        same = path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
        assert same == (path.stem != "scaling"), path.name
        assert path.stat().st_size < 300_000
    assert text.startswith("before\n") and text.endswith("after\n") and "\nold\n" not in text


def test_missing_results_leave_a_figure_out_and_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "none").mkdir()
    text = draw(tmp_path / "none", tmp_path / "out")
    assert "\nold\n" in text
    assert list((tmp_path / "out").iterdir()) == []
    assert "peers: not drawn, there is no peers.json" in capsys.readouterr().out


def test_the_text_says_the_numbers_and_that_they_are_a_projection() -> None:
    text = scaling_text.section(scaling_results())
    assert "| a group model with two contrasts and two tables | maps | 10 to 40 | 1.00 | 1.00 to 1.00 | 1.00 |" in text
    assert "### Projection: 10,000 runs" in text
    assert "Nothing in this section was run." in text
    assert "| 32 cores | 0.45 | 2.34 min to 3.97 min | 4.8 GB/s |" in text
    assert "| 32 cores and a GPU (predicted) | 0.40 |" in text
    assert max(map(len, text.splitlines())) <= 120


def test_a_text_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="needs the lines"):
        scaling_text.replaced("no marks", scaling_results())


def test_the_documents_show_the_committed_numbers() -> None:
    committed = figures.RESULTS / "scaling.json"
    text = (REPOSITORY / "docs" / "performance.md").read_text()
    assert text.count(scaling_text.BEGIN) == 1
    if committed.exists():
        assert scaling_text.replaced(text, json.loads(committed.read_text())) == text, "run `make figures`"
