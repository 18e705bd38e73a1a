"""What the current CUDA device reaches: the ceiling that timings are held against."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import numpy as np

COPIED_FLOATS = 1 << 28
SENT_FLOATS = 1 << 26
PRODUCT_EDGE = 8192


def milliseconds(work: Callable[[], object], *, repeats: int = 20) -> float:
    """Median time on the device, by CUDA events; the first two calls are not counted."""
    import cupy

    times = []
    for _ in range(repeats + 2):
        begin, end = cupy.cuda.Event(), cupy.cuda.Event()
        begin.record()
        work()
        end.record()
        end.synchronize()
        times.append(cupy.cuda.get_elapsed_time(begin, end))
    return float(statistics.median(times[2:]))


def device_limits() -> dict[str, float]:
    """What this device reaches: copying (GB/s, read and written), float32 products (Tflop/s), and transfers (GB/s)."""
    import cupy
    import cupyx

    source = cupy.zeros(COPIED_FLOATS, cupy.float32)
    target = cupy.empty_like(source)
    copy_ms = milliseconds(lambda: cupy.copyto(target, source))
    matrix = cupy.ones((PRODUCT_EDGE, PRODUCT_EDGE), cupy.float32)
    product = cupy.empty_like(matrix)
    product_ms = milliseconds(lambda: cupy.matmul(matrix, matrix, out=product), repeats=5)
    pinned, stream = cupyx.empty_pinned(SENT_FLOATS, np.float32), cupy.cuda.get_current_stream()
    up_ms = milliseconds(lambda: target[:SENT_FLOATS].set(pinned, stream=stream))
    down_ms = milliseconds(lambda: target[:SENT_FLOATS].get(stream=stream, out=pinned, blocking=False))
    return {
        "copy_gb_s": 2 * source.nbytes / copy_ms / 1e6,
        "float32_tflop_s": 2 * PRODUCT_EDGE**3 / product_ms / 1e9,
        "to_device_gb_s": pinned.nbytes / up_ms / 1e6,
        "to_host_gb_s": pinned.nbytes / down_ms / 1e6,
    }
