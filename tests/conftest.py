"""Fixtures for every test: each backend that this machine has, and the reference data where it is present."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cuda_on_host.build import missing_compiler
from cuda_on_host.fake_cupy import Device, pretended_gpu
from rsfc_gpu.backend import Backend, cuda, select_backend

REPOSITORY = Path(__file__).parents[1]


def _cuda_or_skip() -> None:
    missing = cuda.why_unusable()
    if missing is None:
        return
    if os.environ.get("RSFC_REQUIRE_GPU") == "1":
        pytest.fail(f"RSFC_REQUIRE_GPU=1, and {missing}")
    pytest.skip(missing)


# Raw runs are large and the stand-in for CuPy is slow: their tests get it with RSFC_CUDA_ON_HOST=1 only.
NOT_ON_HOST = {"preprocess", "end_to_end"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" in metafunc.fixturenames:
        on_host = os.environ.get("RSFC_CUDA_ON_HOST") == "1" or metafunc.definition.path.parent.name not in NOT_ON_HOST
        names = ["cpu", "cuda", "cuda-on-host"] if on_host else ["cpu", "cuda"]
        metafunc.parametrize("backend", names, indirect=True, scope="session")


@pytest.fixture(scope="session")
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each backend in turn; CUDA is skipped with the reason where it is missing.

    "cuda-on-host" is the CUDA backend on a strict stand-in for CuPy, with the kernels compiled for the CPU.
    """
    if request.param == "cuda-on-host":
        return _cuda_on_host_or_skip()
    if request.param == "cuda":
        _cuda_or_skip()
    return select_backend(request.param)


def _cuda_on_host_or_skip() -> Backend:
    missing = missing_compiler()
    if missing is not None:
        pytest.skip(missing)
    with pretended_gpu(Device()):
        return select_backend("cuda")


@pytest.fixture(scope="session")
def real_gpu() -> None:
    """Skips, or fails with RSFC_REQUIRE_GPU=1, where there is no usable GPU."""
    _cuda_or_skip()


@pytest.fixture(scope="session")
def cpu() -> Backend:
    return select_backend("cpu")


@pytest.fixture(scope="session")
def reference_root() -> Path:
    """The folder with reference/ and realdata/; skips where absent, fails when RSFC_REQUIRE_REFERENCE=1."""
    root = Path(os.environ.get("RSFC_REFERENCE", REPOSITORY.parent / "shared"))
    if (root / "reference").is_dir():
        return root
    if os.environ.get("RSFC_REQUIRE_REFERENCE") == "1":
        pytest.fail(f"RSFC_REQUIRE_REFERENCE=1, and {root}/reference is missing")
    pytest.skip(f"no reference data at {root} (set RSFC_REFERENCE)")
