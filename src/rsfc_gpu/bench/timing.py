"""Times of contenders that take turns, memory at its highest, and the machine that this was on."""

from __future__ import annotations

import ctypes
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

Work = Callable[[], object]
LIBRARIES = ("numpy", "scipy", "numba", "nibabel", "isal", "nilearn", "statsmodels", "cupy-cuda12x", "cupy-cuda13x")


@dataclass(frozen=True)
class Timing:
    """Seconds of each round, in order; what is reported is their median and their range."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    def as_json(self) -> dict[str, Any]:
        """Median, lowest, highest and number of rounds."""
        return {
            "median_s": self.median,
            "lowest_s": min(self.rounds),
            "highest_s": max(self.rounds),
            "rounds": len(self.rounds),
        }


def seconds(work: Work) -> float:
    """Wall time of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def interleaved(
    contenders: Mapping[str, Work],
    rounds: int,
    *,
    seldom: Mapping[str, int] | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Timing]:
    """Each contender once per round, taking turns, so that other work on the machine meets all of them.

    Parameters
    ----------
    contenders : must have run once already: the first call of each is cold.
    seldom : contenders that run in every n-th round only, because one call of theirs takes long.
    progress : called with the name of each contender before it runs.
    """
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name, work in contenders.items():
            if number % (seldom or {}).get(name, 1):
                continue
            if progress:
                progress(name)
            found[name].append(seconds(work))
    return {name: Timing(tuple(times)) for name, times in found.items()}


def highest_memory_bytes() -> int | None:
    """Resident memory of this process at its highest; None where the system does not tell (no Linux).

    Not getrusage: its peak is inherited from the process that started this one.
    """
    return _status("VmHWM")


def added_memory_bytes(work: Work) -> int | None:
    """Resident memory at its highest during one call, over that before it; None where the system does not tell."""
    try:
        # What earlier calls freed goes back to the system, else this call would use it unseen.
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # sets the high-water mark back to what is resident now
    except (OSError, AttributeError):
        return None
    before = _status("VmRSS")
    work()
    highest = _status("VmHWM")
    return None if before is None or highest is None else max(0, highest - before)


def _status(key: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith(f"{key}:")]
    return int(found[0]) * 1024 if found else None


def machine() -> dict[str, Any]:
    """Processor, threads, load, versions: what the numbers of a benchmark depend on."""
    from threadpoolctl import threadpool_info

    from rsfc_gpu import __version__
    from rsfc_gpu.images.nifti import GZIP_LIBRARY

    blas = [f"{pool['internal_api']} {pool['version']}" for pool in threadpool_info() if pool["user_api"] == "blas"]
    versions = {"rsfc_gpu": __version__, "python": platform.python_version()}
    for library in LIBRARIES:
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu_model(),
        "threads": usable_threads(),
        "load_average": os.getloadavg()[0],
        "system": f"{platform.system()} {platform.release()}",
        "gzip": GZIP_LIBRARY,
        "blas": sorted(set(blas)),
        "versions": versions,
    }


def usable_threads() -> int:
    """Processors that this process may run on."""
    return len(os.sched_getaffinity(0))


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
