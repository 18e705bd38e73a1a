"""The comparison with other software runs, and stops where results disagree."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import compare_peers
import peers
from rsfc_gpu.bench.inputs import Size

BENCHMARKS = Path(compare_peers.__file__).parent
TINY = Size(n_volumes=130, n_voxels=1500, n_seeds=3, n_maps=16)


@pytest.mark.slow
def test_the_whole_comparison_at_a_tiny_size(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setitem(compare_peers.NAMED, "small", TINY)
    target = tmp_path / "peers.json"
    assert compare_peers.main(["--size", "small", "--rounds", "1", "--json", str(target)]) == 0
    found = json.loads(target.read_text())["sizes"]["small"]
    printed = capsys.readouterr().out
    for part in ("run", "group"):
        assert set(found[part]["in_process"]) == set(found[part]["whole_process"])
        assert {"decode", "copy_gb_s", "product_gflop_s"} <= set(found[part]["floors"])
        for name, times in found[part]["in_process"].items():
            assert name in printed
            assert 0 < times["lowest_s"] <= times["median_s"] <= times["highest_s"]
            whole = found[part]["whole_process"][name]
            assert whole["median_s"] > whole["first_call_s"] > 0
            assert whole["highest_memory_bytes"] > 10_000_000
    low, high = found["run"]["agreement"]["correlation with nilearn, its example"]
    assert 0.3 < low <= high < 1


def test_ours_agrees_with_every_recipe_that_is_the_same(tmp_path) -> None:
    peers.prepare_run(tmp_path, TINY)
    names = ["rsfc_gpu", "rsfc_gpu, one regression", "nilearn, its example", "nilearn, at its best", "plain NumPy"]
    maps = {name: peers.ON_RUNS[name](tmp_path) for name in names}
    agreement = compare_peers.agree_on_runs(maps)
    assert agreement["from plain NumPy"] < 1e-6
    maps["rsfc_gpu"] = maps["rsfc_gpu"] * np.float32(1.001)
    with pytest.raises(SystemExit, match="plain NumPy differ"):
        compare_peers.agree_on_runs(maps)


def test_groups_agree_with_nilearn_and_statsmodels(tmp_path, monkeypatch) -> None:
    peers.prepare_group(tmp_path, TINY)
    in_memory, on_disk = peers.Group(tmp_path, in_memory=True), peers.Group(tmp_path)
    compare_peers.agree_on_groups(in_memory)
    np.testing.assert_array_equal(peers.rsfc_gpu_t(on_disk), peers.rsfc_gpu_t(in_memory))
    monkeypatch.setattr(peers, "nilearn_t", lambda group: peers.numpy_t(group) + 1)
    with pytest.raises(SystemExit, match="from nilearn differ"):
        compare_peers.agree_on_groups(in_memory)


def test_every_stage_has_benchmarks_with_a_floor() -> None:
    command = [sys.executable, "-m", "pytest", str(BENCHMARKS), "--collect-only", "-q"]
    listed = subprocess.run(command, cwd=BENCHMARKS.parent, capture_output=True, text=True, check=True).stdout
    for stage in ("run", "group", "preprocess", "report"):
        names = [line.split("::")[1] for line in listed.splitlines() if f"bench_{stage}.py::" in line]
        assert any("floor" in name for name in names), stage
        assert any("floor" not in name for name in names), stage
