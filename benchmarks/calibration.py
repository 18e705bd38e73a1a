"""How often group inference finds something where there is nothing, and what the smoothness estimate reads.

Null two-sample studies: 39 + 45 maps of smooth Gaussian noise around a common mean, six independent seeds each, the
default model (unequal variances), height p < 0.001 uncorrected, 18 neighbours. A study is a false alarm where any
cluster has p_fwe < 0.05, or any q < 0.05. The rates must not exceed 0.05 beyond the 99 % binomial bound; random-field
theory may be conservative.

    python benchmarks/calibration.py [--studies 1000] [--seed 0] [--json benchmarks/results/calibration.json]
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from threadpoolctl import threadpool_limits

import rsfc_gpu as rg
from rsfc_gpu.group.topology import find_topology

GROUPS = {"MDD": 39, "HC": 45}
N_MAPS = sum(GROUPS.values())
SEEDS = 6
VOXEL_MM, FWHM_MM = 3.0, 8.0
GRID = (20, 24, 20)
ALPHA = 0.05
ESTIMATE_OVER_TRUTH = 1.06  # at 2.67 voxels: forward differences on the lattice read 4.9 % too much, and some more


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    backend = rg.select_backend("cpu", threads=1)
    with threadpool_limits(limits=1):
        began = time.perf_counter()
        rates, fwhm = false_alarms(options.studies, options.seed, backend)
        wide = estimated_fwhm(12, 6.0, options.seed + 1, backend)
        seconds = time.perf_counter() - began
    report = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"rsfc_gpu": rg.__version__, "numpy": np.__version__, "python": platform.python_version()},
        "machine": backend.device,
        "seconds": round(seconds, 1),
        "design": {"groups": GROUPS, "seeds": SEEDS, "grid": GRID, "voxels": int(ellipsoid(GRID).sum())},
        "false_alarms": rates,
        "fwhm_voxels": {"true": FWHM_MM / VOXEL_MM, "estimated": fwhm, "expected_ratio": ESTIMATE_OVER_TRUTH},
        "fwhm_voxels_wide": {"true": 6.0, "estimated": wide},
    }
    problems = find_problems(report)
    report["problems"] = problems
    print(describe(report))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 1 if problems else 0


def false_alarms(n_studies: int, seed: int, backend: rg.Backend) -> tuple[dict[str, Any], float]:
    """Rates of false alarms by unit of counting, and the mean estimated FWHM in voxels."""
    rng = np.random.default_rng(seed)
    inside, field = ellipsoid(GRID), SmoothNoise(GRID, FWHM_MM / VOXEL_MM)
    design = rg.group.two_sample(participants(), group="group", levels=list(GROUPS))
    alarms = np.zeros((2, n_studies, SEEDS, 2), dtype=bool)
    fwhm = []
    for study in range(n_studies):
        maps = {str(s): field.draw(rng, N_MAPS) + np.float32(1.0) for s in range(SEEDS)}
        fits = rg.group.fit_many(maps, design, mask=inside, affine=np.diag([VOXEL_MM] * 3 + [1]), backend=backend)
        for s, fit in enumerate(fits.values()):
            fwhm.append(np.mean(fit.smoothness.fwhm_voxels))
            for direction, weights in enumerate(([1, -1], [-1, 1])):
                found = find_topology(fit.t(weights)).clusters
                alarms[0, study, s, direction] = (found.p_fwe < ALPHA).any()
                alarms[1, study, s, direction] = (found.q_fdr < ALPHA).any()
    rates = {
        name: {
            "one_sided_contrast": binomial(alarm.reshape(-1)),
            "one_sided_contrast_first_seed": binomial(alarm[:, 0, 0]),
            "either_direction": binomial(alarm.any(axis=2).reshape(-1)),
            "either_direction_any_of_six_seeds": binomial(alarm.any(axis=(1, 2))),
        }
        for name, alarm in zip(("cluster_p_fwe", "cluster_q_fdr"), alarms, strict=True)
    }
    return rates, float(np.mean(fwhm))


def estimated_fwhm(n_fits: int, fwhm_voxels: float, seed: int, backend: rg.Backend) -> float:
    """Mean estimated FWHM (voxels) of maps with a known one, on a grid several times as wide."""
    rng = np.random.default_rng(seed)
    grid = (40, 44, 40)
    field = SmoothNoise(grid, fwhm_voxels)
    design = rg.group.two_sample(participants(), group="group", levels=list(GROUPS))
    estimates = []
    for _ in range(n_fits):
        maps = field.draw(rng, N_MAPS) + np.float32(1.0)
        fit = rg.group.fit(maps, design, mask=ellipsoid(grid), affine=np.eye(4), backend=backend)
        estimates.append(np.mean(fit.smoothness.fwhm_voxels))
    return float(np.mean(estimates))


def participants() -> pd.DataFrame:
    return pd.DataFrame({"group": [group for group, n in GROUPS.items() for _ in range(n)]})


def ellipsoid(grid: tuple[int, int, int]) -> NDArray[np.bool_]:
    """The largest ellipsoid that leaves a voxel of the grid free on each side."""
    axes = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) / (n / 2 - 1) for n in grid], indexing="ij")
    return sum(axis**2 for axis in axes) <= 1


class SmoothNoise:
    """Stationary Gaussian noise of unit variance: white noise on a wider grid, smoothed along each axis."""

    def __init__(self, grid: tuple[int, int, int], fwhm_voxels: float) -> None:
        sigma = fwhm_voxels / np.sqrt(8 * np.log(2))
        self.margin = int(np.ceil(4 * sigma))
        self.filters = []
        for n in grid:
            distance = np.arange(n + 2 * self.margin)[:, None] - (np.arange(n) + self.margin)
            weights = np.exp(-(distance**2) / (2 * sigma**2))
            self.filters.append((weights / np.sqrt((weights**2).sum(axis=0))).astype(np.float32))

    def draw(self, rng: np.random.Generator, n_maps: int) -> NDArray[np.float32]:
        """(n_maps, X, Y, Z) float32."""
        x, y, z = self.filters
        noise = rng.standard_normal((n_maps, len(x), len(y), len(z)), dtype=np.float32)
        noise = (x.T @ noise.reshape(n_maps, len(x), -1)).reshape(n_maps, -1, len(y), len(z))
        return (y.T @ noise) @ z


def binomial(alarm: NDArray[np.bool_]) -> dict[str, float]:
    """A rate, its number of trials, and the 99 % upper bound of a rate whose truth is 0.05."""
    n = alarm.size
    return {"rate": float(alarm.mean()), "trials": n, "bound_99": float(stats.binom.ppf(0.99, n, ALPHA)) / n}


def find_problems(report: dict[str, Any]) -> list[str]:
    problems = []
    for name, rates in report["false_alarms"].items():
        for unit in ("one_sided_contrast", "one_sided_contrast_first_seed"):
            if rates[unit]["rate"] > rates[unit]["bound_99"]:
                problems.append(f"{name}, {unit}: {rates[unit]['rate']:.4f} exceeds {rates[unit]['bound_99']:.4f}")
    narrow, wide = report["fwhm_voxels"], report["fwhm_voxels_wide"]
    if abs(narrow["estimated"] / narrow["true"] / narrow["expected_ratio"] - 1) > 0.02:
        problems.append(f"FWHM {narrow['estimated']:.3f} is not within 2 % of {narrow['expected_ratio']} x the truth")
    if abs(wide["estimated"] / wide["true"] - 1) > 0.03:
        problems.append(f"FWHM {wide['estimated']:.3f} is not within 3 % of {wide['true']}")
    return problems


def describe(report: dict[str, Any]) -> str:
    lines = [f"{report['seconds']:.0f} s on {report['machine']}, {report['design']['voxels']} voxels"]
    for name, rates in report["false_alarms"].items():
        for unit, rate in rates.items():
            found = f"{rate['rate']:.4f} of {rate['trials']}"
            lines.append(f"{name:14s} {unit:34s} {found} (99 % bound of 0.05: {rate['bound_99']:.4f})")
    for name in ("fwhm_voxels", "fwhm_voxels_wide"):
        value = report[name]
        ratio = value["estimated"] / value["true"]
        lines.append(f"{name}: {value['estimated']:.3f}, true {value['true']:.3f}, ratio {ratio:.4f}")
    return "\n".join([*lines, *report["problems"]])


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
