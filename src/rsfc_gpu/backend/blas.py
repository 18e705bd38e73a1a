"""How many threads BLAS may use: one, wherever matrices are small or the caller brings its own threads.

The number is a property of the process, not of a thread. So the context below counts its users: the first one in sets
it, the last one out restores it, whatever the order in which threads come and go.

Where threadpoolctl is missing (a plain checkout, without an installation), BLAS keeps its threads; that costs time and
changes no result.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

_lock = threading.Lock()
_users = 0
_limits: Any = None


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Context in which every BLAS library loaded so far uses one thread; may be nested and entered by many threads."""
    global _users, _limits
    with _lock:
        libraries = _loaded_libraries("scipy.linalg" in sys.modules)
        if _users == 0 and libraries is not None:
            _limits = libraries.limit(limits=1, user_api="blas")
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0 and _limits is not None:
                _limits.restore_original_limits()
                _limits = None


@cache
def _loaded_libraries(with_scipy: bool) -> Any:  # noqa: ARG001 - SciPy brings a BLAS of its own: look again after it
    """The libraries loaded so far, or None without threadpoolctl. Finding them takes about a millisecond."""
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    return ThreadpoolController()
