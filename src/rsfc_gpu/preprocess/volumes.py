"""Images in and out: a run is an array (T, Z, Y, X), the order of the file, beside its affine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.errors import InputError
from rsfc_gpu.images.nifti import BoldSource, load_volume

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Image
    from nibabel.spatialimages import SpatialImage


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
    volumes: NDArray[Any]
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
        header = BoldSource.open(image)
        bold = header
        if not isinstance(image, (str, Path)):
            import nibabel

            # An image whose data are still in a file: reading that once is much faster than slicing the image.
            if nibabel.is_proxy(image.dataobj) and image.get_filename():
                bold = BoldSource.open(image.get_filename())
        if not 0 <= discard_volumes < bold.n_volumes:
            raise InputError(f"{bold.name}: cannot discard {discard_volumes} of {bold.n_volumes} volumes")
        dtype = bold.dtype.newbyteorder("=") if bold.dtype.kind in "iu" else np.dtype(np.float32)
        volumes = np.empty((bold.n_volumes - discard_volumes, *bold.shape[::-1]), dtype=dtype)
        for t, values in enumerate(bold.volumes()):
            if t >= discard_volumes:
                volumes[t - discard_volumes].reshape(-1)[:] = values
        if dtype.kind == "f" and not np.isfinite(volumes).all():
            np.nan_to_num(volumes, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
        return cls(header.name, volumes, bold.slope, bold.intercept, header.affine, header.tr_s)

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
    values, affine = load_volume(image)
    finite = np.nan_to_num(np.asarray(values, dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    return np.ascontiguousarray(finite.T), affine


def voxel_size_mm(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3,) voxel edge lengths along x, y, z in mm."""
    return np.asarray(np.sqrt((affine[:3, :3] ** 2).sum(axis=0)))


def to_image(volumes: NDArray[Any], affine: NDArray[np.float64], tr_s: float | None = None) -> Nifti1Image:
    """A NIfTI image of a volume (Z, Y, X) or a run (T, Z, Y, X); the memory is shared, not copied."""
    import nibabel

    image = nibabel.Nifti1Image(volumes.T, affine)
    image.header.set_xyzt_units("mm", "sec")
    if tr_s is not None and volumes.ndim == 4:
        image.header.set_zooms((*image.header.get_zooms()[:3], tr_s))
    return image
