"""The floor beneath a timing: what decoding, copying and multiplying alone take on this machine."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rsfc_gpu.bench.timing import Timing, Work, usable_threads

COPIED_BYTES = 1 << 28  # more than a cache holds
PRODUCT_EDGE = 2048


@dataclass(frozen=True)
class Cost:
    """What a stage cannot do without: bytes to and from memory, flops, transfers, a file to decode."""

    n_bytes: float = 0.0
    flops: float = 0.0
    sent_bytes: float = 0.0  #: to the device, where there is one
    decodes: str | None = None  #: name of the file's decoding among the floors


@dataclass(frozen=True)
class Limits:
    """What a device reaches. Copies count what is read and what is written; transfers exist on a GPU only."""

    copy_gb_s: float
    product_gflop_s: float
    to_device_gb_s: float | None = None
    to_host_gb_s: float | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def decode(path: Path) -> None:
    """Decompress a file and throw the bytes away."""
    from rsfc_gpu.images.nifti import igzip  # type: ignore[attr-defined]

    with igzip.open(path) as stream:
        buffer = bytearray(1 << 20)
        while stream.readinto(buffer):
            pass


class HostFloors:
    """Copying and multiplying on every thread of the CPU, as contenders of an interleaved timing."""

    def __init__(self, *, copied_bytes: int = COPIED_BYTES, edge: int = PRODUCT_EDGE) -> None:
        self._source = np.ones(copied_bytes // 4, dtype=np.float32)
        self._target = np.empty_like(self._source)
        self._matrix = np.ones((edge, edge), dtype=np.float32)
        self._product = np.empty_like(self._matrix)
        self._pool = ThreadPoolExecutor(usable_threads())

    def contenders(self) -> dict[str, Work]:
        """Named "copy" and "product"."""
        return {"copy": self._copy, "product": self._multiply}

    def limits(self, copy: Timing, product: Timing) -> Limits:
        """What the timings of the two say."""
        copied, flops = 2 * self._source.nbytes, 2 * float(len(self._matrix)) ** 3
        return Limits(copied / copy.median / 1e9, flops / product.median / 1e9)

    def _copy(self) -> None:
        parts = zip(*(np.array_split(array, usable_threads()) for array in (self._target, self._source)), strict=True)
        list(self._pool.map(lambda pair: np.copyto(*pair), parts))

    def _multiply(self) -> None:
        np.matmul(self._matrix, self._matrix, out=self._product)


def device_limits() -> Limits:
    """What the current CUDA device reaches."""
    from rsfc_gpu.backend.cuda_limits import device_limits as measured

    found = measured()
    return Limits(found["copy_gb_s"], 1000 * found["float32_tflop_s"], found["to_device_gb_s"], found["to_host_gb_s"])


def floor_of(cost: Cost, limits: Limits, decoding_s: dict[str, float]) -> tuple[float, str]:
    """Seconds that a stage cannot beat, and what they are: the slowest of decoding, sending, copying, multiplying."""
    parts = {"memory": cost.n_bytes / limits.copy_gb_s / 1e9, "product": cost.flops / limits.product_gflop_s / 1e9}
    if limits.to_device_gb_s is not None:
        parts["transfer"] = cost.sent_bytes / limits.to_device_gb_s / 1e9
    if cost.decodes is not None:
        parts["decoding"] = decoding_s[cost.decodes]
    kind = max(parts, key=lambda name: parts[name])
    return parts[kind], kind
