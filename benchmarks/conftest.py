"""What the benchmarks of single stages share: the backends of this machine, and what their JSON says."""

from __future__ import annotations

from typing import Any

import pytest

from rsfc_gpu.backend import Backend, cuda, select_backend
from rsfc_gpu.bench.floor import HostFloors
from rsfc_gpu.bench.timing import machine


def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """Versions, threads and load instead of the name of the machine."""
    machine_info.clear()
    machine_info.update(machine())


def pytest_benchmark_update_json(output_json: dict[str, Any]) -> None:
    """Without every single time: median, range and rounds are kept."""
    del output_json["commit_info"]
    kept = ("median", "min", "max", "rounds")
    for one in output_json["benchmarks"]:
        one["stats"] = {name: one["stats"][name] for name in kept}


@pytest.fixture(scope="session", params=["cpu", "cuda"])
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each backend that can be used here."""
    if request.param == "cuda" and cuda.why_unusable() is not None:
        pytest.skip(str(cuda.why_unusable()))
    return select_backend(request.param)


@pytest.fixture(scope="session")
def floors() -> HostFloors:
    return HostFloors()
