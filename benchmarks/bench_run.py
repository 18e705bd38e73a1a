"""One run from its compressed file to six maps of r and z: each stage, beside the decoding alone and plain NumPy.

    pytest benchmarks/bench_run.py --benchmark-enable --benchmark-only [--benchmark-json FILE]

61 x 73 x 61 voxels, 230 volumes, int16, 70,000 voxels in the mask, six seeds; one file with noise outside the brain, as
scanners write it, and one with zeros there, as brain extraction leaves it. Contenders that take turns, whole processes
and peak memory: compare_peers.py.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rsfc_gpu as rg
from rsfc_gpu.bench.floor import decode
from rsfc_gpu.bench.inputs import SIZES, make_run, operator_of, run_settings
from rsfc_gpu.bench.reference import seed_correlations
from rsfc_gpu.bench.stages import largest_difference
from rsfc_gpu.connectivity import Seeds, correlate_seeds
from rsfc_gpu.study.single_run import map_run

SETTINGS = run_settings()


@pytest.fixture(scope="module", params=["noise", "zeros"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> rg.Run:
    return make_run(tmp_path_factory.mktemp("run"), dataclasses.replace(SIZES["paper"], outside=request.param))


@pytest.fixture(scope="module")
def seeds(run: rg.Run) -> Seeds:
    return Seeds.from_labels(Path(str(run.mask)).with_name("seeds.nii.gz"))


def test_decode_floor(benchmark: Any, run: rg.Run) -> None:
    benchmark(decode, run.bold)


def test_plain_numpy(benchmark: Any, run: rg.Run) -> None:
    benchmark.pedantic(seed_correlations, (run,), rounds=3, warmup_rounds=1)


def test_seed_maps(benchmark: Any, run: rg.Run, seeds: Seeds, backend: rg.Backend) -> None:
    maps = benchmark(rg.seed_maps, run, seeds, SETTINGS, backend)
    assert largest_difference(maps.r[:, maps.usable], seed_correlations(run)) < 1e-5


def test_series_in_memory_to_maps(benchmark: Any, run: rg.Run, seeds: Seeds, backend: rg.Backend) -> None:
    series = map_run(run, seeds, SETTINGS, backend)[1]
    compressor = operator_of(run, series, SETTINGS).compressor
    r = benchmark(correlate_seeds, series, seeds, compressor, backend)[0]
    assert largest_difference(r[:, series.mask.inside], seed_correlations(run)) < 1e-5


def test_operator(benchmark: Any, run: rg.Run, seeds: Seeds) -> None:
    series = map_run(run, seeds, SETTINGS, rg.select_backend("cpu"))[1]
    operator = benchmark(operator_of, run, series, SETTINGS)
    assert np.abs(operator.compressor @ np.ones(series.n_volumes)).max() < 1e-12
