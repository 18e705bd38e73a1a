"""Whether CUDA can be used here, and what there is: one line that says what is missing, or what was found.

Only the modules of this folder whose names begin with "cuda" import cupy. This one imports it inside its functions, so
that it can be asked where there is none.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import metadata
from typing import Any

MINIMUM_CUPY = 14


def why_unusable() -> str | None:
    """None where CUDA can be used, else one line that says what is missing and how to get it."""
    wheels = sorted(_cupy_wheels())
    if len(wheels) > 1:
        return f"{len(wheels)} CuPy wheels in one environment ({', '.join(wheels)}): uninstall all, then install one"
    try:
        import cupy
    except ImportError as error:
        if wheels:
            return f"{wheels[0]} is installed but cannot be imported: {_first_line(error)}"
        return "no CuPy: pip install 'rsfc-gpu[cuda12]' (or cuda13, to match the driver)"
    return _device_missing(cupy) or _library_missing(cupy) or _tf32_asked_for()


def report() -> dict[str, str]:
    """What CUDA consists of on this machine: device, memory, driver, runtime and libraries, each in words.

    Raises
    ------
    BackendError : a kernel does not compile or does not compute what its twin does: the installation is unsound.
    """
    import cupy

    from rsfc_gpu.backend.cuda_self_test import run_each_kernel

    free, total = cupy.cuda.runtime.memGetInfo()
    cublas = cupy.cuda.device.get_cublas_handle()
    return {
        "device": device_text(),
        "memory": f"{free / 2**30:.1f} GiB free of {total / 2**30:.1f}",
        "driver": f"CUDA {_version(cupy.cuda.runtime.driverGetVersion())}",
        "runtime": f"CUDA {_version(cupy.cuda.get_local_runtime_version())}",
        "CuPy": str(cupy.__version__),
        "NVRTC": ".".join(str(part) for part in cupy.cuda.nvrtc.getVersion()),
        "cuBLAS": str(cupy.cuda.cublas.getVersion(cublas)),
        "cuFFT": str(cupy.cuda.cufft.getVersion()),
        "kernels": run_each_kernel(),
    }


def visible_devices() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names each."""
    import cupy

    count = cupy.cuda.runtime.getDeviceCount()
    named = [one.strip() for one in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if one.strip()]
    return (named or [str(n) for n in range(count)])[:count]


def device_text() -> str:
    """The current device in words."""
    import cupy

    properties = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.runtime.getDevice())
    name = properties["name"]
    return (
        f"{name.decode() if isinstance(name, bytes) else name}, {properties['totalGlobalMem'] / 2**30:.0f} GiB, "
        f"compute capability {properties['major']}.{properties['minor']}"
    )


def _cupy_wheels() -> Iterator[str]:
    """Names of the installed distributions that bring the module cupy."""
    found = {(distribution.metadata["Name"] or "").lower() for distribution in metadata.distributions()}
    return (name for name in found if name == "cupy" or name.startswith(("cupy-cuda", "cupy-rocm")))


def _device_missing(cupy: Any) -> str | None:
    runtime = cupy.cuda.runtime
    if int(cupy.__version__.split(".")[0]) < MINIMUM_CUPY:
        return f"CuPy {cupy.__version__} is too old: {MINIMUM_CUPY} or later is needed"
    driver, built_for = runtime.driverGetVersion(), runtime.runtimeGetVersion()
    if driver == 0:
        return f"CuPy {cupy.__version__} found no NVIDIA driver"
    if driver // 1000 < built_for // 1000:
        return (
            f"the driver knows CUDA {_version(driver)}, older than the CUDA {_version(built_for)} that CuPy was built "
            f"for: update the driver, or install 'rsfc-gpu[cuda{driver // 1000}]' instead"
        )
    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        return f"CuPy {cupy.__version__} found no usable GPU: {_first_line(error)}"
    return None if count > 0 else f"CuPy {cupy.__version__} found no GPU"


def _library_missing(cupy: Any) -> str | None:
    toolkit = f"pip install 'rsfc-gpu[cuda{cupy.cuda.runtime.runtimeGetVersion() // 1000}]' brings it"
    try:
        cupy.cuda.nvrtc.getVersion()
    except (ImportError, RuntimeError) as error:
        return f"NVRTC, which compiles the kernels, is missing: {toolkit} ({_first_line(error)})"
    try:
        _ = cupy.cuda.cublas
    except ImportError as error:
        return f"cuBLAS is missing: {toolkit} ({_first_line(error)})"
    return None


def _tf32_asked_for() -> str | None:
    if os.environ.get("CUPY_TF32", "0") in ("", "0"):
        return None
    return "CUPY_TF32 asks for products of 10-bit mantissas, which would change r in the third digit: unset it"


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
