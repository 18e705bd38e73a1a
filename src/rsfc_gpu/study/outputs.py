"""What lies in the output folder: names, checksums, and whether a step must be done again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rsfc_gpu.errors import InputError, ResourceError
from rsfc_gpu.files import write_text

_HEAD_BYTES = 4096


def file_digest(path: Path) -> str:
    """What a file holds, in a few reads: of .gz its size, its start and the checksum at its end, else of every byte.

    It does not depend on dates, so that a copied dataset is the same dataset.

    Raises
    ------
    InputError : the file is not there or cannot be read.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            if not path.name.endswith(".gz") or size <= 2 * _HEAD_BYTES:
                return hashlib.file_digest(stream, "sha256").hexdigest()[:32]
            head = stream.read(_HEAD_BYTES)
            stream.seek(-8, 2)  # CRC-32 and size of what was compressed
            return hashlib.sha256(head + stream.read() + str(size).encode()).hexdigest()[:32]
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def image_digest(path: Path) -> list[str]:
    """`file_digest` of an image: of both files where it is a pair of .hdr and .img."""
    pair = [path.with_suffix(suffix) for suffix in (".hdr", ".img")] if path.suffix in (".hdr", ".img") else [path]
    return [file_digest(one) for one in pair]


def digest_of(value: Any) -> str:
    """The hash of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=_plain).encode()).hexdigest()[:32]


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write as JSON, whole or not at all; NaN becomes null."""
    write_text(path, json.dumps(_without_nan(value), indent=2, default=_plain) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file, or None where there is none or it is damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def seal(marker: Path, made_from: str, files: Iterable[Path], **content: Any) -> dict[str, Any]:
    """Write the record of a finished step: what it was made from, and the digests of its files. Written last.

    Files of the record that was there before, and not made again, are removed: nobody shall take them for results.
    """
    folder = marker.parent
    outputs = {str(path.relative_to(folder)): file_digest(path) for path in sorted(files)}
    record = {**content, "hash": made_from, "files": outputs}
    before = (read_json(marker) or {}).get("files", {})
    for name in before.keys() - outputs.keys():
        (folder / name).unlink(missing_ok=True)
    write_json(marker, record)
    return record


def is_current(marker: Path, made_from: str) -> dict[str, Any] | None:
    """The record of a step that was finished with the same inputs and whose files are as it left them, else None."""
    record = read_json(marker)
    if record is None or record.get("hash") != made_from:
        return None
    for name, digest in record.get("files", {}).items():
        path = marker.parent / name
        if not path.is_file() or file_digest(path) != digest:
            return None
    return record


def prepare(out: Path, inputs: Path) -> None:
    """Make the output folder, or refuse one that is the input, or holds anything but the input and results of a study.

    Raises
    ------
    InputError : the folder is not one of ours. ResourceError : it cannot be made.
    """
    if out == inputs:
        raise InputError(f"{out}: the output folder must not be the dataset")
    description = out / "dataset_description.json"
    strangers = [one for one in out.iterdir() if one != inputs] if out.is_dir() else []
    if strangers and not _is_ours(description) and not (out / "logs").is_dir():
        raise InputError(f"{out}: not empty, and not the output of a study; give another folder")
    try:
        (out / "logs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceError(f"cannot make {out}: {error.strerror}") from error


def _is_ours(description: Path) -> bool:
    record = read_json(description) or {}
    made_by = record.get("GeneratedBy") or [{}]
    return bool(made_by[0].get("Name") == "rsfc-gpu")


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(one) for key, one in value.items()}
    if isinstance(value, np.ndarray):
        return _without_nan(value.tolist())
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    if isinstance(value, float | np.floating) and not np.isfinite(value):
        return None
    return value
