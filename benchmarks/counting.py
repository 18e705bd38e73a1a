"""Instruments that count what a computation does: products, kernel calls, volumes decoded, arrays alive.

`install()` comes before the first import of rsfc_gpu. From then on
  the package's source is compiled with every product (`a @ b`, matmul, tensordot, einsum) and every Fourier transform
  replaced by a counted one, whatever the arrays are: NumPy's, or device arrays of the CUDA backend;
  every Numba function of the package is a dispatcher that counts its calls from Python;
  every file that is opened is seen, whoever opens it.
Hooks inside NumPy would miss what a library renames, and hooks inside BLAS would see another library on each machine.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import math
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from typing import Any

import numpy as np

PACKAGE = "rsfc_gpu"
PRODUCTS = ("matmul", "tensordot", "einsum")
TRANSFORMS = ("rfft", "irfft", "fft", "ifft")
Tally = dict[str, Any]


class Counts:
    """What was counted since the last `start`; nothing is counted before it, nor after `stop`."""

    def __init__(self) -> None:
        self.tally: Tally | None = None
        self.opened: list[str] = []
        self.full_bytes = 0
        self._highest, self._snapshot = 0, None

    def start(self, *, full_bytes: int) -> None:
        """Count from here; arrays of at least `full_bytes` are named in `memory`."""
        self.tally, self.full_bytes = {}, full_bytes
        self.opened.clear()
        self._highest, self._snapshot = 0, None
        tracemalloc.start()
        tracemalloc.reset_peak()

    def stop(self) -> Tally:
        tally, self.tally = self.tally, None
        tracemalloc.stop()
        assert tally is not None
        return tally

    def add(self, amount: int, *place: str) -> None:
        """Add to the number at tally[place[0]][place[1]]..."""
        if self.tally is None:
            return
        entry = self.tally
        for name in place[:-1]:
            entry = entry.setdefault(name, {})
        entry[place[-1]] = entry.get(place[-1], 0) + int(amount)

    def call(self, kind: str, name: str, what: str, amount: int) -> None:
        """Add one call, and the amount of what it did; look how much memory is in use by now."""
        self.add(1, kind, name, "calls")
        self.add(amount, kind, name, what)
        if self.tally is not None:
            self._look_at_memory()

    def memory(self) -> Tally:
        """Before `stop`: the peak over `full_bytes`, and the source files whose large arrays were alive near it."""
        peak = tracemalloc.get_traced_memory()[1]
        return {"peak": round(peak / self.full_bytes, 2), "arrays_of_full_size": self._large_arrays()}

    def _look_at_memory(self) -> None:
        now = tracemalloc.get_traced_memory()[0]
        if now > self._highest + self.full_bytes // 4:
            self._highest, self._snapshot = now, tracemalloc.take_snapshot()

    def _large_arrays(self) -> Tally:
        found: Tally = {}
        if self._snapshot is None:
            return found
        domain = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
        for trace in self._snapshot.filter_traces([domain]).traces:
            if trace.size >= self.full_bytes:
                name = _short(trace.traceback[0].filename)
                found[name] = found.get(name, 0) + 1
        return found


counts = Counts()


def install() -> None:
    """Count in this process from now on; rsfc_gpu must not have been imported yet."""
    if PACKAGE in sys.modules:
        raise RuntimeError(f"{PACKAGE} was imported before its source could be instrumented")
    builtins.__counted__ = _counted  # type: ignore[attr-defined]
    sys.meta_path.insert(0, _Finder())
    sys.addaudithook(_note_opened)
    _count_numba()


def times_opened(path: Path) -> int:
    """How often a file was opened since `start`, by whatever library."""
    return counts.opened.count(str(path))


def _note_opened(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and counts.tally is not None:
        counts.opened.append(str(arguments[0]))


class _Finder:
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name.partition(".")[0] != PACKAGE:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(name, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    def get_code(self, fullname: str) -> Any:
        """Compiled from the instrumented source; neither read from nor written to a .pyc."""
        path = self.get_filename(fullname)
        tree = _Instrument(_short(path)).visit(ast.parse(self.get_source(fullname) or "", path))
        return compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)


class _Instrument(ast.NodeTransformer):
    """a @ b -> __counted__("@", file, None)(a, b); np.einsum(...) -> __counted__("einsum", file, np.einsum)(...)."""

    def __init__(self, file: str) -> None:
        self.file = file

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.op, ast.MatMult):
            return node
        return ast.copy_location(ast.Call(self._counted("@", ast.Constant(None)), [node.left, node.right], []), node)

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        if isinstance(node.op, ast.MatMult):
            raise SyntaxError(f"{self.file}:{node.lineno}: @= is not counted; write a = a @ b")
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Attribute) and node.func.attr in PRODUCTS + TRANSFORMS:
            node.func = self._counted(node.func.attr, node.func)
        return node

    def _counted(self, what: str, function: ast.expr) -> ast.expr:
        arguments = [ast.Constant(what), ast.Constant(self.file), function]
        return ast.Call(ast.Name("__counted__", ast.Load()), arguments, [])


def _counted(what: str, file: str, function: Callable[..., Any] | None) -> Callable[..., Any]:
    def call(*arguments: Any, **keywords: Any) -> Any:
        result = arguments[0] @ arguments[1] if function is None else function(*arguments, **keywords)
        if what in TRANSFORMS:
            counts.call("transforms", file, "elements", arguments[0].size)
        else:
            counts.call("products", file, "flops", _flops(what, arguments, result))
        return result

    return call


def _flops(what: str, arguments: tuple[Any, ...], result: Any) -> int:
    """Twice the multiplications: a sum over k of an (m, k) by (k, n) product is 2 m k n."""
    if what == "einsum":
        letters: dict[str, int] = {}
        for term, array in zip(arguments[0].partition("->")[0].split(","), arguments[1:], strict=True):
            letters.update(zip(term, array.shape, strict=True))
        return 2 * math.prod(letters.values())
    first, second = arguments[:2]
    if what == "tensordot":
        # Every contracted axis is in both operands, every other in one of them.
        return 2 * math.isqrt(first.size * second.size * math.prod(np.shape(result)))
    return 2 * math.prod(np.shape(result)) * first.shape[-1]


def _count_numba() -> None:
    """Numba makes the functions of the package as a dispatcher that counts; its cache on disk stays valid."""
    from numba.core.registry import CPUDispatcher
    from numba.core.target_extension import dispatcher_registry, target_registry

    class Counting(CPUDispatcher):  # type: ignore[misc]
        def __call__(self, *arguments: Any) -> Any:
            if self.py_func.__module__.startswith(PACKAGE):
                counts.call("kernels", self.py_func.__name__, "elements", _elements(arguments))
            return super().__call__(*arguments)

    cpu = target_registry["cpu"]
    del dispatcher_registry[cpu]  # it refuses to be overwritten
    dispatcher_registry[cpu] = Counting


@contextlib.contextmanager
def counted_decoding() -> Iterator[None]:
    """Counts volumes and bytes that come out of the package's reader of runs."""
    from rsfc_gpu.images import nifti

    volumes, opened = nifti.BoldSource.volumes, nifti._opened

    def counted_volumes(bold: Any) -> Iterator[Any]:
        for volume in volumes(bold):
            counts.add(1, "decoded", "volumes")
            yield volume

    nifti.BoldSource.volumes = counted_volumes  # type: ignore[method-assign]
    nifti._opened = lambda path: _CountedStream(opened(path))  # type: ignore[assignment,return-value]
    try:
        yield
    finally:
        nifti.BoldSource.volumes, nifti._opened = volumes, opened  # type: ignore[method-assign]


class _CountedStream:
    """A stream whose decompressed bytes are counted."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __enter__(self) -> _CountedStream:
        self.stream.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.stream.__exit__(*error)

    def read(self, size: int = -1) -> bytes:
        data = self.stream.read(size)
        counts.add(len(data), "decoded", "bytes")
        return bytes(data)

    def readinto(self, view: memoryview) -> int:
        size = self.stream.readinto(view)
        counts.add(size, "decoded", "bytes")
        return int(size)


@contextlib.contextmanager
def counted_device(device: Any) -> Iterator[None]:
    """A pretended GPU whose launches and copies are counted; see tests/cuda_on_host."""
    from cuda_on_host import fake_cupy
    from cuda_on_host.build import HostModule

    launch, upload, download = HostModule._launch, fake_cupy.ndarray.set, fake_cupy.ndarray.get

    def counted_launch(self: Any, name: str, grid: Any, block: Any, arguments: Any) -> None:
        counts.call("launches", name, "elements", _elements(arguments))
        launch(self, name, grid, block, arguments)

    def counted_upload(self: Any, host: np.ndarray, stream: Any = None) -> None:
        counts.call("copies", "to the device", "bytes", host.nbytes)
        upload(self, host, stream)

    def counted_download(self: Any, *arguments: Any, **keywords: Any) -> Any:
        counts.call("copies", "from the device", "bytes", self.nbytes)
        return download(self, *arguments, **keywords)

    HostModule._launch = counted_launch
    fake_cupy.ndarray.set, fake_cupy.ndarray.get = counted_upload, counted_download
    try:
        with fake_cupy.pretended_gpu(device):
            import cupy

            plain = cupy.asarray

            def asarray(values: Any) -> Any:
                if isinstance(values, np.ndarray):
                    counts.call("copies", "to the device", "bytes", values.nbytes)
                return plain(values)

            cupy.asarray = asarray
            yield
    finally:
        HostModule._launch = launch
        fake_cupy.ndarray.set, fake_cupy.ndarray.get = upload, download


def _elements(arguments: tuple[Any, ...]) -> int:
    return sum(one.size for one in arguments if isinstance(one, np.ndarray))


def _short(path: str) -> str:
    """The path of a source file inside the package, or its name."""
    _head, found, tail = path.rpartition(f"{PACKAGE}/")
    return tail if found else Path(path).name
