"""The CUDA backend, in CuPy. The only module that imports cupy."""

from __future__ import annotations


def why_unusable() -> str | None:
    """None where CUDA can be used, else one line that says what is missing and how to get it."""
    try:
        import cupy
    except ImportError:
        return "no CuPy: pip install 'rsfc-gpu[cuda12]' (or cuda13, to match the driver)"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"CuPy {cupy.__version__} found no usable GPU: {error}"
    return None if count > 0 else "CuPy found no GPU"
