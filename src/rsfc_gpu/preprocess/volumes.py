"""Images in and out: a run is an array (T, Z, Y, X), the order of the file, beside its affine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.errors import InputError

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Image
    from nibabel.spatialimages import SpatialImage

_SECONDS_PER_UNIT = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}


@dataclass(frozen=True, eq=False)
class RawRun:
    """A run as it is stored: intensity = slope * volumes + intercept.

    Attributes
    ----------
    name : for messages.
    volumes : (T, Z, Y, X) in the stored dtype.
    affine : (4, 4) voxel indices to mm.
    tr_s : repetition time from the header, None where it does not say.
    """

    name: str
    volumes: NDArray
    slope: float
    intercept: float
    affine: NDArray[np.float64]
    tr_s: float | None

    @classmethod
    def read(cls, image: str | Path | SpatialImage, *, discard_volumes: int = 0) -> RawRun:
        """The run of a path or a nibabel image, without its first volumes.

        Raises
        ------
        InputError : not 4-D, or nothing is left after the discarded volumes.
        """
        loaded = load(image)
        name = loaded.get_filename() or "the image in memory"
        if len(loaded.shape) != 4:
            raise InputError(f"{name}: a run needs four dimensions, found shape {tuple(loaded.shape)}")
        if not 0 <= discard_volumes < loaded.shape[3]:
            raise InputError(f"{name}: cannot discard {discard_volumes} of {loaded.shape[3]} volumes")
        data = loaded.dataobj
        slope, intercept = 1.0, 0.0
        if hasattr(data, "get_unscaled"):
            slope, intercept = float(data.slope), float(data.inter)
            data = data.get_unscaled()
        volumes = np.ascontiguousarray(np.asanyarray(data).T[discard_volumes:])
        if volumes.dtype.kind not in "iuf":
            raise InputError(f"{name}: the data type {volumes.dtype} is not supported")
        if volumes.dtype.kind == "f" and not np.isfinite(volumes).all():
            volumes = np.nan_to_num(volumes, nan=0.0, posinf=0.0, neginf=0.0)
        affine = np.asarray(loaded.affine, dtype=np.float64)
        volumes = volumes.astype(volumes.dtype.newbyteorder("="), copy=False)
        return cls(name, volumes, slope, intercept, affine, _tr_s(loaded))

    def scaled(self) -> NDArray[np.float32]:
        """Intensities, float32, in an array of their own."""
        intensities = self.volumes.astype(np.float32)
        return self.rescale(intensities)

    def rescale(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Stored values, already float32, to intensities, in place."""
        if self.slope != 1.0:
            values *= np.float32(self.slope)
        if self.intercept != 0.0:
            values += np.float32(self.intercept)
        return values


def read_volume(image: str | Path | SpatialImage) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Intensities (Z, Y, X) and affine of a 3-D image; what is not finite becomes 0.

    Raises
    ------
    InputError : not 3-D.
    """
    loaded = load(image)
    shape = tuple(loaded.shape)
    if len(shape) == 4 and shape[3] == 1:
        shape = shape[:3]
    if len(shape) != 3:
        name = loaded.get_filename() or "the image in memory"
        raise InputError(f"{name}: expected three dimensions, found shape {shape}")
    values = np.asarray(loaded.dataobj, dtype=np.float32).reshape(shape)
    finite = np.where(np.isfinite(values), values, np.float32(0.0))
    return np.ascontiguousarray(finite.T), np.asarray(loaded.affine, dtype=np.float64)


def voxel_size_mm(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3,) voxel edge lengths along x, y, z in mm."""
    return np.asarray(np.sqrt((affine[:3, :3] ** 2).sum(axis=0)))


def to_image(volumes: NDArray, affine: NDArray[np.float64], tr_s: float | None = None) -> Nifti1Image:
    """A NIfTI image of a volume (Z, Y, X) or a run (T, Z, Y, X); the memory is shared, not copied."""
    import nibabel

    image = nibabel.Nifti1Image(volumes.T, affine)
    image.header.set_xyzt_units("mm", "sec")
    if tr_s is not None and volumes.ndim == 4:
        image.header.set_zooms((*image.header.get_zooms()[:3], tr_s))
    return image


def load(image: str | Path | SpatialImage) -> SpatialImage:
    """A nibabel image from a path, or the image itself; InputError where it cannot be read."""
    if not isinstance(image, (str, Path)):
        return image
    import nibabel

    try:
        return nibabel.load(image)
    except FileNotFoundError as error:
        raise InputError(f"{image}: no such file") from error
    except (nibabel.filebasedimages.ImageFileError, OSError, EOFError) as error:
        raise InputError(f"{image}: not a readable image ({error})") from error


def _tr_s(image: SpatialImage) -> float | None:
    zooms = image.header.get_zooms()
    units = image.header.get_xyzt_units()[1] if hasattr(image.header, "get_xyzt_units") else "unknown"
    if len(zooms) < 4:
        return None
    tr_s = float(zooms[3]) * _SECONDS_PER_UNIT.get(units, 1.0)
    return round(tr_s, 6) if 0.1 <= tr_s <= 20.0 else None
