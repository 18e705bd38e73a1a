"""This package beside nilearn, statsmodels and plain NumPy: first compared, then timed in turns beside the floor.

    python benchmarks/compare_peers.py [--size small paper ...] [--rounds 3] [--json benchmarks/results/peers.json]

Each size is a run (several, for study and cohort) from its compressed file to maps of r, and a group from maps to T.

Compared: ours with plain NumPy in float64, the same recipe; our one-regression recipe with nilearn at its best, the
same recipe; our group T with plain NumPy, with nilearn (equal variances) and with statsmodels (OLS, and GLS with our
covariance). A disagreement ends the program. nilearn's example filters with Butterworth and does not scrub: its maps
are another recipe's, correlated with ours as printed. It is a baseline for speed, not a reference.

Timed: in one process, warm, taking turns; and as whole processes, imports included, with their first call and peak
memory. nilearn is given a table of confounds that ours computes from the images within its time.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import peers
from peers import Array, Group
from rsfc_gpu.backend import cuda
from rsfc_gpu.bench.floor import HostFloors, decode
from rsfc_gpu.bench.inputs import SIZES, Size
from rsfc_gpu.bench.stages import largest_difference
from rsfc_gpu.bench.timing import Timing, Work, interleaved, machine

PAPER = SIZES["paper"]
NAMED = {
    "small": SIZES["small"],
    "paper": PAPER,
    "stripped": dataclasses.replace(PAPER, outside="zeros"),
    "long": dataclasses.replace(PAPER, n_volumes=490, n_seeds=100),
    "atlas": dataclasses.replace(PAPER, n_seeds=400),
    "fine": dataclasses.replace(PAPER, n_volumes=1200, n_voxels=230_000),
    "study": dataclasses.replace(PAPER, n_runs=16),
    "cohort": dataclasses.replace(PAPER, n_runs=123),
}
DEFAULT = ["small", "paper"]
LOOP = "statsmodels, a part"
SLOW = ("nilearn, its example", LOOP)  # timed once
LARGEST_R, LARGEST_T = 1e-5, 1e-3
LARGEST_R_NILEARN = 1e-4  # nilearn at its best computes in float32


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    report: dict[str, Any] = {"machine": machine(), "rounds": options.rounds, "sizes": {}}
    done: set[tuple[int, int]] = set()
    for name in options.size:
        size = NAMED[name]
        print(f"\n{name}: {describe_size(size)}", flush=True)
        found = report["sizes"][name] = {"size": dataclasses.asdict(size)}
        with tempfile.TemporaryDirectory(prefix="rsfc-peers-") as folder:
            found["run"] = compare_runs(Path(folder), size, options.rounds)
        if (size.n_maps, size.n_voxels) not in done:
            done.add((size.n_maps, size.n_voxels))
            with tempfile.TemporaryDirectory(prefix="rsfc-peers-") as folder:
                found["group"] = compare_groups(Path(folder), size, options.rounds)
    report["machine"]["load_average_after"] = os.getloadavg()[0]
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")
        print(f"\nwritten: {options.json}")
    return 0


def compare_runs(folder: Path, size: Size, rounds: int) -> dict[str, Any]:
    """Agreement, times and floors of every contender on runs."""
    peers.prepare_run(folder, size)
    names = _usable(list(peers.ON_RUNS))
    agreement = agree_on_runs({name: peers.ON_RUNS[name](folder) for name in names})
    contenders: dict[str, Work] = {name: partial(peers.many_runs, name, folder, size.n_runs) for name in names}
    found = {
        "agreement": agreement,
        **measure(contenders, [folder / "bold.nii.gz"] * size.n_runs, folder, size, rounds),
    }
    show(found, f"{size.n_runs} run{'s' if size.n_runs > 1 else ''}, file to maps")
    return found


def agree_on_runs(maps: dict[str, Array]) -> dict[str, Any]:
    """Differences from the float64 reference, and correlations of nilearn's maps with ours over voxels, by seed."""
    ours = maps["rsfc_gpu"]
    found: dict[str, Any] = {"from plain NumPy": largest_difference(ours, maps["plain NumPy"])}
    require("r of rsfc_gpu and plain NumPy", found["from plain NumPy"], LARGEST_R)
    if "rsfc_gpu on CUDA" in maps:
        found["CUDA from plain NumPy"] = largest_difference(maps["rsfc_gpu on CUDA"], maps["plain NumPy"])
        require("r on CUDA and plain NumPy", found["CUDA from plain NumPy"], LARGEST_R)
    same_recipe = largest_difference(maps["rsfc_gpu, one regression"], maps["nilearn, at its best"])
    found["one regression from nilearn at its best"] = same_recipe
    require("r of rsfc_gpu and nilearn, each in one regression", same_recipe, LARGEST_R_NILEARN)
    for name in ("nilearn, its example", "nilearn, at its best"):
        correlations = [float(np.corrcoef(one, other)[0, 1]) for one, other in zip(ours, maps[name], strict=True)]
        found[f"correlation with {name}"] = [min(correlations), max(correlations)]
    return found


def compare_groups(folder: Path, size: Size, rounds: int) -> dict[str, Any]:
    """Agreement, times and floors of every contender on groups; in one process the maps are in memory already."""
    peers.prepare_group(folder, size)
    group = Group(folder, in_memory=True)
    agreement = agree_on_groups(group)
    contenders: dict[str, Work] = {name: partial(peers.ON_GROUPS[name], group) for name in _usable(peers.ON_GROUPS)}
    for work in contenders.values():
        work()  # warm
    found = {"agreement": agreement, **measure(contenders, group.paths, folder, size, rounds)}
    looped = len(peers.looped_voxels(group))
    loop = found["in_process"][LOOP]
    loop |= {"voxels": looped, "extrapolated_to_all_s": loop["median_s"] * size.n_voxels / looped}
    show(found, f"group of {size.n_maps} maps, T of one contrast")
    print(f"  statsmodels fitted {looped} voxels; {loop['extrapolated_to_all_s']:.0f} s for all is extrapolated")
    return found


def agree_on_groups(group: Group) -> dict[str, float]:
    """Largest differences in T from plain NumPy, nilearn and statsmodels."""
    unequal, equal = peers.rsfc_gpu_t(group), peers.rsfc_gpu_t(group, variances="equal")
    some = peers.looped_voxels(group)
    found = {
        "from plain NumPy": largest_difference(unequal, peers.numpy_t(group)),
        "equal variances, from nilearn": largest_difference(equal, peers.nilearn_t(group)),
        "equal variances, from statsmodels OLS": largest_difference(equal[some], peers.statsmodels_t(group)),
        "from statsmodels GLS with our covariance": largest_difference(
            unequal[some], peers.statsmodels_t(group, peers.rsfc_gpu_covariance(group))
        ),
    }
    if cuda.why_unusable() is None:
        found["CUDA from plain NumPy"] = largest_difference(peers.rsfc_gpu_cuda_t(group), peers.numpy_t(group))
    for what, difference in found.items():
        require(f"T, {what}", difference, LARGEST_T)
    return found


def require(what: str, difference: float, largest: float) -> None:
    """End the program where two results differ by more than rounding: times of a wrong result are worth nothing."""
    print(f"  {what}: differ by {difference:.1e}", flush=True)
    if not difference <= largest:
        raise SystemExit(f"{what} differ by {difference:.3g}, at most {largest:g} is expected: nothing was timed")


def measure(contenders: dict[str, Work], files: list[Path], folder: Path, size: Size, rounds: int) -> dict[str, Any]:
    """Times in this process, of whole processes, and of the floors."""
    floors = HostFloors()
    floor_work: dict[str, Work] = {"decode": lambda: [decode(file) for file in files], **floors.contenders()}
    for work in floor_work.values():
        work()
    seldom = dict.fromkeys(SLOW, rounds)
    timings = interleaved(floor_work | contenders, rounds, seldom=seldom)
    processes = {name: partial(run_process, name, folder, size.n_runs) for name in contenders}
    limits = floors.limits(timings["copy"], timings["product"])
    return {
        "floors": {"decode": timings["decode"].as_json(), **limits.as_json()},
        "in_process": {name: timings[name].as_json() for name in contenders},
        "whole_process": whole_processes(processes, max(1, rounds - 1)),
        "not_compiled_yet": run_process("rsfc_gpu", folder, size.n_runs, compiled=False),
        "load_average": os.getloadavg()[0],
    }


def whole_processes(processes: dict[str, Callable[[], dict[str, float]]], rounds: int) -> dict[str, Any]:
    """Whole time, time of the first call, and peak memory of processes that take turns; slow ones run once."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in processes}
    for number in range(rounds):
        for name, process in processes.items():
            if number == 0 or name not in SLOW:
                found[name].append(process())
    return {name: _summary(ran) for name, ran in found.items()}


def _summary(ran: list[dict[str, float]]) -> dict[str, Any]:
    memory = [one["highest_memory_bytes"] for one in ran if one["highest_memory_bytes"] is not None]
    return {
        **Timing(tuple(one["whole_s"] for one in ran)).as_json(),
        "first_call_s": Timing(tuple(one["first_call_s"] for one in ran)).median,
        "highest_memory_bytes": max(memory, default=None),
    }


def run_process(name: str, folder: Path, n_runs: int, *, compiled: bool = True) -> dict[str, float]:
    """One contender in a process of its own; with `compiled` False, as after a fresh installation."""
    command = [sys.executable, str(Path(peers.__file__)), name, str(folder), "--runs", str(n_runs)]
    with tempfile.TemporaryDirectory() as empty:
        environment = os.environ | ({} if compiled else {"NUMBA_CACHE_DIR": empty})
        began = time.perf_counter()
        ran = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
        whole_s = time.perf_counter() - began
    return json.loads(ran.stdout.splitlines()[-1]) | {"whole_s": whole_s}


def show(found: dict[str, Any], title: str) -> None:
    """The table of one comparison."""
    decoding, floors = found["floors"]["decode"]["median_s"], found["floors"]
    ours = found["in_process"]["rsfc_gpu"]["median_s"]
    print(
        f"  {title}; floor: decoding {decoding:.3f} s on one thread, copying {floors['copy_gb_s']:.1f} GB/s, "
        f"float32 products {floors['product_gflop_s']:.0f} Gflop/s; load average {found['load_average']:.1f}"
    )
    header = ("warm", "range", "x ours", "whole process", "its first call", "peak MiB")
    print(f"  {'':26s}" + "".join(f"{cell:>18s}" for cell in header))
    for name, warm in found["in_process"].items():
        whole = found["whole_process"][name]
        cells = (
            f"{warm['median_s']:.3f} s",
            f"{warm['lowest_s']:.3f} - {warm['highest_s']:.3f}",
            "" if name == LOOP else f"{warm['median_s'] / ours:.1f}",
            f"{whole['median_s']:.2f} s",
            f"{whole['first_call_s']:.2f} s",
            f"{whole['highest_memory_bytes'] / 2**20:.0f}" if whole["highest_memory_bytes"] else "in its workers",
        )
        print(f"  {name:26s}" + "".join(f"{cell:>18s}" for cell in cells))
    fresh = found["not_compiled_yet"]
    print(f"  rsfc_gpu, kernels not compiled yet: {fresh['whole_s']:.1f} s for the whole process", flush=True)


def describe_size(size: Size) -> str:
    return (
        f"{size.n_volumes} volumes, {size.n_voxels:,} voxels, {size.n_seeds} seeds, {size.n_runs} runs, "
        f"{size.outside} outside the brain; a group of {size.n_maps} maps"
    )


def _usable(names: Any) -> list[str]:
    """The contenders that this machine can run."""
    without_gpu = cuda.why_unusable() is not None
    return [name for name in names if not (without_gpu and "CUDA" in name)]


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--size", nargs="+", choices=list(NAMED), default=DEFAULT, metavar="NAME", help=f"of {list(NAMED)}"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
