"""Power laws of measured costs, and what they come to for many runs: arithmetic only, nothing is measured here.

A law says cost = cost at the reference size x (size / reference) ^ exponent, fitted by least squares in logarithms.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import optimize, stats

# NVIDIA's data sheet of the H200 and PCIe 5; a kernel is taken to reach this share of either.
GPU = {"name": "H200", "bytes_s": 4.8e12, "flops_s": 67e12, "reached": 0.6, "upload_bytes_s": 50e9}


@dataclass(frozen=True)
class Law:
    """A fitted exponent with its 95 % interval, the cost at size 1, and the exponent of the two largest sizes alone."""

    exponent: float
    low: float
    high: float
    coefficient: float
    last_exponent: float

    def at(self, size: float) -> float:
        return self.coefficient * size**self.exponent

    def as_json(self) -> dict[str, float]:
        return asdict(self)


def fit_law(sizes: list[float], costs: list[float]) -> Law:
    """The law through three or more points; the interval is Student's, from how far the points are off the line."""
    if len(sizes) < 3:
        raise ValueError(f"a law needs three points, there are {len(sizes)}")
    x, y = np.log(sizes) - np.log(sizes).mean(), np.log(costs)
    slope = float(x @ y / (x @ x))
    residual = y - y.mean() - slope * x
    error = math.sqrt(float(residual @ residual / (x @ x)) / (len(sizes) - 2))
    half = float(stats.t.ppf(0.975, len(sizes) - 2)) * error
    coefficient = math.exp(float(y.mean() - slope * np.log(sizes).mean()))
    last = math.log(costs[-1] / costs[-2]) / math.log(sizes[-1] / sizes[-2])
    return Law(slope, slope - half, slope + half, coefficient, last)


def fit_line(sizes: list[float], costs: list[float]) -> tuple[float, float]:
    """(fixed, each), neither negative: cost = fixed + each x size, by least squares on relative errors."""
    weights = 1 / np.asarray(costs)
    columns = np.column_stack([np.ones(len(sizes)), sizes]) * weights[:, None]
    (fixed, each), _ = optimize.nnls(columns, np.ones(len(sizes)))
    return float(fixed), float(each)


def predicted_stages(axes: dict[str, Any], *, n_volumes: int, n_voxels: int) -> dict[str, float]:
    """Seconds of each stage of a run, by the laws in volumes and in voxels from the size that both were measured at."""
    volumes, voxels = axes["volumes"], axes["voxels"]
    shared = voxels["fixed"]["volumes"]
    found = {}
    for stage, measured in volumes["stages"].items():
        base = measured["median_s"][volumes["sizes"].index(shared)]
        along_t = (n_volumes / shared) ** measured["law"]["exponent"]
        along_v = 1.0  # the operator has no voxels
        if stage in voxels["stages"]:
            along_v = (n_voxels / volumes["fixed"]["voxels"]) ** voxels["stages"][stage]["law"]["exponent"]
        found[stage] = base * along_t * along_v
    return found


def project(measured: dict[str, Any], *, runs: int = 10_000, cores: int = 32) -> dict[str, Any]:
    """What `runs` runs of the paper's size would cost on a node of `cores`, without and with a GPU.

    Nothing here was run. Cores are taken to scale as two did over one, at every doubling ("slow"), and perfectly
    ("fast"). The GPU takes the maps over; decoding, gathering and the operator stay on the cores.
    """
    paper, study = measured["paper_run"], measured["study"]
    # The participant stage was timed on files that shrink more than a scanner's: decoding those takes longer.
    run_s = study["seconds_a_run"] + paper["stages_s"]["decode"] - study["decode_s_a_run"]
    host_s = run_s - paper["stages_s"]["maps"]
    if host_s <= 0:
        raise ValueError(f"a run took {run_s:.3f} s, its maps alone {paper['stages_s']['maps']:.3f} s: measure again")
    doublings = math.log2(cores)
    efficiency = min(1.0, study["efficiency_of_two_workers"]) ** doublings
    device = device_seconds(paper)
    nodes = {}
    for name, each_s, device_s in (("cpu", run_s, 0.0), ("gpu", host_s, sum(device.values()))):
        fast = max(each_s / cores, device_s) * runs
        nodes[name] = {
            "core_seconds_a_run": each_s,
            "device_seconds_a_run": device_s,
            "fast_s": fast,
            "slow_s": max(each_s / cores / efficiency, device_s) * runs,
            "read_bytes_s": runs * paper["compressed_bytes"] / fast,
        }
    return {
        "projection": True,
        "runs": runs,
        "cores": cores,
        "gpu": GPU,
        "efficiency_at_cores": efficiency,
        "device_seconds": device,
        "nodes": nodes,
        "disk": {
            "images_bytes": runs * paper["compressed_bytes"],
            "results_bytes": runs * study["result_bytes_a_run"],
            "one_gigabyte_a_second_s": runs * paper["compressed_bytes"] / 1e9,
        },
        "memory_bytes": paper["process_bytes"] + cores * paper["added_memory_bytes"],
    }


def device_seconds(paper: dict[str, Any]) -> dict[str, float]:
    """Seconds of a GPU for the maps of one run, from counted bytes and flops and the data sheet; a prediction.

    centre_block reads int16 and writes float32, the product reads that and writes K rows, which the dot products and
    finish_correlations read again; r and z are written.
    """
    t, v, s, k = paper["volumes"], paper["voxels"], paper["seeds"], paper["rank"]
    moved = v * (t * (2 + 4 + 4) + k * 3 * 4 + s * 4 * 4)
    flops = 2.0 * v * k * (t + s)
    return {
        "upload": 2.0 * v * t / GPU["upload_bytes_s"],
        "maps": max(moved / GPU["bytes_s"], flops / GPU["flops_s"]) / GPU["reached"],
    }
