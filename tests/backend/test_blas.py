"""The number of BLAS threads is the process's: however contexts of several threads overlap, it comes back."""

from __future__ import annotations

import threading

from rsfc_gpu.backend import blas


class PretendedLibraries:
    """As threadpoolctl's controller: saves the number, sets it, and restores what it saved."""

    threads = 2

    def limit(self, *, limits, **_):
        saved, self.threads = self.threads, limits
        restore = lambda: setattr(self, "threads", saved)  # noqa: E731
        return type("Limits", (), {"restore_original_limits": staticmethod(restore)})()


def test_overlapping_contexts_restore_what_was_there(monkeypatch):
    libraries = PretendedLibraries()
    monkeypatch.setattr(blas, "_loaded_libraries", lambda _: libraries)
    first_is_in, second_is_in = threading.Event(), threading.Event()
    seen = []

    def first():
        with blas.one_blas_thread():
            first_is_in.set()
            second_is_in.wait(10)
        seen.append(libraries.threads)  # the second is still inside

    def second():
        first_is_in.wait(10)
        with blas.one_blas_thread():
            second_is_in.set()
            threads[0].join(10)
            seen.append(libraries.threads)

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    for thread in threads:
        thread.start()
    threads[1].join(20)
    assert seen == [1, 1] and libraries.threads == 2


def test_nested_contexts_restore_once(monkeypatch):
    libraries = PretendedLibraries()
    monkeypatch.setattr(blas, "_loaded_libraries", lambda _: libraries)
    with blas.one_blas_thread():
        with blas.one_blas_thread():
            assert libraries.threads == 1
        assert libraries.threads == 1
    assert libraries.threads == 2


def test_without_threadpoolctl_nothing_is_limited(monkeypatch):
    monkeypatch.setattr(blas, "_loaded_libraries", lambda _: None)
    with blas.one_blas_thread():
        inside = blas._limits
    assert inside is None
