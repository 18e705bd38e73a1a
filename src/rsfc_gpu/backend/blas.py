"""How many threads BLAS may use: one, wherever matrices are small or the caller brings its own threads.

An installation has threadpoolctl. A plain checkout on a machine that was lent for checks and timings may lack it: BLAS
then keeps its threads, which costs time and changes no result.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class BlasLibraries(Protocol):
    """The BLAS libraries that this process had loaded when it was asked."""

    def limit(self, *, limits: int, user_api: str) -> AbstractContextManager[object]: ...


def loaded_blas() -> BlasLibraries:
    """The libraries loaded so far. Finding them takes milliseconds: keep the answer where time counts."""
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return _OutOfReach()
    libraries: BlasLibraries = ThreadpoolController()
    return libraries


def one_blas_thread() -> AbstractContextManager[object]:
    """Context in which every BLAS library loaded so far uses one thread."""
    return loaded_blas().limit(limits=1, user_api="blas")


class _OutOfReach:
    def limit(self, *, limits: int, user_api: str) -> AbstractContextManager[object]:  # noqa: ARG002 - as the Protocol
        return nullcontext()
