"""What the processor reaches: copying 256 MiB, and a float32 product of 2048 x 2048 matrices, on all threads.

pytest benchmarks/bench_floor.py --benchmark-enable --benchmark-only
"""

from __future__ import annotations

from typing import Any

import pytest

from rsfc_gpu.bench.floor import COPIED_BYTES, PRODUCT_EDGE, HostFloors


@pytest.mark.parametrize("name", ["copy", "product"])
def test_floor(benchmark: Any, floors: HostFloors, name: str) -> None:
    benchmark(floors.contenders()[name])
    per_call = {"copy": 2 * COPIED_BYTES, "product": 2 * PRODUCT_EDGE**3}[name]
    benchmark.extra_info["giga_per_s"] = per_call / benchmark.stats.stats.median / 1e9  # bytes, or flops
