"""What nvcc makes of the kernels: registers, spilled bytes and shared memory of each entry point on an architecture."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

ARCHITECTURES = ("sm_75", "sm_80", "sm_90")


@dataclass(frozen=True)
class Resources:
    registers: int
    spilled_bytes: int
    shared_bytes: int


def missing_nvcc() -> str | None:
    """None where nvcc can be called, else why not."""
    return None if shutil.which("nvcc") else "nvcc is not installed"


def nvcc_version() -> str:
    """Release, as in 13.0."""
    text = subprocess.run(["nvcc", "--version"], capture_output=True, text=True, check=True).stdout
    return re.search(r"release ([\d.]+)", text)[1]  # type: ignore[index]


def compile_with_nvcc(source: Path, architecture: str, folder: Path) -> dict[str, Resources]:
    """Resources of each entry point. A source that does not compile, or compiles with a warning, raises."""
    command = ["nvcc", f"-arch={architecture}", "-cubin", "-Xptxas", "-v,-warn-spills", "-Werror", "all-warnings"]
    done = subprocess.run(
        [*command, "-o", str(folder / f"{source.stem}.cubin"), str(source)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{source.name} for {architecture}: {done.stderr}")
    found = {}
    for part in re.split(r"Compiling entry function '", done.stderr)[1:]:
        stores, loads = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", part).groups()  # type: ignore[union-attr]
        shared = re.search(r"(\d+) bytes smem", part)
        found[part.split("'")[0]] = Resources(
            int(re.search(r"Used (\d+) registers", part)[1]),  # type: ignore[index]
            int(stores) + int(loads),
            int(shared[1]) if shared else 0,
        )
    return found
