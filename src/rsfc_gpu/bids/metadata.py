"""What the JSON files of a dataset say about an image."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rsfc_gpu.bids.index import entities_of, names_in
from rsfc_gpu.errors import InputError


def sidecar(path: Path, root: Path) -> dict[str, Any]:
    """The metadata of an image: its JSON files from `root` down to its folder, the nearest one last (BIDS inheritance).

    Raises
    ------
    InputError : a JSON file that cannot be read.

    References
    ----------
    BIDS specification 1.9, the inheritance principle.
    """
    own, suffix = entities_of(path.name), path.name.split(".")[0].rsplit("_", 1)[-1]
    between = [path.parent, *path.parent.parents]
    folders = between[: between.index(root) + 1] if root in between else between[:1]
    merged: dict[str, Any] = {}
    for folder in reversed(folders):
        names = [name for name in names_in(folder) if name.endswith(f"{suffix}.json")]
        fitting = [name for name in names if entities_of(name).items() <= own.items()]
        for name in sorted(fitting, key=lambda name: len(entities_of(name))):
            try:
                merged |= json.loads((folder / name).read_text(encoding="utf-8-sig"))
            except (OSError, ValueError, TypeError) as error:
                raise InputError(f"{folder / name}: not a readable JSON object ({error})") from error
    return merged


def slice_timing(metadata: Mapping[str, Any], name: str) -> tuple[float, ...] | None:
    """SliceTiming in the order of the slices in the file, as it is written there; None where there is none.

    Parameters
    ----------
    metadata : of `sidecar`. name : of the image, for messages.

    Raises
    ------
    InputError : no list of numbers, or slices that were not acquired along the third axis (SliceEncodingDirection).

    References
    ----------
    BIDS specification 1.9: SliceTiming, SliceEncodingDirection.
    """
    given = metadata.get("SliceTiming")
    if given is None:
        return None
    if not isinstance(given, list) or not all(isinstance(time, int | float) for time in given):
        raise InputError(f"{name}: SliceTiming is no list of numbers")
    direction = metadata.get("SliceEncodingDirection", "k")
    if direction not in ("k", "k-"):
        raise InputError(
            f"{name}: SliceEncodingDirection is {direction!r}; slices along the third axis (k, k-) are corrected "
            "alone. Reorient the image, or leave the step out (slice_timing none)"
        )
    times = tuple(float(time) for time in given)
    return times[::-1] if direction == "k-" else times
