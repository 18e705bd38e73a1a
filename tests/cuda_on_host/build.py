"""Kernels of kernels/*.cu compiled for the host, and called on NumPy arrays as CuPy calls them on device arrays."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
ENTRY_POINT = re.compile(r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s*)?(\w+)\s*\(([^)]*)\)')

#: Flags of the kernel's own text. "check" compiles calls for every access, which end in cuda_host.cpp.
BUILDS = {
    "plain": ["-O2"],
    "check": ["-O1", "-g", "-fsanitize=thread", "--param", "tsan-distinguish-volatile=1"],
    "ubsan": ["-O1", "-g", "-fsanitize=undefined", "-fno-sanitize=vptr,return,unreachable"],
}
GUARD = 0xA6  # round every array; a write beyond an array changes it
GUARD_BYTES = 4096


class KernelError(Exception):
    """A launch that CUDA would refuse, or whose threads do what they must not."""


def missing_compiler() -> str | None:
    """None where kernels can be compiled for the host, else why not."""
    return None if shutil.which("g++") else "g++ is not installed: kernels cannot be compiled for the host"


@dataclass
class HostModule:
    """The kernels of one source, in one build. `schedule` 0 is forward, 1 backward, others shuffle."""

    library: Any
    names: list[str]
    schedule: int = 0
    most_accesses: int = 10_000_000
    traffic: dict[str, dict[str, int]] = field(default_factory=dict)

    def get_function(self, name: str) -> Any:
        if name not in self.names:
            raise KernelError(f"no kernel {name}: there are {', '.join(self.names)}")
        return lambda grid, block, arguments: self._launch(name, grid, block, arguments)

    def _launch(self, name: str, grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple[Any, ...]) -> None:
        signature = self._text(f"signature_{name}").split()
        if len(arguments) != len(signature):
            raise KernelError(f"{name}: {len(arguments)} arguments for {len(signature)} parameters")
        self.library.begin_checks(ctypes.c_size_t(self.most_accesses))
        given = enumerate(zip(arguments, signature, strict=True))
        keep = [self._argument(name, n, value, kind) for n, (value, kind) in given]
        pointers = (ctypes.c_void_p * len(keep))(*(ctypes.addressof(one) for one in keep))
        shape = (ctypes.c_uint * 6)(*(*grid, 1, 1)[:3], *(*block, 1, 1)[:3])
        if getattr(self.library, f"launch_{name}")(shape, ctypes.c_uint64(self.schedule), pointers):
            raise KernelError(f"{name}: {self._in_source(self._text('launch_message'))}")
        check_guards()
        counts = (ctypes.c_size_t * 6)()
        self.library.read_traffic(counts)
        what = ("bytes_read", "requests_read", "sectors_read", "bytes_written", "requests_written", "sectors_written")
        self.traffic[name] = dict(zip(what, map(int, counts), strict=True))

    def _argument(self, name: str, position: int, value: Any, kind: str) -> Any:
        where = f"{name}, argument {position}"
        if kind[0] in "rw":
            if not isinstance(value, np.ndarray):
                raise KernelError(f"{where}: an array is wanted, not {type(value).__name__}")
            if value.dtype != np.dtype(kind[1:]):
                raise KernelError(f"{where}: a pointer to {np.dtype(kind[1:])} is given {value.dtype}")
            if not value.flags.c_contiguous:
                raise KernelError(f"{where}: the array is not C-contiguous")
            if kind[0] == "w" and not value.flags.writeable:
                raise KernelError(f"{where}: a read-only array would be written")
            address = ctypes.c_void_p(value.ctypes.data)
            self.library.add_array(
                address, ctypes.c_size_t(value.nbytes), ctypes.c_uint(value.itemsize), int(kind[0] == "r")
            )
            return address
        # CuPy passes a NumPy scalar as it is; a Python int becomes 8 bytes, which a 4-byte parameter would misread.
        if not isinstance(value, np.generic) or value.dtype != np.dtype(kind):
            given = value.dtype if isinstance(value, np.generic) else type(value).__name__
            raise KernelError(f"{where}: {np.dtype(kind)} is wanted, not {given}")
        return ctypes.c_char.from_buffer(bytearray(value.tobytes()))

    def _text(self, function: str) -> str:
        ask = getattr(self.library, function)
        ask.restype = ctypes.c_char_p
        return ask().decode()

    def _in_source(self, text: str) -> str:
        def line(match: re.Match[str]) -> str:
            place = hex(int(match[1], 16) - 1)
            found = subprocess.run(
                ["addr2line", "-e", self.library._name, place], capture_output=True, text=True, check=False
            )
            return Path(found.stdout.split(" ")[0].strip()).name

        return re.sub(r"@([0-9a-f]+)", line, text)


def compile_for_host(source: str, build: str, options: tuple[str, ...] = ()) -> HostModule:
    """The kernels of a source in one build; compiled once, and kept in a folder of temporary files."""
    names = [match[1] for match in ENTRY_POINT.finditer(source)]
    macros = [option for option in options if option.startswith("-D")]
    parts = [source, build, *macros, *((HERE / name).read_text() for name in ("cuda_host.h", "cuda_host.cpp"))]
    folder = Path(tempfile.gettempdir()) / f"rsfc_gpu-cuda-on-host-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    library = folder / f"{hashlib.sha256(repr((parts, BUILDS[build])).encode()).hexdigest()[:20]}.so"
    if not library.exists():
        with tempfile.TemporaryDirectory(dir=folder) as work:
            text = Path(work) / "kernel.cpp"
            text.write_text(source + "\n" + "".join(f"HOST_EXPORT({name})\n" for name in names))
            _compile(text, [*BUILDS[build], "-include", str(HERE / "cuda_host.h"), *macros])
            runtime = _runtime(folder, check=build == "check")
            _run(["g++", "-shared", "-o", str(text.with_suffix(".so")), str(text.with_suffix(".o")), str(runtime)])
            text.with_suffix(".so").replace(library)
    return HostModule(ctypes.CDLL(str(library)), names)


def _runtime(folder: Path, *, check: bool) -> Path:
    source = HERE / "cuda_host.cpp"
    flags = ["-O2", "-DCHECK"] if check else ["-O2"]
    built = folder / f"host-{hashlib.sha256((source.read_text() + repr(flags)).encode()).hexdigest()[:20]}.o"
    if not built.exists():
        with tempfile.TemporaryDirectory(dir=folder) as work:
            copy = Path(work) / "host.cpp"
            copy.write_text(source.read_text())
            _compile(copy, flags)
            copy.with_suffix(".o").replace(built)
    return built


def _compile(source: Path, flags: list[str]) -> None:
    common = ["-std=c++20", "-fPIC", "-ffp-contract=off", "-fno-gnu-unique", "-w"]
    _run(["g++", *common, *flags, "-c", str(source), "-o", str(source.with_suffix(".o"))])


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise KernelError(done.stderr)


# ---- arrays with guards round them ----

_guarded: list[tuple[weakref.ref[np.ndarray], int, int]] = []


def guarded(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array full of rubbish (NaN, -1), aligned as CuPy aligns, with guard bytes before and after it."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.full(size + 2 * GUARD_BYTES + 512, GUARD, dtype=np.uint8)
    begin = GUARD_BYTES + (-(raw.ctypes.data + GUARD_BYTES)) % 512
    raw[begin : begin + size] = 0xFF
    _guarded.append((weakref.ref(raw), begin, size))
    return raw[begin : begin + size].view(dtype).reshape(shape)


def check_guards() -> None:
    """KernelError where a byte beside an array has changed. Arrays that nobody holds are forgotten."""
    _guarded[:] = [entry for entry in _guarded if entry[0]() is not None]
    for held, begin, size in _guarded:
        raw = held()
        if raw is not None and ((raw[:begin] != GUARD).any() or (raw[begin + size :] != GUARD).any()):
            _guarded.clear()
            raise KernelError("a write beyond the end of an array")
