"""Finds the data folders ``kernels/`` and ``atlases/`` in an installed wheel or in a checkout, and the user's cache."""

from __future__ import annotations

import os
from pathlib import Path

from rsfc_gpu.errors import ResourceError


def resource_folder(name: str) -> Path:
    """Folder of packaged data called `name` ("kernels" or "atlases").

    Looks inside the package (a wheel), then two levels above it (a checkout).

    Raises
    ------
    ResourceError : the folder is in neither place; the installation is broken.
    """
    package = Path(__file__).resolve().parent
    for folder in (package / name, package.parents[1] / name):
        if folder.is_dir():
            return folder
    raise ResourceError(f"the folder {name}/ is missing beside {package}: reinstall rsfc-gpu")


def cache_folder() -> Path:
    """Folder for files that can be made again: RSFC_CACHE_DIR, else the user's cache folder. Not created here."""
    chosen = os.environ.get("RSFC_CACHE_DIR")
    if chosen:
        return Path(chosen)
    import platformdirs  # only where no folder was chosen: keeps `import rsfc_gpu` light

    return Path(platformdirs.user_cache_dir("rsfc_gpu"))
