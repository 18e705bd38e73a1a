"""Device memory under one budget, and the way of host arrays to the device and back, beside the computing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import cupy
import cupyx
import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.errors import BackendError

#: One transfer. Several transfers make up a run, so that copying one overlaps computing the one before it.
BATCH_BYTES = 8 << 20

#: Part of the free memory that is used where no limit is given: cuBLAS and other processes need some.
SHARE_OF_FREE = 0.9


class Lane:
    """One of two streams: uploads, computes and downloads a batch while the other lane does the same with the next.

    Host arrays pass through pinned memory, because only that is copied while the device computes. A pinned array is
    kept until `finish`, which waits for the stream.
    """

    def __init__(self) -> None:
        self.stream = cupy.cuda.Stream()
        self._uploads: list[NDArray[Any]] = []
        self._downloads: list[tuple[NDArray[Any], NDArray[Any]]] = []

    def upload(self, host: NDArray[Any]) -> Any:
        """Device copy of a host array, C order; the copy is under way when this returns."""
        if not host.size:
            return cupy.empty(host.shape, host.dtype.newbyteorder("="))
        pinned = cupyx.empty_pinned(host.shape, host.dtype.newbyteorder("="))
        np.copyto(pinned, host)
        device = cupy.empty(pinned.shape, pinned.dtype)
        device.set(pinned, stream=self.stream)
        self._uploads.append(pinned)
        return device

    def download(self, device: Any, target: NDArray[Any]) -> None:
        """Have a device array in the host array `target` after `finish`."""
        if not device.size:
            return
        pinned = cupyx.empty_pinned(device.shape, device.dtype)
        cupy.ascontiguousarray(device).get(stream=self.stream, out=pinned, blocking=False)
        self._downloads.append((pinned, target))

    def finish(self) -> None:
        """Wait for the batch and deliver its results."""
        self.stream.synchronize()
        for pinned, target in self._downloads:
            target[...] = pinned
        self._uploads.clear()
        self._downloads.clear()

    def abandon(self) -> None:
        """Wait for the batch and drop its results."""
        self.stream.synchronize()
        self._uploads.clear()
        self._downloads.clear()


class DeviceMemory:
    """At most `limit_bytes` of the current device (None: nine tenths of what is free now)."""

    def __init__(self, limit_bytes: int | None = None) -> None:
        free, _ = cupy.cuda.runtime.memGetInfo()
        self.limit_bytes = int(SHARE_OF_FREE * free) if limit_bytes is None else min(limit_bytes, free)
        self._pool = cupy.cuda.MemoryPool()
        self._pool.set_limit(size=self.limit_bytes)
        self._lanes = (Lane(), Lane())

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Allocate from this budget. Running out of it is a BackendError that names the bytes."""
        try:
            with cupy.cuda.using_allocator(self._pool.malloc):
                yield
        except cupy.cuda.memory.OutOfMemoryError as error:
            self.release()
            raise BackendError(self._exhausted(error)) from error

    def in_batches(
        self, n: int, bytes_each: int, work: Callable[[Lane, int, int], None], *, overlap: bool = True
    ) -> None:
        """Call work(lane, start, stop) for batches of 0..n, on two lanes in turn, until all results are delivered.

        Parameters
        ----------
        bytes_each : host bytes that travel for each of the n; sets the width of a batch. Where the device cannot hold
            the two batches under way, the width is halved and the batch done again, down to a width of one.
        overlap : False takes one lane, for work on memory that two batches must not use at once.
        """
        width = max(1, min(n, BATCH_BYTES // max(bytes_each, 1)))
        start = turn = 0
        try:
            while start < n:
                lane, other = self._lanes[turn % 2], self._lanes[(turn + 1) % 2]
                lane.finish()
                stop = min(start + width, n)
                if self._fits(lane, work, start, stop, last_try=stop - start == 1):
                    start, turn = stop, turn + overlap
                else:
                    lane.abandon()
                    other.finish()
                    self._pool.free_all_blocks()
                    width = (stop - start) // 2
            for lane in self._lanes:
                lane.finish()
        finally:
            for lane in self._lanes:
                lane.abandon()

    @staticmethod
    def _fits(lane: Lane, work: Callable[[Lane, int, int], None], start: int, stop: int, *, last_try: bool) -> bool:
        """Start a batch; False where the memory ran out. By the return nothing holds the arrays of the failed batch."""
        try:
            with lane.stream:
                work(lane, start, stop)
        except cupy.cuda.memory.OutOfMemoryError:
            if last_try:
                raise
            return False
        return True

    def constant(self, host: NDArray[Any]) -> Any:
        """Device copy of a small host array, C order, that both lanes may read."""
        device = cupy.asarray(np.ascontiguousarray(host, dtype=host.dtype.newbyteorder("=")))
        cupy.cuda.get_current_stream().synchronize()
        return device

    def release(self) -> None:
        """Give the memory that no array holds back to the device."""
        for lane in self._lanes:
            lane.abandon()
        self._pool.free_all_blocks()

    def _exhausted(self, error: Exception) -> str:
        free, total = cupy.cuda.runtime.memGetInfo()
        return (
            f"out of GPU memory: {error}; {free:,} bytes of {total:,} are free, and rsfc_gpu may take "
            f"{self.limit_bytes:,}. Free some, or compute on the CPU"
        )
