"""Group inference at the size of the study: 39 + 45 maps of 70,000 voxels for six seeds.

    python benchmarks/bench_group.py [--rounds 5] [--json benchmarks/results/group.json]     side by side with nilearn
    pytest benchmarks/bench_group.py -o addopts= --benchmark-only                            each stage by itself

The first form interleaves the contenders round by round and prints medians: the whole of it (six fits with unequal
variances, twelve one-sided contrasts, twelve results tables), one seed of it, nilearn's SecondLevelModel for one seed
on images in memory (fit and one contrast; it has neither unequal variances nor cluster inference), and the same ReML
fit of one seed in plain NumPy. T of the last is compared with ours first.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import rsfc_gpu as rg
from rsfc_gpu.group.covariance import group_components, restricted_maximum_likelihood

GROUPS = {"MDD": 39, "HC": 45}
N_MAPS = sum(GROUPS.values())
GRID = (50, 60, 50)
AFFINE = np.array([[-3.0, 0, 0, 75], [0, 3, 0, -105], [0, 0, 3, -66], [0, 0, 0, 1]])
CONTRASTS = ("MDD - HC", "HC - MDD")
SEEDS = ("LBleft", "LBright", "CMleft", "CMright", "SFleft", "SFright")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    backend = rg.select_backend("cpu")
    contenders: dict[str, Callable[[], object]] = {
        "six seeds: fits, 12 contrasts, 12 tables": lambda: tables_of(fit_seeds(SEEDS, backend)),
        "one seed: fit, 2 contrasts, 2 tables": lambda: tables_of(fit_seeds(SEEDS[:1], backend)),
        "one seed: fit, 1 contrast": lambda: fit_seeds(SEEDS[:1], backend)[SEEDS[0]].t(CONTRASTS[0]),
        "nilearn SecondLevelModel, one seed: fit, 1 contrast": second_level_model(),
        "plain NumPy, one seed: fit by ReML, 1 contrast": plain_numpy,
    }
    ours = fit_seeds(SEEDS[:1], backend)[SEEDS[0]].t(CONTRASTS[0])
    difference = float(np.abs(ours.values[ours.mask] - plain_numpy()).max())
    assert difference < 1e-3, difference
    seconds = interleaved_medians(contenders, options.rounds)
    names = list(contenders)
    report = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "machine": backend.device,
        "maps": N_MAPS,
        "voxels": int(brain().sum()),
        "seconds": seconds,
        "nilearn_over_ours": {
            "one seed: fit, 1 contrast": seconds[names[3]] / seconds[names[2]],
            "six seeds, ours with tables": 6 * seconds[names[3]] / seconds[names[0]],
        },
        "plain_numpy_over_ours": {
            "one seed: fit, 1 contrast": seconds[names[4]] / seconds[names[2]],
            "six seeds, ours with tables": 6 * seconds[names[4]] / seconds[names[0]],
        },
        "largest_difference_in_t_from_plain_numpy": difference,
    }
    print(json.dumps(report, indent=1))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


def interleaved_medians(contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each, taking turns, after one round to warm up."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, run in contenders.items():
            began = time.perf_counter()
            run()
            if number > 0:
                times[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in times.items()}


@cache
def brain() -> np.ndarray:
    """An ellipsoid of 70,000 voxels."""
    axes = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) / (n / 2 - 1) for n in GRID], indexing="ij")
    return sum(axis**2 for axis in axes) <= 1


@cache
def maps_of(seed: str) -> np.ndarray:
    """(84, X, Y, Z) float32: smooth noise around a mean, more of it in patients, and one difference."""
    rng, backend = np.random.default_rng(SEEDS.index(seed)), rg.select_backend("cpu")
    maps = np.empty((N_MAPS, *GRID), dtype=np.float32)
    for n in range(N_MAPS):
        noise = backend.smooth(rng.standard_normal(GRID, dtype=np.float32), (8 / 3,) * 3)
        patient = n < GROUPS["MDD"]
        maps[n] = np.where(brain(), 0.3 + (2.5 if patient else 2.0) * noise, np.nan)
        maps[n, 20:26, 30:36, 20:26] += 0.4 * patient
    return maps


def design() -> Any:
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"group": [group for group, n in GROUPS.items() for _ in range(n)]})
    table["age"] = rng.normal(35, 10, N_MAPS)
    table["sex"] = rng.integers(0, 2, N_MAPS)
    table["mean_fd_power_mm"] = rng.gamma(4, 0.02, N_MAPS)
    return rg.group.two_sample(
        table, group="group", levels=list(GROUPS), covariates=["age", "sex", "mean_fd_power_mm"], variances="unequal"
    )


def fit_seeds(seeds: tuple[str, ...], backend: rg.Backend) -> dict[str, Any]:
    maps = {seed: maps_of(seed) for seed in seeds}
    return rg.group.fit_many(maps, design(), mask=brain(), affine=AFFINE, backend=backend)


def tables_of(fits: dict[str, Any]) -> list[rg.group.ResultsTable]:
    return [rg.group.results_table(fit.t(contrast)) for fit in fits.values() for contrast in CONTRASTS]


def second_level_model() -> Callable[[], object]:
    """nilearn's fit and one contrast of the first seed, on images in memory."""
    import nibabel
    from nilearn.glm.second_level import SecondLevelModel

    images = [nibabel.Nifti1Image(np.nan_to_num(volume), AFFINE) for volume in maps_of(SEEDS[0])]
    mask = nibabel.Nifti1Image(brain().astype(np.uint8), AFFINE)
    columns = design()
    matrix = pd.DataFrame(np.asarray(columns.matrix), columns=list(columns.columns))
    weights = np.array([1.0, -1.0] + [0.0] * (matrix.shape[1] - 2))

    def run() -> object:
        model = SecondLevelModel(mask_img=mask, smoothing_fwhm=None).fit(images, design_matrix=matrix)
        return model.compute_contrast(weights, second_level_stat_type="t", output_type="stat")

    return run


def plain_numpy() -> np.ndarray:
    """T of the first contrast, (V,), as one would write it: whole float64 arrays. No smoothness, which our fit has."""
    columns = design()
    matrix = np.asarray(columns.matrix)
    samples = maps_of(SEEDS[0])[:, brain()].astype(np.float64)
    rank = np.linalg.matrix_rank(matrix)
    basis = np.linalg.svd(matrix, full_matrices=False)[0][:, :rank]
    explained = basis.T @ samples
    residual_ss = ((samples - basis @ explained) ** 2).sum(axis=0)
    f = (explained**2).sum(axis=0) / rank / (residual_ss / (N_MAPS - rank))
    pooled = f > stats.f.isf(0.001, rank, N_MAPS - rank)
    scaled = samples[:, pooled] * np.sqrt((N_MAPS - rank) / residual_ss[pooled])
    moment = scaled @ scaled.T / pooled.sum()
    groups = np.repeat([0, 1], list(GROUPS.values()))
    _, covariance = restricted_maximum_likelihood(moment, matrix, group_components(groups))
    covariance *= N_MAPS / np.trace(covariance)
    values, vectors = np.linalg.eigh(covariance)
    white = vectors @ np.diag(values**-0.5) @ vectors.T
    inverse = np.linalg.pinv(white @ matrix)
    whitened = white @ samples
    estimates = inverse @ whitened
    variance = ((whitened - white @ matrix @ estimates) ** 2).sum(axis=0) / (N_MAPS - rank)
    weights = np.zeros(matrix.shape[1])
    weights[:2] = 1, -1
    spread = weights @ inverse @ inverse.T @ weights
    return weights @ estimates / np.sqrt(variance * spread)


def versions() -> dict[str, str]:
    import nilearn

    return {
        "rsfc_gpu": rg.__version__,
        "nilearn": nilearn.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


@pytest.fixture(scope="module")
def fits() -> dict[str, Any]:
    return fit_seeds(SEEDS, rg.select_backend("cpu"))


def test_bench_fit_six_seeds(benchmark: Any) -> None:
    backend = rg.select_backend("cpu")
    benchmark.pedantic(lambda: fit_seeds(SEEDS, backend), rounds=3, warmup_rounds=1)


def test_bench_twelve_contrasts(benchmark: Any, fits: dict[str, Any]) -> None:
    benchmark(lambda: [fit.t(contrast) for fit in fits.values() for contrast in CONTRASTS])


def test_bench_twelve_tables(benchmark: Any, fits: dict[str, Any]) -> None:
    stats = [fit.t(contrast) for fit in fits.values() for contrast in CONTRASTS]
    benchmark(lambda: [(rg.group.clusters(stat), rg.group.results_table(stat)) for stat in stats])


def test_bench_labels_of_one_map(benchmark: Any, fits: dict[str, Any]) -> None:
    from rsfc_gpu.backend.numba_labels import label_clusters, neighbour_table

    stat = fits[SEEDS[0]].t(CONTRASTS[0])
    values = stat.values.ravel(order="F")[stat.mask.ravel(order="F")]
    benchmark(label_clusters, values, neighbour_table(stat.mask, 18), rg.group.height_threshold(stat))


if __name__ == "__main__":
    sys.exit(main())
