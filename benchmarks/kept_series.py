"""A run from its compressed file and from its kept series, and both engines: first compared, then timed in turns.

    python benchmarks/kept_series.py [--size paper] [--rounds 7] [--json benchmarks/results/kept_series.json]

One thread. Wall time, and the processor time of this process, which other work on the machine hardly changes.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import rsfc_gpu as rg
from rsfc_gpu.bench.floor import decode
from rsfc_gpu.bench.inputs import SIZES, Size, make_run, run_settings
from rsfc_gpu.bench.timing import Work, machine
from rsfc_gpu.connectivity import Seeds

LARGEST_R = 1e-5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="paper")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    report: dict[str, Any] = {"machine": machine(), "size": options.size, "rounds": options.rounds}
    for outside in ("noise", "zeros"):
        with tempfile.TemporaryDirectory(prefix="rsfc-kept-") as folder:
            report[outside] = measure(
                Path(folder), dataclasses.replace(SIZES[options.size], outside=outside), options.rounds
            )
        print(outside, json.dumps(report[outside], indent=1), flush=True)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


def measure(folder: Path, size: Size, rounds: int) -> dict[str, Any]:
    """Medians of every way from a run to its maps, ratios of processor time, and what the file takes."""
    run, settings, backend = make_run(folder, size), run_settings(), rg.select_backend("cpu", threads=1)
    seeds, kept = Seeds.from_labels(Path(str(run.mask)).with_name("seeds.nii.gz")), folder / "run.series"

    def read_and_keep() -> rg.SeedMaps:
        kept.unlink(missing_ok=True)
        return rg.seed_maps(run, seeds, settings, backend, cache=kept)

    ways: dict[str, Work] = {
        "decode": lambda: decode(run.bold),
        "read": lambda: rg.seed_maps(run, seeds, settings, backend),
        "read_and_keep": read_and_keep,
        "kept": lambda: rg.seed_maps(run, seeds, settings, backend, cache=kept),
        "kept_stages": lambda: rg.seed_maps(run, seeds, settings, backend, cache=kept, engine="stages"),
    }
    maps: dict[str, Any] = {name: way() for name, way in ways.items()}  # the first call of each is cold
    assert np.array_equal(maps["kept"].z, maps["read"].z), "a kept series gives other bits"
    difference = float(np.abs(maps["kept_stages"].r - maps["read"].r).max())
    assert difference < LARGEST_R, difference
    wall: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            began, used = time.perf_counter(), time.process_time()
            way()
            wall[name].append(time.perf_counter() - began)
            processor[name].append(time.process_time() - used)
    used = {name: statistics.median(times) for name, times in processor.items()}
    return {
        "wall_s": {name: round(statistics.median(times), 4) for name, times in wall.items()},
        "processor_s": {name: round(seconds, 4) for name, seconds in used.items()},
        "read_over_kept": round(used["read"] / used["kept"], 2),
        "stages_over_operator": round(used["kept_stages"] / used["kept"], 2),
        "largest_difference_of_r": difference,
        "file_mb": round(kept.stat().st_size / 1e6, 1),
        "compressed_mb": round(Path(str(run.bold)).stat().st_size / 1e6, 1),
    }


if __name__ == "__main__":
    main()
