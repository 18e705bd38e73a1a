"""Which device does the voxel work of a task: a choice that pickles, opened once in every process."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from threading import Lock

from rsfc_gpu.backend import Backend, BackendName, select_backend


@dataclass(frozen=True)
class DeviceChoice:
    """A backend by name, with its limits: `threads` of the CPU, None for all; bytes of the GPU, None for most.

    All tasks of a process share what `open` returns, so that the limit holds for all of them together.
    """

    name: BackendName
    threads: int | None = None
    max_gpu_memory_bytes: int | None = None

    def open(self) -> Backend:
        """The backend.

        Raises
        ------
        BackendError : "cuda" was chosen and cannot be used.
        """
        threads = None if self.name == "cuda" else self.threads
        with _ONE_AT_A_TIME:  # the cache alone would let two threads open two at the same time
            return _opened(self.name, threads, self.max_gpu_memory_bytes)


_ONE_AT_A_TIME = Lock()


@cache
def _opened(name: BackendName, threads: int | None, max_gpu_memory_bytes: int | None) -> Backend:
    return select_backend(name, threads=threads, max_gpu_memory_bytes=max_gpu_memory_bytes)
