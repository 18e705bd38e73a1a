"""How the cost of the work grows with volumes, voxels, seeds, maps, runs and workers; exponents; a projection.

    python benchmarks/scaling.py [--json benchmarks/results/scaling.json] [--quick]

Each axis varies one size and holds the others. A run is timed stage by stage on one thread: decompressing alone,
reading (decompressing with gathering and sums), the operator, maps from the series, and file to maps in one go. The
group model is fitted, and both contrasts and tables are made, on one thread. Runs and workers go through the
participant stage of a study, on a simulated dataset of 61x73x61 voxels and 230 volumes. Points of an axis take turns;
medians are fitted. The projection to 10,000 runs is arithmetic on these numbers (laws.py) and is marked as such.

About three minutes on two cores; --quick takes 20 seconds and is to see that it works, not for numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

import rsfc_gpu as rg
from laws import fit_law, fit_line, predicted_stages, project
from rsfc_gpu.bench.floor import decode
from rsfc_gpu.bench.inputs import Size, brain, make_group_maps, make_run, operator_of, saved_run, two_groups
from rsfc_gpu.bench.timing import Timing, Work, added_memory_bytes, highest_memory_bytes, interleaved, machine
from rsfc_gpu.connectivity import Seeds, correlate_seeds
from rsfc_gpu.images.mask import Mask
from rsfc_gpu.images.nifti import BoldSource, load_volume
from rsfc_gpu.images.series import read_series
from rsfc_gpu.simulate import CohortSettings, simulate_cohort
from rsfc_gpu.study.config import load_study
from rsfc_gpu.study.plan import plan_study
from rsfc_gpu.study.run import RunOptions, run_study

Report = dict[str, Any]
SETTINGS = rg.DenoiseSettings.preset("dparsf")


@dataclass(frozen=True)
class Plan:
    """The points of each axis, and how often each is timed."""

    rounds: int
    base: Size
    volumes: tuple[int, ...]
    voxels: tuple[int, ...]
    seeds: tuple[int, ...]
    maps: tuple[int, ...]
    runs: tuple[int, ...]
    cohort: CohortSettings
    paper: Size


FULL = Plan(
    rounds=7,
    base=Size(n_volumes=120, n_voxels=20_000),
    volumes=(120, 240, 480, 960),
    voxels=(10_000, 20_000, 40_000, 80_000),
    seeds=(6, 25, 100, 400),
    maps=(21, 42, 84, 168, 336),
    runs=(2, 4, 8, 16),
    cohort=CohortSettings(grid_mm=3.0, n_volumes=230, participants=12, faults=False, skull_stripped=True),
    paper=Size(),
)
QUICK = Plan(
    rounds=2,
    base=Size(n_volumes=120, n_voxels=5_000),
    volumes=(120, 170, 240),
    voxels=(2_500, 5_000, 10_000),
    seeds=(6, 12, 24),
    maps=(16, 32, 64),
    runs=(2, 4, 8),
    cohort=CohortSettings(grid_mm=5.0, n_volumes=100, participants=12, faults=False, skull_stripped=True),
    paper=Size(n_volumes=120, n_voxels=20_000),
)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args(arguments)
    began = time.perf_counter()
    with threadpool_limits(limits=1), tempfile.TemporaryDirectory(prefix="rsfc-scaling-") as folder:
        report = measure(QUICK if options.quick else FULL, Path(folder))
    report = {"quick": options.quick, "seconds": round(time.perf_counter() - began, 1), **report}
    print(json.dumps({name: report[name] for name in ("seconds", "paper_run", "study", "projection")}, indent=1))
    for name, axis in report["axes"].items():
        for stage, found in axis["stages"].items():
            law = found["law"]
            power = f"{law['exponent']:.2f} [{law['low']:.2f}, {law['high']:.2f}]"
            print(f"{stage:18s} grows with {name} to the power {power}")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


def measure(plan: Plan, folder: Path) -> Report:
    backend = rg.select_backend("cpu", threads=1)
    base, rounds, imported_bytes = plan.base, plan.rounds, highest_memory_bytes()
    report: Report = {"machine": machine(), "axes": {}}

    def axis(
        name: str, values: tuple[int, ...], fixed: dict[str, int], contenders: Callable[[int], dict[str, Work]]
    ) -> None:
        tell(f"{name}: {', '.join(map(str, values))}")
        report["axes"][name] = {"fixed": fixed, **timed_axis(values, contenders, rounds)}

    def run_of(size: Size) -> dict[str, Work]:
        return run_stages(folder / f"{size.n_volumes}-{size.n_voxels}-{size.n_seeds}", size, backend)

    sizes = {"volumes": base.n_volumes, "voxels": base.n_voxels, "seeds": base.n_seeds}
    axis("volumes", plan.volumes, without(sizes, "volumes"), lambda n: run_of(replace(base, n_volumes=n)))
    per_voxel = ("decode", "read", "maps", "whole")  # the operator has no voxels
    axis("voxels", plan.voxels, without(sizes, "voxels"), lambda n: only(run_of(replace(base, n_voxels=n)), *per_voxel))
    axis("seeds", plan.seeds, without(sizes, "seeds"), lambda n: only(run_of(replace(base, n_seeds=n)), "maps"))
    axis("maps", plan.maps, {"voxels": base.n_voxels}, lambda n: group_model(replace(base, n_maps=n), backend))
    report["paper_run"] = one_paper_run(plan, folder / "paper", backend) | {"process_bytes": imported_bytes}
    report["paper_run"]["predicted_s"] = predicted_stages(
        report["axes"], n_volumes=plan.paper.n_volumes, n_voxels=plan.paper.n_voxels
    )
    report["axes"]["runs"], report["study"] = study_axis(plan, folder)
    report["machine"]["load_average_after"] = os.getloadavg()[0]
    return {**report, "projection": project(report)}


def timed_axis(values: tuple[int, ...], contenders: Callable[[int], dict[str, Work]], rounds: int) -> Report:
    """Medians and ranges of every stage at every value, and the law through the medians."""
    points = {value: contenders(value) for value in values}
    for works in points.values():
        for work in works.values():
            work()  # the first call is cold
    flat = {f"{value} {stage}": work for value, works in points.items() for stage, work in works.items()}
    timings = interleaved(flat, rounds)
    stages = {stage: [timings[f"{value} {stage}"] for value in values] for stage in points[values[0]]}
    return {"sizes": list(values), "stages": {stage: summary(values, found) for stage, found in stages.items()}}


def summary(sizes: tuple[int, ...], timings: list[Timing]) -> Report:
    medians = [timing.median for timing in timings]
    return {
        "median_s": medians,
        "lowest_s": [min(timing.rounds) for timing in timings],
        "highest_s": [max(timing.rounds) for timing in timings],
        "law": fit_law(list(map(float, sizes)), medians).as_json(),
    }


def run_stages(folder: Path, size: Size, backend: rg.Backend) -> dict[str, Work]:
    """A run made in `folder`, and its stages."""
    if not folder.exists():
        folder.mkdir()
        make_run(folder, size)
    run = saved_run(folder)
    seeds = Seeds.from_labels(folder / "seeds.nii.gz")
    masks = {
        name: Mask.from_array(*load_volume(path)) for name, path in {"mask": run.mask, **(run.tissues or {})}.items()
    }
    inside = masks.pop("mask")
    series = read_series(BoldSource.open(run.bold), inside, backend, regions=masks)
    compressor = operator_of(run, series, SETTINGS).compressor
    return {
        "decode": partial(decode, Path(str(run.bold))),
        "read": lambda: read_series(BoldSource.open(run.bold), inside, backend, regions=masks),
        "operator": lambda: operator_of(run, series, SETTINGS),
        "maps": lambda: correlate_seeds(series, seeds, compressor, backend),
        "whole": lambda: rg.seed_maps(run, seeds, SETTINGS, backend),
    }


def group_model(size: Size, backend: rg.Backend) -> dict[str, Work]:
    """Fit with unequal variances, both contrasts, both tables."""
    maps, inside, design = make_group_maps(size, 0, backend), brain(size), two_groups(size)

    def work() -> object:
        fit = rg.group.fit(maps, design, mask=inside, affine=size.affine, backend=backend)
        return [rg.group.results_table(fit.t(contrast)) for contrast in ("MDD - HC", "HC - MDD")]

    return {"group model": work}


def one_paper_run(plan: Plan, folder: Path, backend: rg.Backend) -> Report:
    """Stages of a run of the paper's size, which no law was fitted to; its memory; its rank."""
    tell("one run of the paper's size")
    size = plan.paper
    works = run_stages(folder, size, backend)
    timings = interleaved(works, plan.rounds)
    maps = rg.seed_maps(saved_run(folder), folder / "seeds.nii.gz", SETTINGS, backend)
    return {
        "volumes": size.n_volumes,
        "voxels": size.n_voxels,
        "seeds": size.n_seeds,
        "rank": maps.rank,
        "stages_s": {name: timing.median for name, timing in timings.items()},
        "compressed_bytes": (folder / "bold.nii.gz").stat().st_size,
        "added_memory_bytes": added_memory_bytes(works["whole"]),
    }


def study_axis(plan: Plan, folder: Path) -> tuple[Report, Report]:
    """The participant stage against runs (one worker) and workers, and what a run costs and leaves there."""
    tell("a simulated dataset")
    dataset = folder / "dataset"
    simulate_cohort(dataset, plan.cohort)
    runs = plan_study(dataset, load_study(None)).dataset.runs
    people = {n: people_with(n, [run.participant_id for run in runs]) for n in plan.runs}
    tell(f"participant stage of {', '.join(map(str, plan.runs))} runs")
    by_runs = timed_axis(
        plan.runs, lambda n: {"participant stage": partial(map_dataset, dataset, people[n], 1)}, min(plan.rounds, 3)
    )
    most = plan.runs[-1]
    works = {str(jobs): partial(map_dataset, dataset, people[most], jobs) for jobs in (1, 2)}
    workers = interleaved(works, min(plan.rounds, 3))
    one, two = (min(workers[jobs].rounds) for jobs in ("1", "2"))
    # Of the fastest rounds: a difference of two medians keeps what else the machine did meanwhile.
    fixed_s, each_s = fit_line([float(n) for n in plan.runs], by_runs["stages"]["participant stage"]["lowest_s"])
    results = dataset.with_name("results")
    map_dataset(dataset, people[most], 2, results)
    study = {
        "fixed_s": fixed_s,
        "seconds_a_run": each_s,
        "decode_s_a_run": interleaved({"decode": partial(decode, runs[0].bold)}, plan.rounds)["decode"].median,
        "compressed_bytes": runs[0].bold.stat().st_size,
        "workers": {"runs": most, "one_s": one, "two_s": two},
        "efficiency_of_two_workers": (one - fixed_s) / (two - fixed_s) / 2,
        "result_bytes_a_run": sum(path.stat().st_size for path in results.rglob("*") if path.is_file()) / most,
    }
    return {"fixed": {"workers": 1}, **by_runs}, study


def people_with(n_runs: int, owners: list[str]) -> set[str]:
    """Participants who together have this many runs; those with fewest runs come first."""
    chosen: set[str] = set()
    for person in sorted(set(owners), key=lambda one: (owners.count(one), one)):
        if sum(owners.count(one) for one in chosen) + owners.count(person) <= n_runs:
            chosen.add(person)
    if (found := sum(owners.count(one) for one in chosen)) != n_runs:
        raise SystemExit(f"no set of participants has {n_runs} runs, the nearest has {found}")
    return chosen


def map_dataset(dataset: Path, people: set[str], jobs: int, out: Path | None = None) -> None:
    """The participant stage of a study on these people; its results are thrown away where `out` is None."""
    options = RunOptions(level="participant", device="cpu", jobs=jobs, participants=people, report=False)
    folder = out or dataset.with_name("out")
    run_study(dataset, folder, load_study(None), options)
    if out is None:
        shutil.rmtree(folder)


def without(sizes: dict[str, int], name: str) -> dict[str, int]:
    return {key: value for key, value in sizes.items() if key != name}


def only(works: dict[str, Work], *names: str) -> dict[str, Work]:
    return {name: works[name] for name in names}


def tell(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
