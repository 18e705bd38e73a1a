"""Gaussian smoothing of images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rsfc_gpu.backend import Backend
from rsfc_gpu.errors import InputError
from rsfc_gpu.images.nifti import load_image
from rsfc_gpu.preprocess.volumes import RawRun, read_volume, to_image, voxel_size_mm

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Image
    from nibabel.spatialimages import SpatialImage


def smooth(image: str | Path | SpatialImage, fwhm_mm: float, *, backend: Backend) -> Nifti1Image:
    """The image, 3-D or 4-D, float32, smoothed with an isotropic Gaussian.

    Values that are not finite count as 0. Beyond the volume lies 0 along x and y; along z the kernel is renormalised.

    Parameters
    ----------
    fwhm_mm : full width at half maximum, mm; 0 changes nothing.

    Raises
    ------
    InputError : a negative width, or an image that is neither 3-D nor 4-D.

    References
    ----------
    SPM12, spm_smooth: the Gaussian integrated against a linear B-spline, to 6 standard deviations.
    """
    if not 0.0 <= fwhm_mm < np.inf:
        raise InputError(f"fwhm_mm is {fwhm_mm}, expected 0 or more")
    source = load_image(image)
    if len(source.shape) == 4:
        run = RawRun.read(source)
        volumes, affine, tr_s = run.scaled(), run.affine, run.tr_s
    else:
        volume, affine = read_volume(source)
        volumes, tr_s = volume[None], None
    fwhm_voxels = fwhm_mm / voxel_size_mm(affine)
    for t in range(len(volumes)):
        volumes[t] = backend.smooth(volumes[t].T, fwhm_voxels).T
    return to_image(volumes if len(source.shape) == 4 else volumes[0], affine, tr_s)
