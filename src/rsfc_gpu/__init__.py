"""Resting-state functional connectivity: from BOLD files to clinical tables, on a GPU or a CPU.

Names are resolved on first use, so that `import rsfc_gpu` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from rsfc_gpu import clinical, denoise, group, preprocess
    from rsfc_gpu.backend import Backend, select_backend
    from rsfc_gpu.connectivity import SeedMaps, Seeds
    from rsfc_gpu.denoise import DenoiseSettings
    from rsfc_gpu.errors import BackendError, InputError, ResourceError, RsfcError
    from rsfc_gpu.study.single_run import Run, cleaned_image, seed_maps

_SUBMODULES = frozenset({"clinical", "denoise", "group", "preprocess"})
_HOME = {
    "Backend": "backend",
    "select_backend": "backend",
    "BackendError": "errors",
    "InputError": "errors",
    "ResourceError": "errors",
    "RsfcError": "errors",
    "DenoiseSettings": "denoise",
    "Run": "study.single_run",
    "SeedMaps": "connectivity",
    "Seeds": "connectivity",
    "cleaned_image": "study.single_run",
    "seed_maps": "study.single_run",
}

__all__ = [
    "Backend",
    "BackendError",
    "DenoiseSettings",
    "InputError",
    "ResourceError",
    "RsfcError",
    "Run",
    "SeedMaps",
    "Seeds",
    "cleaned_image",
    "clinical",
    "denoise",
    "group",
    "preprocess",
    "seed_maps",
    "select_backend",
]


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return import_module(f"rsfc_gpu.{name}")
    if name in _HOME:
        return getattr(import_module(f"rsfc_gpu.{_HOME[name]}"), name)
    raise AttributeError(f"module 'rsfc_gpu' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
