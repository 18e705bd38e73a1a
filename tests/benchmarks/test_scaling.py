"""The measurement of scaling, on sizes that take seconds: what it writes is what figures and text are made from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import figures
import scaling
import scaling_text


@pytest.mark.slow
def test_a_quick_measurement_becomes_figure_and_text(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    committed = tmp_path / "results" / "scaling.json"
    assert scaling.main(["--quick", "--json", str(committed)]) == 0
    report = json.loads(committed.read_text(), parse_constant=lambda name: pytest.fail(f"{name} in the JSON"))
    assert set(report["axes"]) == {"volumes", "voxels", "seeds", "maps", "runs"}
    for axis in report["axes"].values():
        for stage in axis["stages"].values():
            assert len(stage["median_s"]) == len(axis["sizes"])
            assert all(0 < low <= high for low, high in zip(stage["lowest_s"], stage["highest_s"], strict=True))
    assert report["paper_run"]["compressed_bytes"] > 5e6
    assert report["study"]["seconds_a_run"] > 0 and report["study"]["result_bytes_a_run"] > 1e5
    text = tmp_path / "text.md"
    text.write_text(f"{scaling_text.BEGIN}\n{scaling_text.END}\n")
    options = ["--results", str(tmp_path / "results"), "--figures", str(tmp_path / "figures"), "--text", str(text)]
    assert figures.main(options) == 0
    assert (tmp_path / "figures" / "scaling.svg").exists()
    assert "scaling.py --quick" in text.read_text()


def test_people_are_chosen_by_their_runs() -> None:
    owners = ["a", "b", "c", "c", "d", "d"]
    assert scaling.people_with(2, owners) == {"a", "b"}
    assert scaling.people_with(4, owners) == {"a", "b", "c"}
    assert scaling.people_with(6, owners) == {"a", "b", "c", "d"}
    with pytest.raises(SystemExit, match="no set of participants has 7 runs"):
        scaling.people_with(7, owners)
