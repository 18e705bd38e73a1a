"""The report of a finished study: all of it, and its floor, which reads every map of the groups once.

    pytest benchmarks/bench_report.py --benchmark-enable --benchmark-only [--benchmark-json FILE]

A simulated cohort of 84 participants, 137 runs, on a coarse grid (5 mm, 100 volumes) is analysed first, which is not
timed. The number of figures is that of a full study; their voxels are not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rsfc_gpu.bench.floor import decode
from rsfc_gpu.report import write_report
from rsfc_gpu.simulate import CohortSettings, simulate_cohort
from rsfc_gpu.study.config import load_study
from rsfc_gpu.study.run import RunOptions, run_study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    simulate_cohort(folder / "bids", CohortSettings(grid_mm=5.0, n_volumes=100, skull_stripped=True))
    run_study(folder / "bids", folder / "out", load_study(None), RunOptions(report=False))
    return folder / "out"


def test_read_floor(benchmark: Any, study: Path) -> None:
    maps = sorted((study / "group").rglob("*.nii.gz"))
    assert maps
    benchmark(lambda: [decode(path) for path in maps])


def test_report(benchmark: Any, study: Path) -> None:
    path = benchmark.pedantic(write_report, (study,), rounds=2)
    benchmark.extra_info["bytes"] = path.stat().st_size
    assert path.stat().st_size > 100_000
