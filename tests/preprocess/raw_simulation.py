"""Raw runs with known truth: a head in MNI space, seen through a known warp, moving, scanned slice by slice."""

from __future__ import annotations

import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rsfc_gpu.backend import Backend
from rsfc_gpu.backend.rigid import rigid_matrix
from rsfc_gpu.preprocess.template import BOX_MM, TEMPLATE_MM, make_epi_contrast
from rsfc_gpu.simulate import Head
from rsfc_gpu.simulate.raw import AFFINE, SHAPE

NATIVE_SHAPE, NATIVE_AFFINE = SHAPE, AFFINE


def draw_head(seed: int) -> Head:
    """A head some degrees tilted, some mm off, of another size, and warped."""
    return Head.draw(np.random.default_rng(seed))


def mean_epi(
    head: Head, backend: Backend, *, seed: int = 0, motion: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Noise-free EPI (X, Y, Z) of a subject with uneven coil sensitivity, after a movement in SPM's parameters."""
    contrast = make_epi_contrast(backend, fwhm_mm=3.0)
    index = np.moveaxis(np.indices(NATIVE_SHAPE), 0, -1)
    points = index @ NATIVE_AFFINE[:3, :3].T + NATIVE_AFFINE[:3, 3]
    if motion is not None:
        matrix = rigid_matrix(motion)
        points = points @ matrix[:3, :3].T + matrix[:3, 3]
    voxels = (head.to_template(points) - BOX_MM[0]) / TEMPLATE_MM
    image = ndimage.map_coordinates(contrast.T, np.moveaxis(voxels, -1, 0), order=1, mode="constant")
    direction = np.random.default_rng(seed).normal(size=3)
    sensitivity = 1.0 + 0.15 * np.tanh(points @ direction / 80.0)
    return 1200.0 * image * sensitivity


def raw_run(
    head: Head,
    motion: NDArray[np.float64],
    slice_times_s: NDArray[np.float64],
    backend: Backend,
    *,
    tr_s: float = 2.0,
    wave_hz: float = 0.05,
    noise: float = 8.0,
    seed: int = 0,
) -> nibabel.Nifti1Image:
    """A run (X, Y, Z, T), int16: every slice at its time, a slow wave of 3 %, the head at `motion` (T, 6)."""
    rng = np.random.default_rng(seed)
    run = np.empty((*NATIVE_SHAPE, len(motion)), dtype=np.int16)
    for t, parameters in enumerate(motion):
        still = mean_epi(head, backend, seed=seed, motion=parameters)
        wave = 1.0 + 0.03 * np.sin(2 * np.pi * wave_hz * (t * tr_s + slice_times_s))
        run[..., t] = np.rint(still * wave + noise * rng.normal(size=NATIVE_SHAPE) + 20.0)
    image = nibabel.Nifti1Image(run, NATIVE_AFFINE)
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_zooms((3.44, 3.44, 4.6, tr_s))
    return image
