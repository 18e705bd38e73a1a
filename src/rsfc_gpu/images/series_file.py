"""The masked series of a run in one file, so that a later analysis need not decode the image again.

Layout, little-endian on every machine that writes one:

    8 bytes   b"rsfcser1"
    4 bytes   CRC-32 of all bytes that follow these four
    4 bytes   length of the header that follows
    header    JSON, padded with spaces to a multiple of 64 bytes: "key" (what the series was made from), "shape" and
              "affine" of the grid, "slope", "n_not_finite", "n_constant", "regions" (names), "notes", and "arrays":
              name to [dtype, shape, offset behind the header]
    arrays    each at a multiple of 64 bytes: samples (T, V), centre (V,), baseline (V,), regions (R, T), inside (the
              mask, one bit per voxel of the grid in Fortran order), and "with/NAME" for what was given beside them

The file is mapped into memory, not read: the samples are on disk once and in the page cache once.
"""

from __future__ import annotations

import json
import logging
import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.errors import ResourceError
from rsfc_gpu.files import replacing
from rsfc_gpu.images.mask import Mask
from rsfc_gpu.images.series import Series

try:
    from isal.isal_zlib import crc32  # four times as fast
except ImportError:  # pragma: no cover - platforms without an isal wheel
    from zlib import crc32

log = logging.getLogger(__name__)
MAGIC = b"rsfcser1"
_FIXED = struct.Struct("<8sII")
_ALIGNMENT = 64


@dataclass(frozen=True, eq=False)
class StoredSeries:
    """What a series file holds: the series, and the arrays and notes that were given beside it."""

    series: Series
    arrays: Mapping[str, NDArray[Any]]
    notes: Mapping[str, Any]


def write_series(
    path: Path,
    key: str,
    series: Series,
    *,
    arrays: Mapping[str, NDArray[Any]] | None = None,
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Write a series file, whole or not at all.

    Parameters
    ----------
    key : hash of all that the series depends on; `open_series` asks for it again.
    arrays, notes : small things to keep with it; `notes` is what JSON can hold.

    Raises
    ------
    ResourceError : the folder cannot be written or the disk is full.
    """
    stored = {
        "samples": series.samples,
        "centre": series.centre,
        "baseline": series.baseline,
        "regions": np.array([*series.regions.values()], dtype=np.float64).reshape(-1, series.n_volumes),
        "inside": np.packbits(series.mask.inside.ravel(order="F")),
        **{f"with/{name}": values for name, values in (arrays or {}).items()},
    }
    flat = {name: np.ascontiguousarray(values) for name, values in stored.items()}
    header = {
        "key": key,
        "shape": series.mask.shape,
        "affine": series.mask.affine.tolist(),
        "slope": series.slope,
        "n_not_finite": series.n_not_finite,
        "n_constant": series.n_constant,
        "regions": list(series.regions),
        "notes": dict(notes or {}),
        "arrays": _places(flat),
    }
    text = json.dumps(header).encode()
    text += b" " * (-(_FIXED.size + len(text)) % _ALIGNMENT)
    parts: list[bytes | memoryview] = [text]
    for values in flat.values():
        parts += [values.reshape(-1).view(np.uint8).data, bytes(-values.nbytes % _ALIGNMENT)]
    length = struct.pack("<I", len(text))
    checksum = crc32(length)
    for part in parts:
        checksum = crc32(part, checksum)
    try:
        with replacing(path) as temporary, temporary.open("wb") as file:
            file.write(_FIXED.pack(MAGIC, checksum, len(text)))
            for part in parts:
                file.write(part)
    except ResourceError as error:
        raise ResourceError(
            f"{error}: a kept series takes {series.samples.nbytes / 1e6:.0f} MB; free some space, name another folder "
            "(--work-dir), or do without (no --cache)"
        ) from error


def open_series(path: Path, key: str) -> StoredSeries | None:
    """What `write_series` wrote with this key; None where there is no file, it has another key, or it is damaged.

    The arrays are read-only and lie in the file; a file that is replaced meanwhile stays as it was for them.
    """
    try:
        with path.open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        magic, checksum, length = _FIXED.unpack_from(content)
        header = json.loads(content[_FIXED.size : _FIXED.size + length])
        if magic != MAGIC or header["key"] != key:
            log.info("%s is of other files or settings: made again", path)
            return None
        if crc32(memoryview(content)[12:]) != checksum:
            raise ValueError("its checksum is wrong")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        log.warning("%s is damaged (%s): made again", path, error)
        return None
    # The checksum was right: from here on it is what was written.
    arrays = {
        name: np.frombuffer(content, dtype, math.prod(shape), _FIXED.size + length + offset).reshape(shape)
        for name, (dtype, shape, offset) in header["arrays"].items()
    }
    n_grid = math.prod(header["shape"])
    inside = np.unpackbits(arrays["inside"], count=n_grid).astype(bool).reshape(header["shape"], order="F")
    series = Series(
        samples=arrays["samples"],
        centre=arrays["centre"],
        mask=Mask(inside, np.array(header["affine"], dtype=np.float64)),
        baseline=arrays["baseline"],
        slope=header["slope"],
        regions=dict(zip(header["regions"], arrays["regions"], strict=True)),
        n_not_finite=header["n_not_finite"],
        n_constant=header["n_constant"],
    )
    beside = {name.removeprefix("with/"): values for name, values in arrays.items() if name.startswith("with/")}
    return StoredSeries(series, beside, header["notes"])


def _places(arrays: Mapping[str, NDArray[Any]]) -> dict[str, tuple[str, tuple[int, ...], int]]:
    """Type, shape, and offset behind the header of each array."""
    places, offset = {}, 0
    for name, values in arrays.items():
        places[name] = (values.dtype.str, values.shape, offset)
        offset += values.nbytes + -values.nbytes % _ALIGNMENT
    return places
