"""Group inference at the size of the study, 84 maps of 70,000 voxels for six seeds: each stage beside its floor.

    pytest benchmarks/bench_group.py --benchmark-enable --benchmark-only [--benchmark-json FILE]

The floor reads the maps once and forms the one product with an (N, N) matrix that residuals need. Beside other
software, in turns and as whole processes: compare_peers.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import rsfc_gpu as rg
from rsfc_gpu.bench.inputs import SIZES, brain, make_group_maps, two_groups
from rsfc_gpu.bench.reference import cluster_sizes, two_sample_t
from rsfc_gpu.bench.stages import largest_difference

SIZE = SIZES["paper"]
SEEDS = ("LBleft", "LBright", "CMleft", "CMright", "SFleft", "SFright")
CONTRASTS = ("MDD - HC", "HC - MDD")
Maps = dict[str, np.ndarray[Any, Any]]


@pytest.fixture(scope="module")
def maps() -> Maps:
    cpu = rg.select_backend("cpu")
    return {name: make_group_maps(SIZE, seed, cpu) for seed, name in enumerate(SEEDS)}


@pytest.fixture(scope="module")
def fits(maps: Maps, backend: rg.Backend) -> dict[str, rg.group.Fit]:
    return fit_seeds(maps, backend)


def fit_seeds(maps: Maps, backend: rg.Backend) -> dict[str, rg.group.Fit]:
    return rg.group.fit_many(maps, two_groups(SIZE), mask=brain(SIZE), affine=SIZE.affine, backend=backend)


def tables_of(fits: dict[str, rg.group.Fit]) -> list[rg.group.ResultsTable]:
    return [rg.group.results_table(fit.t(contrast)) for fit in fits.values() for contrast in CONTRASTS]


def test_read_and_multiply_floor(benchmark: Any, maps: Maps) -> None:
    samples = np.ascontiguousarray(maps[SEEDS[0]][:, brain(SIZE)])
    matrix = np.eye(SIZE.n_maps, dtype=np.float32)
    benchmark(np.matmul, matrix, samples)


def test_fit_and_contrast_of_one_seed(benchmark: Any, maps: Maps, backend: rg.Backend) -> None:
    one = {SEEDS[0]: maps[SEEDS[0]]}
    stat = benchmark(lambda: fit_seeds(one, backend)[SEEDS[0]].t(CONTRASTS[0]))
    expected = two_sample_t(one[SEEDS[0]], brain(SIZE), two_groups(SIZE))
    assert largest_difference(stat.values[stat.mask], expected) < 1e-3


def test_plain_numpy_fit_and_contrast_of_one_seed(benchmark: Any, maps: Maps) -> None:
    benchmark.pedantic(two_sample_t, (maps[SEEDS[0]], brain(SIZE), two_groups(SIZE)), rounds=3, warmup_rounds=1)


def test_six_seeds_to_twelve_tables(benchmark: Any, maps: Maps, backend: rg.Backend) -> None:
    benchmark.pedantic(lambda: tables_of(fit_seeds(maps, backend)), rounds=5, warmup_rounds=1)


def test_fit_six_seeds(benchmark: Any, maps: Maps, backend: rg.Backend) -> None:
    benchmark.pedantic(fit_seeds, (maps, backend), rounds=5, warmup_rounds=1)


def test_twelve_contrasts(benchmark: Any, fits: dict[str, rg.group.Fit]) -> None:
    benchmark(lambda: [fit.t(contrast) for fit in fits.values() for contrast in CONTRASTS])


def test_twelve_tables(benchmark: Any, fits: dict[str, rg.group.Fit]) -> None:
    benchmark(tables_of, fits)


def test_clusters_of_one_map(benchmark: Any, fits: dict[str, rg.group.Fit], backend: rg.Backend) -> None:
    stat = fits[SEEDS[0]].t(CONTRASTS[0])
    table = benchmark(rg.group.clusters, stat, backend=backend)
    np.testing.assert_array_equal(table["voxels"], cluster_sizes(stat))
