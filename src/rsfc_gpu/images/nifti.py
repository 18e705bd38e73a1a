"""NIfTI files as streams of volumes, and volumes written back.

A 4-D file is never held whole: one volume is decompressed at a time into the same buffer.
"""

from __future__ import annotations

import gzip
import io
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.errors import InputError
from rsfc_gpu.files import replacing

try:
    from isal import igzip

    GZIP_LIBRARY = "isal"
except ImportError:  # pragma: no cover - platforms without an isal wheel
    igzip = gzip
    GZIP_LIBRARY = "gzip"

if TYPE_CHECKING:
    from nibabel.spatialimages import SpatialImage

GZIP_LEVEL = 2  # of isal's 0 to 3; maps are noise to a compressor, and a higher one gains nothing
ImageSource: TypeAlias = "str | Path | SpatialImage"
_SECONDS_PER_UNIT = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6, "unknown": 1.0}


@dataclass(frozen=True, eq=False)
class BoldSource:
    """A 4-D image that is read volume by volume; nothing but its header has been read yet.

    Attributes
    ----------
    name : for messages.
    shape : (X, Y, Z).
    n_volumes : T.
    affine : (4, 4) voxel indices to mm.
    dtype : as stored, with its byte order.
    slope, intercept : stored value to intensity.
    tr_s : repetition time from the header, or None where the header does not say one between 0.1 and 20 s.
    """

    name: str
    shape: tuple[int, int, int]
    n_volumes: int
    affine: NDArray[np.float64]
    dtype: np.dtype[Any]
    slope: float
    intercept: float
    tr_s: float | None
    path: Path | None = None
    offset: int = 0
    image: SpatialImage | None = None

    @classmethod
    def open(cls, source: ImageSource) -> BoldSource:
        """Read the header of a path or take that of a nibabel image.

        Raises
        ------
        InputError : no such file, not NIfTI, not 4-D, or a data type without an order (complex, colour).
        """
        import nibabel
        from nibabel.wrapstruct import WrapStructError

        if not isinstance(source, (str, Path)):
            return cls._of_object(source)
        path = Path(source)
        if not path.name.endswith((".nii", ".nii.gz")):
            return cls._of_image(load_image(path), str(path))
        with _opened(path) as stream:
            try:
                start = stream.read(4)
                size = (
                    int.from_bytes(start, "little") if start[:1] in (b"\x5c", b"\x1c") else int.from_bytes(start, "big")
                )
                kind = {348: nibabel.Nifti1Header, 540: nibabel.Nifti2Header}[size]
                header = kind.from_fileobj(io.BytesIO(start + stream.read(size - 4)), check=False)
                return replace(cls._from_header(header, str(path)), path=path, offset=_data_offset(header, size, path))
            except (KeyError, EOFError, OSError, zlib.error, WrapStructError) as error:
                raise InputError(f"{path}: not a readable NIfTI file ({error or type(error).__name__})") from error

    @classmethod
    def _of_object(cls, image: SpatialImage) -> BoldSource:
        """A nibabel image. One that still lies in a .nii file is streamed from there: slices of .gz start over."""
        import nibabel

        if not hasattr(image, "dataobj") or not hasattr(image, "affine"):
            raise InputError(f"expected a path or a nibabel image, found {type(image).__name__}")
        name = image.get_filename()
        if name and nibabel.is_proxy(image.dataobj) and name.endswith((".nii", ".nii.gz")):
            return replace(cls.open(name), affine=np.asarray(image.affine, dtype=np.float64), tr_s=_tr_s(image.header))
        return cls._of_image(image, name or "the image in memory")

    @classmethod
    def _of_image(cls, image: SpatialImage, name: str) -> BoldSource:
        """A nibabel image: of an array in memory, or of a format that nibabel reads for us (.hdr/.img)."""
        bold = cls._from_header(image.header, name, affine=image.affine)
        # nibabel applies slope and intercept itself when a slice of the data object is taken.
        sample = np.asanyarray(image.dataobj[..., :1])
        return replace(bold, image=image, slope=1.0, intercept=0.0, dtype=sample.dtype)

    @classmethod
    def _from_header(cls, header: Any, name: str, affine: NDArray[Any] | None = None) -> BoldSource:
        import nibabel

        shape = tuple(int(n) for n in header.get_data_shape())
        if len(shape) != 4:
            raise InputError(f"{name}: expected a 4-D image, found {len(shape)} dimensions {shape}")
        try:
            dtype = header.get_data_dtype()
        except nibabel.spatialimages.HeaderDataError as error:
            raise InputError(f"{name}: {error}") from error
        if dtype.kind not in "iuf" or dtype.itemsize > 8:
            raise InputError(f"{name}: the data type {dtype} is not supported; convert it to integers or float64")
        try:
            slope, intercept = header.get_slope_inter()
        except AttributeError:  # formats without a scale
            slope, intercept = None, None
        except nibabel.spatialimages.HeaderDataError as error:
            raise InputError(f"{name}: {error}") from error
        return cls(
            name=name,
            shape=shape[:3],
            n_volumes=shape[3],
            affine=np.asarray(header.get_best_affine() if affine is None else affine, dtype=np.float64),
            dtype=dtype,
            slope=1.0 if slope is None else float(slope),
            intercept=0.0 if intercept is None else float(intercept),
            tr_s=_tr_s(header),
        )

    def volumes(self) -> Iterator[NDArray[Any]]:
        """Each volume in turn, flat (X*Y*Z,) with x fastest, as stored; the array is overwritten by the next one.

        Raises
        ------
        InputError : the file holds fewer or more bytes than its header says, or its checksum is wrong.
        """
        if self.image is not None:
            for t in range(self.n_volumes):
                yield np.asanyarray(self.image.dataobj[..., t]).ravel(order="F")
            return
        assert self.path is not None
        volume_bytes = math.prod(self.shape) * self.dtype.itemsize
        # Before any memory is taken: no file holds more than this, because deflate shrinks at most 1032 times.
        limit = self.path.stat().st_size * (1032 if self.path.name.endswith(".gz") else 1)
        if volume_bytes * self.n_volumes > limit:
            raise InputError(f"{self.name}: too short for the {self.n_volumes} volumes that its header promises")
        buffer = bytearray(volume_bytes)
        view = memoryview(buffer)
        stored = np.frombuffer(buffer, dtype=self.dtype)
        native = stored if self.dtype.isnative else np.empty(stored.shape, self.dtype.newbyteorder("="))
        t = 0
        with _opened(self.path) as stream:
            try:
                _skip(stream, self.offset)
                for t in range(self.n_volumes):
                    if _read_into(stream, view) < len(view):
                        raise InputError(
                            f"{self.name}: ends inside volume {t + 1} of the {self.n_volumes} that its header "
                            "promises: copy or convert the file again"
                        )
                    if native is not stored:
                        native[:] = stored
                    yield native
                # Reading on to the end is what makes the gzip library compare the checksum.
                if stream.read(1):
                    raise InputError(
                        f"{self.name}: holds more data than the {self.n_volumes} volumes that its header promises; "
                        "the header or the file is wrong"
                    )
            except (OSError, EOFError, zlib.error) as error:
                raise InputError(f"{self.name}: damaged after volume {t} of {self.n_volumes} ({error})") from error


def load_image(source: ImageSource) -> SpatialImage:
    """A nibabel image from a path, or the image itself; InputError where it cannot be read."""
    if not isinstance(source, (str, Path)):
        if not hasattr(source, "dataobj"):
            raise InputError(f"expected a path or a nibabel image, found {type(source).__name__}")
        return source
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    try:
        return nibabel.load(source)
    except FileNotFoundError as error:
        raise InputError(f"{source}: no such file") from error
    except (ImageFileError, OSError, EOFError, zlib.error) as error:
        raise InputError(f"{source}: not a readable image ({error})") from error


def load_volume(source: ImageSource) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Values (X, Y, Z) and affine of a 3-D image; a last axis of length 1 is dropped.

    Raises
    ------
    InputError : unreadable, damaged, or not three-dimensional.
    """
    image = load_image(source)
    name = source if isinstance(source, (str, Path)) else (image.get_filename() or "the image in memory")
    try:
        values = np.asanyarray(image.dataobj)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise InputError(f"{name}: damaged ({error})") from error
    if values.ndim == 4 and values.shape[3] == 1:
        values = values[..., 0]
    if values.ndim != 3:
        raise InputError(f"{name}: expected a 3-D image, found shape {values.shape}")
    return values, np.asarray(image.affine, dtype=np.float64)


def save_volume(path: Path, values: NDArray[Any], affine: NDArray[Any], *, tr_s: float | None = None) -> None:
    """Write a NIfTI-1 file (.nii or .nii.gz), whole or not at all; equal input gives equal bytes.

    `values` (X, Y, Z) or (X, Y, Z, T) in the dtype to store. The affine is stored as sform and qform, code 4 (MNI152)
    being a claim about space, code 2 (aligned) is written.
    """
    dtype = values.dtype.newbyteorder("=")
    header = _header_bytes(values.shape, dtype.str, affine.astype(np.float64).tobytes(), tr_s)
    whole = np.empty(len(header) + values.size * dtype.itemsize, dtype=np.uint8)
    whole[: len(header)] = np.frombuffer(header, dtype=np.uint8)
    whole[len(header) :].view(dtype).reshape(values.shape, order="F")[...] = values
    with replacing(path) as temporary, temporary.open("wb") as file:
        # In one call: isal's stream, fed piece by piece, once gave two files of different bytes for equal values.
        file.write(igzip.compress(whole, GZIP_LEVEL, mtime=0) if path.name.endswith(".gz") else whole.data)


@lru_cache(maxsize=16)
def _header_bytes(shape: tuple[int, ...], dtype: str, affine: bytes, tr_s: float | None) -> bytes:
    """All of a NIfTI-1 file before its values. Cached: the maps of a run, and of runs like it, share it."""
    import nibabel

    header = nibabel.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(np.dtype(dtype))
    placed = np.frombuffer(affine).reshape(4, 4)
    header.set_sform(placed, code=2)
    header.set_qform(placed, code=2)
    header.set_xyzt_units("mm", "sec")
    if tr_s is not None:
        header.set_zooms((*header.get_zooms()[:3], tr_s))
    header.set_slope_inter(1.0, 0.0)
    header["vox_offset"], header["magic"] = header.single_vox_offset, header.single_magic
    return bytes(header.binaryblock) + bytes(4)  # no extension follows


def _data_offset(header: Any, header_bytes: int, path: Path) -> int:
    """Where the image data begin; 0 means right behind the header and its four bytes of extension flags."""
    offset = float(header["vox_offset"])
    if offset == 0:
        return header_bytes + 4
    if not header_bytes <= offset <= 2**31:
        raise InputError(f"{path}: the header says that the data begin at byte {offset}; it is damaged")
    return int(offset)


def _tr_s(header: Any) -> float | None:
    zooms = header.get_zooms()
    if len(zooms) < 4:
        return None
    try:
        unit = header.get_xyzt_units()[1]
    except (AttributeError, KeyError):
        unit = "unknown"
    tr_s = float(zooms[3]) * _SECONDS_PER_UNIT.get(unit, math.nan)
    # Rounded to the microsecond: the header holds float32, and 0.72 must come back as 0.72.
    return round(tr_s, 6) if 0.1 <= tr_s <= 20.0 else None


def _opened(path: Path) -> IO[bytes]:
    try:
        return igzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({error.strerror})") from error


def _skip(stream: IO[bytes], n_bytes: int) -> None:
    """Read on by `n_bytes`, in pieces of at most a megabyte: the number comes from a header."""
    while n_bytes > 0 and (piece := stream.read(min(n_bytes, 1 << 20))):
        n_bytes -= len(piece)


def _read_into(stream: IO[bytes], view: memoryview) -> int:
    """Fill `view` as far as the stream reaches; the number of bytes read."""
    filled = 0
    while filled < len(view):
        count = stream.readinto(view[filled:])  # type: ignore[attr-defined]
        if not count:
            break
        filled += count
    return filled
