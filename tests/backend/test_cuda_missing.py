"""What is missing for CUDA is said in one line, whatever it is."""

from __future__ import annotations

import sys
import types
from importlib import metadata
from typing import Any

import pytest

from rsfc_gpu.backend import cuda, select_backend
from rsfc_gpu.errors import BackendError


class CudaError(RuntimeError):
    pass


def machine(*, version: str = "14.1.0", driver: int = 13000, built_for: int = 13020, gpus: Any = 1) -> Any:
    """A module cupy that knows no more than `why_unusable` asks."""

    def count() -> int:
        if isinstance(gpus, Exception):
            raise gpus
        return int(gpus)

    runtime = types.SimpleNamespace(
        driverGetVersion=lambda: driver,
        runtimeGetVersion=lambda: built_for,
        getDeviceCount=count,
        CUDARuntimeError=CudaError,
    )
    parts = types.SimpleNamespace(
        runtime=runtime, nvrtc=types.SimpleNamespace(getVersion=lambda: (13, 0)), cublas=types.SimpleNamespace()
    )
    cupy = types.ModuleType("cupy")
    cupy.__version__ = version  # type: ignore[attr-defined]
    cupy.cuda = parts  # type: ignore[attr-defined]
    return cupy


class WithoutLibrary:
    """cupy.cuda where one library cannot be loaded: asking for it raises, as CuPy 14 does."""

    def __init__(self, parts: Any, missing: str) -> None:
        self._parts, self._missing = parts, missing

    def __getattr__(self, name: str) -> Any:
        if name == self._missing:
            raise ImportError(f'Failure finding "lib{name}.so.13": No such file\n\nmore lines')
        if name == "nvrtc" and self._missing == "nvrtc call":

            def version() -> None:
                raise RuntimeError('Failure finding "libnvrtc.so.13": No such file')

            return types.SimpleNamespace(getVersion=version)
        return getattr(self._parts, name)


def missing(
    monkeypatch: pytest.MonkeyPatch, cupy: Any, wheels: tuple[str, ...] = ("cupy-cuda13x", "numpy")
) -> str | None:
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    found = [types.SimpleNamespace(metadata={"Name": name}) for name in wheels]
    monkeypatch.setattr(metadata, "distributions", lambda: found)
    monkeypatch.delenv("CUPY_TF32", raising=False)
    line = cuda.why_unusable()
    assert line is None or "\n" not in line
    return line


def without(library: str) -> Any:
    cupy = machine()
    cupy.cuda = WithoutLibrary(cupy.cuda, library)
    return cupy


CASES = [
    (None, (), r"no CuPy: pip install 'rsfc-gpu\[cuda12\]'"),
    (None, ("cupy-cuda12x",), "cupy-cuda12x is installed but cannot be imported"),
    (machine(), ("CuPy-CUDA12x", "cupy-cuda13x"), r"2 CuPy wheels in one environment \(cupy-cuda12x, cupy-cuda13x\)"),
    (machine(version="13.6.0"), ("cupy-cuda12x",), "CuPy 13.6.0 is too old: 14 or later"),
    (machine(driver=0), ("cupy-cuda13x",), "found no NVIDIA driver"),
    (machine(driver=12040), ("cupy-cuda13x",), r"knows CUDA 12.4, older than the CUDA 13.2 .* 'rsfc-gpu\[cuda12\]'"),
    (machine(gpus=CudaError("cudaErrorNoDevice: none")), ("cupy-cuda13x",), "no usable GPU: cudaErrorNoDevice"),
    (machine(gpus=0), ("cupy-cuda13x",), "found no GPU"),
    (without("nvrtc call"), ("cupy-cuda13x",), r"NVRTC, .* is missing: pip install 'rsfc-gpu\[cuda13\]'"),
    (without("cublas"), ("cupy-cuda13x",), r"cuBLAS is missing: pip install 'rsfc-gpu\[cuda13\]'"),
]


@pytest.mark.parametrize(("cupy", "wheels", "expected"), CASES, ids=[case[2][:28] for case in CASES])
def test_what_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, cupy: Any, wheels: tuple[str, ...], expected: str
) -> None:
    line = missing(monkeypatch, cupy, wheels)
    assert line is not None
    with pytest.raises(BackendError, match=expected):
        select_backend("cuda")
    assert select_backend("auto").name == "cpu"


def test_a_newer_minor_toolkit_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing(monkeypatch, machine(driver=13000, built_for=13020)) is None


def test_tf32_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing(monkeypatch, machine()) is None
    monkeypatch.setenv("CUPY_TF32", "1")
    line = cuda.why_unusable()
    assert line is not None
    assert "CUPY_TF32" in line
    monkeypatch.setenv("CUPY_TF32", "0")
    assert cuda.why_unusable() is None
