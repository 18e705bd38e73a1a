"""The full-size study: 137 simulated runs of 61x73x61 voxels and 240 volumes, from .nii.gz files to the report.

    python benchmarks/bench_study.py [DATASET] [--skull-stripped] [--json FILE]

Without DATASET it is made first, as `rsfc simulate --grid 3 --volumes 240` makes it (9 GB, or with --skull-stripped
3.4 GB: files of which less is left to decompress). The floor is decompressing every image with as many threads as runs
are mapped at once; it is timed in turns with the stage that maps the runs and writes maps, carpets and records, a few
participants at a time, so that both read from memory and not from a disk. Time and memory of the whole study are those
of a `rsfc run` process of its own. Exit code 1 where the stage takes over 1.5 times the floor.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rsfc_gpu.bench.floor import decode
from rsfc_gpu.bench.timing import machine
from rsfc_gpu.simulate import CohortSettings, simulate_cohort
from rsfc_gpu.study.config import load_study
from rsfc_gpu.study.executor import default_jobs
from rsfc_gpu.study.plan import plan_study
from rsfc_gpu.study.run import RunOptions, run_study

SETTINGS = CohortSettings(grid_mm=3.0, n_volumes=240)
TARGET_RATIO = 1.5
ROUNDS = 3
PARTICIPANTS = 12  # at a time


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", nargs="?", type=Path)
    parser.add_argument("--skull-stripped", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.dataset.parent if options.dataset else None) as folder:
        started = time.perf_counter()
        dataset = options.dataset or Path(folder) / "dataset"
        if options.dataset is None:
            simulate_cohort(dataset, replace(SETTINGS, skull_stripped=options.skull_stripped))
            print(f"simulated in {time.perf_counter() - started:.0f} s", flush=True)
        report = measure(dataset, Path(folder))
    print(json.dumps(report, indent=1))
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0 if report["participant_stage"]["ratio"] <= TARGET_RATIO else 1


def measure(dataset: Path, scratch: Path) -> dict[str, Any]:
    """Floor and participant stage in turns; then the whole study in a process of its own."""
    plan = plan_study(dataset, load_study(None))
    jobs = default_jobs(plan.bytes_each)
    people = sorted({run.participant_id for run in plan.dataset.runs})
    participant_stage(dataset, scratch / "warm", jobs, people[:1])
    before = machine()
    floors, stages, status = np.zeros(ROUNDS), np.zeros(ROUNDS), Counter[str]()
    for start in range(0, len(people), PARTICIPANTS):
        some = people[start : start + PARTICIPANTS]
        images = [run.bold for run in plan.dataset.runs if run.participant_id in some]
        decode_all(images, jobs)  # brings the files into memory
        for turn in range(ROUNDS):
            floors[turn] += decode_all(images, jobs)
            seconds, flow = participant_stage(dataset, scratch / f"stage{turn}-{start}", jobs, some)
            stages[turn] += seconds
        status.update(flow)
    whole = whole_study(dataset, scratch / "whole")
    images = [run.bold for run in plan.dataset.runs]
    return {
        "machine": before,
        "dataset": {
            "runs": len(images),
            "compressed_bytes": sum(path.stat().st_size for path in images),
            "jobs": jobs,
        },
        "decode_seconds": floors.round(2).tolist(),
        "participant_stage": {
            "seconds": stages.round(2).tolist(),
            "ratios": (stages / floors).round(3).tolist(),
            "ratio": round(float(np.median(stages / floors)), 3),
            "status": dict(status),
        },
        "whole_study": whole,
    }


def decode_all(images: list[Path], jobs: int) -> float:
    """Seconds to decompress every image and throw the bytes away."""

    def one(path: Path) -> None:
        with suppress(EOFError):  # the damaged file that every simulated cohort has
            decode(path)

    started = time.perf_counter()
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(one, images))
    return time.perf_counter() - started


def participant_stage(dataset: Path, out: Path, jobs: int, participants: list[str]) -> tuple[float, dict[str, int]]:
    """Seconds to map the runs of some participants, to files; and how many runs were kept, excluded, failed."""
    options = RunOptions(level="participant", device="cpu", jobs=jobs, participants=participants)
    outcome = run_study(dataset, out, load_study(None), options)
    return outcome.seconds["participants"], {name: outcome.count(name) for name in ("kept", "excluded", "failed")}


def whole_study(dataset: Path, out: Path) -> dict[str, Any]:
    """Wall time, peak memory and stages of `rsfc run`, and the disk that its results take."""
    command = [sys.executable, "-m", "rsfc_gpu.cli", "run", str(dataset), str(out), "--device", "cpu"]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    text = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if os.waitstatus_to_exitcode(status) not in (0, 4):  # 4: the damaged file
        raise SystemExit(f"rsfc run failed:\n{text}")
    stages = {name: int(value) for name, value in re.findall(r"(\w+) (\d+) s", text)}
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    report = (out / "report.html").stat().st_size
    shutil.rmtree(out)
    return {
        "seconds": round(seconds, 1),
        "stages_seconds": stages,
        "peak_memory_mb": round(used.ru_maxrss / 1024),
        "results_mb": round(size / 1e6),
        "report_mb": round(report / 1e6, 1),
    }


if __name__ == "__main__":
    raise SystemExit(main())
