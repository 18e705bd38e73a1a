"""Fixtures for every test: each backend that this machine has, and the reference data where it is present."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rsfc_gpu.backend import Backend, cuda, select_backend

REPOSITORY = Path(__file__).parents[1]


def _cuda_or_skip() -> None:
    missing = cuda.why_unusable()
    if missing is None:
        return
    if os.environ.get("RSFC_REQUIRE_GPU") == "1":
        pytest.fail(f"RSFC_REQUIRE_GPU=1, and {missing}")
    pytest.skip(missing)


@pytest.fixture(params=["cpu", "cuda"], scope="session")
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each backend in turn; CUDA is skipped with the reason where it is missing."""
    if request.param == "cuda":
        _cuda_or_skip()
    return select_backend(request.param)


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
