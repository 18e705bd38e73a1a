"""The space runs are normalised to: its grid, the default template, and its tissue masks.

All of it comes from the ICBM152 (2009a, symmetric) tissue maps that nilearn carries; nothing is downloaded.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.backend import Backend
from rsfc_gpu.errors import InputError, ResourceError
from rsfc_gpu.images.atlas import resample_labels
from rsfc_gpu.images.nifti import save_volume
from rsfc_gpu.preprocess.volumes import read_volume, to_image
from rsfc_gpu.resources import cache_folder

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Image
    from nibabel.spatialimages import SpatialImage

BOX_MM = ((-90.0, -126.0, -72.0), (90.0, 90.0, 108.0))  # first and last voxel centre, SPM's usual bounding box
TEMPLATE_MM = 2.0
TEMPLATE_FWHM_MM = 8.0
#: Share of each tissue in the contrast of an EPI, chosen to resemble SPM's EPI template.
EPI_CONTRAST = {"grey_matter": 0.48, "white_matter": 0.42, "csf": 0.70}
DEFAULT_TEMPLATE = "ICBM152 2009a symmetric tissue maps in EPI contrast"
#: Where the default template finds places of MNI in two real runs, against SPM's EPI.nii, each with its own settings:
#: benchmarks/real_runs.py.
DEFAULT_TEMPLATE_OFFSET = (
    "2.7 and 3.4 mm over the brain, 2.0 and 2.5 mm in the amygdala, from where SPM's EPI.nii finds the same place in "
    "two real runs; on average 0.8 mm to the right of it, 1.1 mm behind and 1.3 mm above"
)
_CACHE_NAME = "epi_template_icbm152_2mm_8mm_v1.nii.gz"  # a new name whenever the recipe changes

log = logging.getLogger(__name__)


def box_affine(voxel_mm: float, *, x_falls: bool = True) -> NDArray[np.float64]:
    """Affine (4, 4) of the bounding box; x falls along the first axis, as SPM and DPABI write it."""
    first, last = np.array(BOX_MM)
    affine = np.diag([voxel_mm, voxel_mm, voxel_mm, 1.0])
    affine[:3, 3] = first
    if x_falls:
        affine[0, 0], affine[0, 3] = -voxel_mm, last[0]
    return affine


def box_shape(voxel_mm: float) -> tuple[int, int, int]:
    """Voxels (Z, Y, X) of the bounding box."""
    first, last = np.array(BOX_MM)
    x, y, z = (int(n) for n in np.floor((last - first) / voxel_mm + 1e-6) + 1)
    return z, y, x


def default_template(backend: Backend) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """EPI-contrast template (Z, Y, X) at 2 mm and its affine; made once, then read from the cache folder.

    The tissue maps, weighted by their brightness in an EPI and smoothed 8 mm. Signal loss beside air-filled
    sinuses is not modelled. Its space is that of the ICBM152 maps, not that of SPM's EPI.nii: two real runs were
    placed 2.7 and 3.4 mm apart by the two templates over the brain, and 2.0 and 2.5 mm in the amygdala. A study that
    is to be compared with one that used EPI.nii should name that file as its template.
    """
    path = cache_folder() / _CACHE_NAME
    if path.is_file():
        return read_volume(path)
    template = make_epi_contrast(backend)
    affine = box_affine(TEMPLATE_MM, x_falls=False)
    try:
        save_volume(path, template.T, affine)
    except ResourceError as error:
        log.info("the template is not cached: %s", error)
    return template, affine


def make_epi_contrast(backend: Backend, fwhm_mm: float = TEMPLATE_FWHM_MM) -> NDArray[np.float32]:
    """Weighted sum (Z, Y, X) of the tissue maps on the 2-mm box, smoothed."""
    maps, affine = tissue_probabilities()
    contrast = sum(np.float32(weight) * maps[tissue] for tissue, weight in EPI_CONTRAST.items())
    smoothed = backend.smooth(np.asarray(contrast).T, np.full(3, fwhm_mm)).T
    # The 1-mm maps have a voxel centre at every whole millimetre: the 2-mm box takes every second.
    start = np.rint(np.array(BOX_MM[0]) - affine[:3, 3]).astype(int)
    n_z, n_y, n_x = box_shape(TEMPLATE_MM)
    z, y, x = (slice(first, first + 2 * n, 2) for first, n in zip(start[::-1], (n_z, n_y, n_x), strict=True))
    return np.ascontiguousarray(smoothed[z, y, x])


def tissue_masks(like: SpatialImage | None = None) -> dict[str, Nifti1Image]:
    """Masks "white_matter", "csf" and "brain" in MNI space: probability above 0.9, eroded by 1 mm; brain not eroded.

    Parameters
    ----------
    like : image whose grid the masks take, nearest neighbour; None is the 3-mm box that runs are written on.

    Returns
    -------
    uint8 images.
    """
    from scipy import ndimage

    maps, affine = tissue_probabilities()
    masks = {name: ndimage.binary_erosion(maps[name] > 0.9) for name in ("white_matter", "csf")}
    masks["brain"] = _icbm_map("t1")[0] > 0
    if like is None:
        shape, target = box_shape(3.0)[::-1], box_affine(3.0)
    else:
        shape, target = like.shape[:3], np.asarray(like.affine, dtype=np.float64)
    resampled = {name: resample_labels(mask.T.astype(np.uint8), affine, shape, target) for name, mask in masks.items()}
    return {name: to_image(mask.T, target) for name, mask in resampled.items()}


def tissue_probabilities() -> tuple[dict[str, NDArray[np.float32]], NDArray[np.float64]]:
    """Maps (Z, Y, X), 0 to 1, of "grey_matter", "white_matter" and "csf" at 1 mm, and their affine.

    CSF is what the skull-stripped anatomical image holds beside grey and white matter.

    Raises
    ------
    ResourceError : this nilearn does not carry the maps.

    References
    ----------
    Fonov et al. 2011, NeuroImage 54:313-327 (ICBM152 2009a nonlinear symmetric).
    """
    stored_grey, affine = _icbm_map("gm")
    stored_white, _ = _icbm_map("wm")
    head, _ = _icbm_map("t1")
    grey, white = (np.asarray(stored / 255.0, dtype=np.float32) for stored in (stored_grey, stored_white))
    csf = np.clip((head > 0).astype(np.float32) - grey - white, 0.0, 1.0)
    return {"grey_matter": grey, "white_matter": white, "csf": csf}, affine


@lru_cache(maxsize=4)
def brain_mask(voxel_mm: float) -> NDArray[np.bool_]:
    """The ICBM152 brain (Z, Y, X) on the bounding box, nearest neighbour."""
    head, affine = _icbm_map("t1")
    mask = resample_labels(head.T > 0, affine, box_shape(voxel_mm)[::-1], box_affine(voxel_mm)).T
    mask.setflags(write=False)
    return mask


def read_template(
    template: str | Path | SpatialImage | None, backend: Backend
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The template (Z, Y, X) and its affine: the default, or the one given.

    Raises
    ------
    InputError : not a readable 3-D image, or empty.
    """
    if template is None:
        return default_template(backend)
    volume, affine = read_volume(template)
    if not volume.any():
        name = template if isinstance(template, (str, Path)) else "that was given"
        raise InputError(f"the template {name} is empty")
    return volume, affine


def _icbm_map(kind: str) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """A map (Z, Y, X) as stored, 0 to 255, and its affine."""
    import nibabel

    found = find_spec("nilearn")
    for folder in (found.submodule_search_locations or []) if found else []:
        path = Path(folder) / "datasets" / "data" / f"mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz"
        if path.is_file():
            image = nibabel.load(path)
            return np.asanyarray(image.dataobj).T, np.asarray(image.affine, dtype=np.float64)
    raise ResourceError(
        f"the ICBM152 map {kind!r} is missing from the installed nilearn: install nilearn 0.11 or later"
    )
