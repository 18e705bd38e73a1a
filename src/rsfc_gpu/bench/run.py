"""The benchmark that a user runs: every stage on every backend, first checked, then timed in turns."""

from __future__ import annotations

import dataclasses
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rsfc_gpu.backend import Backend, cuda, select_backend
from rsfc_gpu.bench.floor import HostFloors, Limits, decode, device_limits, floor_of
from rsfc_gpu.bench.inputs import Size
from rsfc_gpu.bench.stages import Stage, build_stages, largest_difference
from rsfc_gpu.bench.timing import (
    Timing,
    Work,
    added_memory_bytes,
    highest_memory_bytes,
    interleaved,
    machine,
    seconds,
)

ROUNDS = 9
N_STAGES = 6
FILES = {"decode the run": "bold.nii.gz", "decode the raw run": "raw.nii.gz"}

Progress = Callable[[str, int, int], None]
Report = dict[str, Any]


def usable_backends(device: str) -> tuple[list[Backend], dict[str, str]]:
    """The backends that `device` ("cpu", "cuda" or "all") asks for, and why those that are missing cannot be used.

    Raises
    ------
    BackendError : "cuda", which cannot be used here.
    """
    if device != "all":
        return [select_backend("cuda" if device == "cuda" else "cpu")], {}
    missing = cuda.why_unusable()
    if missing is not None:
        return [select_backend("cpu")], {"cuda": missing}
    return [select_backend("cpu"), select_backend("cuda")], {}


def run_bench(
    size: Size,
    backends: Sequence[Backend],
    *,
    rounds: int = ROUNDS,
    floors: HostFloors | None = None,
    progress: Progress | None = None,
) -> Report:
    """Agreement, times, floors and memory of every stage on every backend, ready for JSON.

    Parameters
    ----------
    rounds : in each, everything that is timed runs once.
    floors : the arrays that are copied and multiplied; None takes the usual sizes.
    progress : called with what is being done, how much of it is done, and how much there is.

    A stage that does not agree on a backend is reported with the difference, and not timed there.
    """
    began, tell = time.perf_counter(), progress or (lambda *_: None)
    floors = floors or HostFloors()
    report: Report = {
        "size": dataclasses.asdict(size) | {"shape": size.shape},
        "machine": machine(),
        "backends": {backend.name: backend.device for backend in backends},
    }
    with tempfile.TemporaryDirectory(prefix="rsfc-bench-") as folder:
        stages, rows, peaks = [], [], []
        for stage in build_stages(Path(folder), size, select_backend("cpu")):
            peaks.append(highest_memory_bytes())  # now: measuring the memory of a call sets the mark back
            rows.append(_checked(stage, backends))
            stages.append(stage)
            tell("inputs made, results checked", len(stages), N_STAGES)
        timings = _timed(stages, backends, rows, floors, Path(folder), rounds, tell)
    report["floors"] = {name: timings[name].as_json() for name in (*FILES, *floors.contenders())}
    host = floors.limits(timings["copy"], timings["product"])
    limits = {backend.name: device_limits() if backend.name == "cuda" else host for backend in backends}
    report["limits"] = {"cpu": host.as_json()} | {name: found.as_json() for name, found in limits.items()}
    _add_times(stages, rows, timings, limits)
    return report | {
        "stages": [_described(stage) | {"backends": found} for stage, found in zip(stages, rows, strict=True)],
        "highest_memory_bytes": max((peak for peak in [*peaks, highest_memory_bytes()] if peak), default=None),
        "load_average_after": os.getloadavg()[0],
        "seconds": time.perf_counter() - began,
    }


def disagreements(report: Report) -> list[str]:
    """A line for every stage and backend whose result is wrong."""
    return [
        f"{stage['name']} on {backend}: {row['difference']:.3g} {stage['unit']} from {stage['against']}, "
        f"at most {stage['tolerance']:g} is expected"
        for stage in report["stages"]
        for backend, row in stage["backends"].items()
        if not row["agrees"]
    ]


def _checked(stage: Stage, backends: Sequence[Backend]) -> dict[str, Report]:
    """By backend: the first call, its result against the reference and the first backend, and its memory."""
    found: dict[str, Report] = {}
    first = None
    for backend in backends:
        began = time.perf_counter()
        result = stage.work(backend)
        cold_s = time.perf_counter() - began
        values = stage.values(result)
        difference = largest_difference(values, stage.expected)
        row: Report = {"difference": difference, "agrees": difference <= stage.tolerance, "cold_s": cold_s}
        if first is None:
            first = values
        else:
            row[f"difference_from_{backends[0].name}"] = largest_difference(values, first)
        del result
        if row["agrees"]:
            row["added_memory_bytes"] = added_memory_bytes(partial(stage.work, backend))
        found[backend.name] = row
    return found


def _timed(
    stages: list[Stage],
    backends: Sequence[Backend],
    rows: list[dict[str, Report]],
    floors: HostFloors,
    folder: Path,
    rounds: int,
    tell: Progress,
) -> dict[str, Timing]:
    """Timings of the floors by name, and of "stage on backend", in turns."""
    contenders: dict[str, Work] = {name: partial(decode, folder / file) for name, file in FILES.items()}
    contenders |= floors.contenders()
    for work in contenders.values():
        seconds(work)  # the first call is cold
    for stage, found in zip(stages, rows, strict=True):
        for backend in backends:
            if found[backend.name]["agrees"]:
                contenders[_key(stage, backend.name)] = partial(stage.work, backend)
    done = 0

    def count(_: str) -> None:
        nonlocal done
        done += 1
        tell("timing", done, rounds * len(contenders))

    return interleaved(contenders, rounds, progress=count)


def _add_times(
    stages: list[Stage], rows: list[dict[str, Report]], timings: dict[str, Timing], limits: dict[str, Limits]
) -> None:
    decoding_s = {name: timings[name].median for name in FILES}
    for stage, found in zip(stages, rows, strict=True):
        for backend, row in found.items():
            if row["agrees"]:
                floor_s, kind = floor_of(stage.cost, limits[backend], decoding_s)
                row |= timings[_key(stage, backend)].as_json() | {"floor_s": floor_s, "floor_is": kind}


def _key(stage: Stage, backend: str) -> str:
    return f"{stage.name} on {backend}"


def _described(stage: Stage) -> Report:
    return {
        "name": stage.name,
        "against": stage.against,
        "unit": stage.unit,
        "tolerance": stage.tolerance,
        "cost": dataclasses.asdict(stage.cost),
    }
