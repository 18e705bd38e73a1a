"""A cupy that computes with NumPy and is stricter than the real one, whose RawModule is the host build of the kernels.

It has what the package uses and nothing else, so that a name which CuPy may lack cannot slip in. It refuses
  host arrays where device arrays are due, and device arrays where host arrays are;
  asynchronous copies from or to memory that is not pinned;
  a pinned array that is overwritten or read before its copy was waited for (a download arrives only then);
  an array written on one stream and read on another before anyone waited;
  a plan of cuFFT that is used on two streams at once;
  allocations beyond the limit of a memory pool.
"""

from __future__ import annotations

import contextlib
import sys
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import rsfc_gpu.backend as backend_package
from cuda_on_host.build import HostModule, compile_for_host, guarded


class FakeCupyError(Exception):
    """Something that real CuPy refuses, or that would be wrong with it."""


class OutOfMemoryError(MemoryError):
    """As cupy.cuda.memory.OutOfMemoryError."""


class CUDARuntimeError(RuntimeError):
    """As cupy.cuda.runtime.CUDARuntimeError."""


class Device:
    """One pretended GPU: its memory, streams, and how its kernels are built."""

    def __init__(self, build: str = "plain", memory_bytes: int = 1 << 36) -> None:
        self.build = build
        self.memory_bytes = memory_bytes
        self.in_use_bytes = 0
        self.peak_bytes = 0
        self.schedule = 0
        self.modules: list[HostModule] = []
        self.patch: Callable[[str], str] = lambda source: source
        self.null_stream = Stream(self)
        self.stream = self.null_stream
        self.pool: MemoryPool | None = None
        self.pinned: weakref.WeakValueDictionary[int, np.ndarray] = weakref.WeakValueDictionary()

    def allocate(self, array: np.ndarray) -> None:
        """Count an array until it is gone."""
        pool, size = self.pool, max(array.nbytes, 512)
        beyond_pool = pool is not None and pool.limit and pool.used + size > pool.limit
        if beyond_pool or self.in_use_bytes + size > self.memory_bytes:
            raise OutOfMemoryError(
                f"Out of memory allocating {size:,} bytes (allocated so far: {self.in_use_bytes:,} bytes)."
            )
        self._count(pool, size)
        weakref.finalize(array, self._count, pool, -size)

    def _count(self, pool: MemoryPool | None, size: int) -> None:
        self.in_use_bytes += size
        self.peak_bytes = max(self.peak_bytes, self.in_use_bytes)
        if pool is not None:
            pool.used += size


class MemoryPool:
    def __init__(self) -> None:
        self.limit = self.used = 0

    def set_limit(self, size: int | None = None) -> None:
        self.limit = size or 0

    def malloc(self, _: int) -> None:
        raise FakeCupyError("only to be named in using_allocator")

    def free_all_blocks(self) -> None:
        pass


class Stream:
    def __init__(self, device: Device) -> None:
        self.device = device
        self.ticket = self.waited_for = 0
        self.uploads: list[tuple[np.ndarray, bytes]] = []
        self.downloads: list[tuple[np.ndarray, np.ndarray]] = []
        self.outer: list[Stream] = []

    def __enter__(self) -> Stream:
        self.outer.append(self.device.stream)
        self.device.stream = self
        return self

    def __exit__(self, *error: object) -> None:
        self.device.stream = self.outer.pop()

    def synchronize(self) -> None:
        self.waited_for = self.ticket
        for pinned, content in self.uploads:
            if pinned.tobytes() != content:
                raise FakeCupyError("a pinned array was overwritten while its copy was under way")
        for pinned, content in self.downloads:
            pinned[...] = content
        self.uploads.clear()
        self.downloads.clear()


def _scalar(value: Any) -> bool:
    return isinstance(value, (bool, int, float, np.generic)) or value is None


class ndarray:
    """An array on the pretended device."""

    __array_ufunc__ = None  # NumPy then leaves mixed operations to this class, which refuses host arrays

    def __init__(self, host: np.ndarray, device: Device, base: ndarray | None = None) -> None:
        self._device = device
        self._base = base  # whose memory and history this view shares
        self._host = host
        if base is None:
            device.allocate(host)
            self._written = (device.stream, device.stream.ticket)
            self._mark_written()

    def _root(self) -> ndarray:
        return self if self._base is None else self._base

    def _mark_written(self) -> None:
        stream = self._device.stream
        stream.ticket += 1
        self._root()._written = (stream, stream.ticket)

    def read(self) -> np.ndarray:
        """The values, for an operation on the current stream."""
        stream, ticket = self._root()._written
        now = self._device.stream
        if stream is not now and self._device.null_stream not in (stream, now) and stream.waited_for < ticket:
            raise FakeCupyError("an array written on one stream is read on another before anyone waited")
        return self._host

    def _view(self, host: np.ndarray) -> ndarray:
        return ndarray(host, self._device, self._root())

    def _new(self, result: Any) -> ndarray:
        return _on_device(result, self._device)

    shape = property(lambda self: self._host.shape)
    dtype = property(lambda self: self._host.dtype)
    size = property(lambda self: self._host.size)
    ndim = property(lambda self: self._host.ndim)
    nbytes = property(lambda self: self._host.nbytes)
    T = property(lambda self: self._view(self._host.T))

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError("implicit conversion of a device array to a host array: use .get()")

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Iterator[ndarray]:
        return (self[i] for i in range(len(self)))

    def __int__(self) -> int:
        return int(self.read())

    def __bool__(self) -> bool:
        return bool(self.read())

    def __getitem__(self, key: Any) -> ndarray:
        found = self._host[_index(key)]
        if isinstance(found, np.ndarray) and np.shares_memory(found, self._host):
            return self._view(found)
        self.read()
        return self._new(found)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._host[_index(key)] = _operand(value)
        self._mark_written()

    def get(self, stream: Stream | None = None, out: np.ndarray | None = None, blocking: bool = True) -> np.ndarray:
        values = np.array(self.read())
        if blocking:
            self._device.stream.synchronize()
            if out is None:
                return values
            if not (out.flags.c_contiguous and out.dtype == values.dtype and out.shape == values.shape):
                raise FakeCupyError("get(out=...) wants a C-contiguous array of the same shape and type")
            out[...] = values
            return out
        if stream is None or out is None or not _is_pinned(out, self._device):
            raise FakeCupyError("an asynchronous download wants a stream and a pinned array")
        if out.dtype != values.dtype or out.shape != values.shape or not self._host.flags.c_contiguous:
            raise FakeCupyError("an asynchronous download wants contiguous arrays of the same shape and type")
        if stream is not self._device.stream:
            raise FakeCupyError("the download is on another stream than the computing")
        out.view(np.uint8)[...] = 0xFF
        stream.downloads.append((out, values))
        return out

    def set(self, host: np.ndarray, stream: Stream | None = None) -> None:
        if not _is_pinned(host, self._device) or stream is not self._device.stream:
            raise FakeCupyError("an asynchronous upload wants pinned memory and the current stream")
        if host.dtype != self.dtype or host.shape != self.shape or not host.flags.c_contiguous:
            raise FakeCupyError("set wants a contiguous array of the same shape and type")
        self._host[...] = host
        self._mark_written()
        stream.uploads.append((host, host.tobytes()))

    def astype(self, dtype: Any, copy: bool = True) -> ndarray:
        return self if self.dtype == dtype and not copy else self._new(self.read().astype(dtype))

    def reshape(self, *shape: Any) -> ndarray:
        found = self._host.reshape(*shape)
        return self._view(found) if np.shares_memory(found, self._host) or not found.size else self._new(found)

    def transpose(self, *axes: int) -> ndarray:
        return self._view(self._host.transpose(*axes))

    def view(self, dtype: Any) -> ndarray:
        return self._view(self._host.view(dtype))

    def sum(self, **keywords: Any) -> ndarray:
        return self._new(self.read().sum(**keywords))

    def mean(self, **keywords: Any) -> ndarray:
        return self._new(self.read().mean(**keywords))

    def all(self, **keywords: Any) -> ndarray:
        return self._new(self.read().all(**keywords))


def _binary(name: str) -> Callable[..., Any]:
    def operate(self: ndarray, other: Any) -> ndarray:
        return self._new(getattr(self.read(), name)(_operand(other)))

    return operate


def _in_place(name: str) -> Callable[..., Any]:
    def operate(self: ndarray, other: Any) -> ndarray:
        getattr(self.read(), name)(_operand(other))
        self._mark_written()
        return self

    return operate


for _name in ("add", "sub", "mul", "truediv", "and", "or", "xor", "matmul", "pow"):
    setattr(ndarray, f"__{_name}__", _binary(f"__{_name}__"))
    setattr(ndarray, f"__r{_name}__", _binary(f"__r{_name}__"))
for _name in ("lt", "le", "gt", "ge", "eq", "ne"):
    setattr(ndarray, f"__{_name}__", _binary(f"__{_name}__"))
for _name in ("add", "sub", "mul", "truediv"):
    setattr(ndarray, f"__i{_name}__", _in_place(f"__i{_name}__"))
ndarray.__neg__ = lambda self: self._new(-self.read())  # type: ignore[attr-defined]
ndarray.__invert__ = lambda self: self._new(~self.read())  # type: ignore[attr-defined]


def _operand(value: Any) -> Any:
    if isinstance(value, ndarray):
        return value.read()
    if _scalar(value):
        return value
    raise TypeError(f"a {type(value).__name__} of the host where a device array is due")


def _index(key: Any) -> Any:
    if isinstance(key, tuple):
        return tuple(_index(part) for part in key)
    if isinstance(key, ndarray):
        return key.read()
    if isinstance(key, np.ndarray):
        raise TypeError("a host array as index of a device array")
    return key


def _on_device(result: Any, device: Device) -> ndarray:
    """A result as an array of the device: a scalar becomes one of no dimensions, as with CuPy."""
    values = np.asarray(result)
    held = guarded(values.shape, values.dtype)
    held[...] = values
    return ndarray(held, device)


def _is_pinned(host: np.ndarray, device: Device) -> bool:
    return id(host) in device.pinned


class RawModule:
    def __init__(self, device: Device, code: str, options: tuple[str, ...]) -> None:
        if any("fast" in option for option in options):
            raise FakeCupyError("fast-math is refused")
        self.device = device
        self.module = compile_for_host(device.patch(code), device.build, options)
        device.modules.append(self.module)

    def get_function(self, name: str) -> Callable[..., None]:
        function = self.module.get_function(name)

        def launch(grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...]) -> None:
            self.module.schedule = self.device.schedule
            if any(isinstance(argument, np.ndarray) for argument in arguments):
                raise TypeError(f"{name}: a host array where a device array is due")
            signature = self.module._text(f"signature_{name}").split()
            given = []
            for argument, kind in zip(arguments, signature, strict=True):
                if isinstance(argument, ndarray):
                    given.append(argument.read() if kind[0] == "r" else argument._host)
                else:
                    given.append(argument)
            function(grid, block, tuple(given))
            for argument, kind in zip(arguments, signature, strict=True):
                if isinstance(argument, ndarray) and kind[0] == "w":
                    argument._mark_written()

        return launch


def make_cupy(device: Device) -> dict[str, types.ModuleType]:
    """The modules cupy and cupyx on this device, by name, to be put into sys.modules."""
    from scipy import ndimage

    cupy, cupyx = types.ModuleType("cupy"), types.ModuleType("cupyx")
    scipy_part, interpolation = types.ModuleType("cupyx.scipy"), types.ModuleType("cupyx.scipy.ndimage")
    for name in ("float32", "float64", "int32", "int64", "bool_"):
        setattr(cupy, name, getattr(np, name))

    def computed(name: str) -> Callable[..., ndarray]:
        def function(*arguments: Any, **keywords: Any) -> ndarray:
            plain = [[_operand(one) for one in a] if isinstance(a, (list, tuple)) else _operand(a) for a in arguments]
            return _on_device(getattr(np, name)(*plain, **keywords), device)

        return function

    for name in ("square", "sqrt", "where", "matmul", "stack", "concatenate", "cumsum", "maximum", "floor"):
        setattr(cupy, name, computed(name))
    cupy.arange = lambda n, dtype=None: _on_device(np.arange(n, dtype=dtype), device)
    cupy.empty = lambda shape, dtype=float: ndarray(
        guarded(shape if isinstance(shape, tuple) else (shape,), dtype), device
    )
    cupy.zeros = lambda shape: _on_device(np.zeros(shape), device)
    cupy.moveaxis = lambda array, source, target: array._view(np.moveaxis(array._host, source, target))
    cupy.ascontiguousarray = lambda array: array if array._host.flags.c_contiguous else _on_device(array.read(), device)

    def asarray(host: Any) -> ndarray:
        if isinstance(host, ndarray):
            return host
        if isinstance(host, np.ndarray) and not host.dtype.isnative:
            raise FakeCupyError("a byte-swapped array: CuPy does not take it")
        return _on_device(host, device)

    def empty_pinned(shape: Any, dtype: Any) -> np.ndarray:
        host = np.empty(shape, dtype=dtype)
        host.view(np.uint8)[...] = 0xFF  # rubbish, as in memory that was used before
        device.pinned[id(host)] = host
        return host

    def coordinates(image: ndarray, points: ndarray, *, order: int, mode: str, prefilter: bool) -> ndarray:
        return _on_device(
            ndimage.map_coordinates(image.read(), points.read(), order=order, mode=mode, prefilter=prefilter), device
        )

    @contextlib.contextmanager
    def using_allocator(allocator: Any) -> Iterator[None]:
        outer, device.pool = device.pool, allocator.__self__
        try:
            yield
        finally:
            device.pool = outer

    cupy.asarray, cupyx.empty_pinned, interpolation.map_coordinates = asarray, empty_pinned, coordinates
    cupy.fft = _fft(device)
    cupy.ndarray = ndarray
    cupy.__version__ = "14.0.0 (host)"
    cupy.RawModule = lambda code, options=(): RawModule(device, code, options)
    cupy.cuda = _cuda(device, using_allocator)
    cupyx.scipy, scipy_part.ndimage = scipy_part, interpolation
    return {"cupy": cupy, "cupyx": cupyx, "cupyx.scipy": scipy_part, "cupyx.scipy.ndimage": interpolation}


def _fft(device: Device) -> types.SimpleNamespace:
    """rfft and irfft with a plan cache, whose plans have one work area each."""
    plans: dict[Any, tuple[Stream, int]] = {}

    def transform(name: str) -> Callable[..., ndarray]:
        def function(array: ndarray, n: int, axis: int) -> ndarray:
            plan, now = (name, n, array.size // array.shape[axis]), device.stream
            stream, ticket = plans.get(plan, (now, 0))
            if stream is not now and stream.waited_for < ticket:
                raise FakeCupyError("the work area of a plan is used on two streams at once")
            result = _on_device(getattr(np.fft, name)(array.read(), n=n, axis=axis), device)
            plans[plan] = (now, now.ticket)
            return result

        return function

    config = types.SimpleNamespace(clear_plan_cache=plans.clear)
    return types.SimpleNamespace(rfft=transform("rfft"), irfft=transform("irfft"), config=config)


def _cuda(device: Device, using_allocator: Any) -> types.SimpleNamespace:
    properties = {"name": b"host", "totalGlobalMem": device.memory_bytes, "major": 0, "minor": 0}
    runtime = types.SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError,
        memGetInfo=lambda: (device.memory_bytes - device.in_use_bytes, device.memory_bytes),
        getDevice=lambda: 0,
        getDeviceCount=lambda: 1,
        getDeviceProperties=lambda _: properties,
        driverGetVersion=lambda: 13020,
        runtimeGetVersion=lambda: 13020,
    )
    return types.SimpleNamespace(
        runtime=runtime,
        memory=types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
        MemoryPool=MemoryPool,
        Stream=lambda: Stream(device),
        get_current_stream=lambda: device.stream,
        using_allocator=using_allocator,
        get_local_runtime_version=lambda: 13020,
        nvrtc=types.SimpleNamespace(getVersion=lambda: (13, 2)),
        cublas=types.SimpleNamespace(getVersion=lambda _: 130200),
        cufft=types.SimpleNamespace(getVersion=lambda: 12000),
        device=types.SimpleNamespace(get_cublas_handle=lambda: 0),
    )


@contextlib.contextmanager
def pretended_gpu(device: Device) -> Iterator[None]:
    """Let the package import this cupy; its own CUDA modules are imported anew, and forgotten afterwards."""
    before = _forget_modules()
    sys.modules.update(make_cupy(device))
    try:
        yield
    finally:
        _forget_modules()
        for name, module in before.items():
            sys.modules[name] = module
            if name.startswith(_OWN):
                setattr(backend_package, name.rpartition(".")[2], module)


_OWN = "rsfc_gpu.backend.cuda_"


def _forget_modules() -> dict[str, types.ModuleType]:
    """Drop cupy and the modules that import it, also as attributes of their package."""
    dropped = {name: sys.modules.pop(name) for name in list(sys.modules) if name.startswith((_OWN, "cupy"))}
    for name in dropped:
        if name.startswith(_OWN) and hasattr(backend_package, name.rpartition(".")[2]):
            delattr(backend_package, name.rpartition(".")[2])
    return dropped
