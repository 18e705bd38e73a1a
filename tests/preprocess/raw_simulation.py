"""Raw runs with known truth: a head in MNI space, seen through a known warp, moving, scanned slice by slice."""

from __future__ import annotations

from dataclasses import dataclass

import nibabel
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rsfc_gpu.backend import Backend
from rsfc_gpu.backend.rigid import rigid_matrix
from rsfc_gpu.preprocess.template import BOX_MM, TEMPLATE_MM, make_epi_contrast

NATIVE_SHAPE = (64, 64, 33)
NATIVE_AFFINE = np.array([[-3.44, 0, 0, 108.0], [0, 3.44, 0, -122.0], [0, 0, 4.6, -66.0], [0, 0, 0, 1.0]])


@dataclass(frozen=True)
class Anatomy:
    """How a subject's head differs from the template: `to_template` is exact, so errors need no inversion.

    `affine` (4, 4) takes mm of the subject to mm of the template; on top of it, each of the waves displaces by
    amplitude (3,) mm times the sine of position . wave vector (3,), per mm, plus phase.
    """

    affine: NDArray[np.float64]
    amplitudes: NDArray[np.float64]
    waves: NDArray[np.float64]
    phases: NDArray[np.float64]

    @classmethod
    def random(cls, seed: int, *, warp_mm: float = 3.0, n_waves: int = 6) -> Anatomy:
        """A head some degrees tilted, some mm off, of another size, and warped by about `warp_mm`."""
        rng = np.random.default_rng(seed)
        zooms = np.diag([*rng.normal([1.07, 1.05, 1.11], 0.04), 1.0])
        placed = rigid_matrix([*rng.uniform(-8, 8, 3), *np.radians(rng.uniform(-8, 8, 3))])
        amplitudes = rng.normal(size=(n_waves, 3)) * warp_mm / np.sqrt(1.5 * n_waves)
        directions = rng.normal(size=(n_waves, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        waves = directions * 2 * np.pi / rng.uniform(90.0, 160.0, (n_waves, 1))
        return cls(zooms @ placed, amplitudes, waves, rng.uniform(0, 2 * np.pi, n_waves))

    def to_template(self, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where points (..., 3) of the subject lie in the template."""
        moved = points_mm @ self.affine[:3, :3].T + self.affine[:3, 3]
        return moved + np.sin(points_mm @ self.waves.T + self.phases) @ self.amplitudes


def mean_epi(
    anatomy: Anatomy, backend: Backend, *, seed: int = 0, motion: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Noise-free EPI (X, Y, Z) of a subject with uneven coil sensitivity, after a movement in SPM's parameters."""
    contrast = make_epi_contrast(backend, fwhm_mm=3.0)
    index = np.moveaxis(np.indices(NATIVE_SHAPE), 0, -1)
    points = index @ NATIVE_AFFINE[:3, :3].T + NATIVE_AFFINE[:3, 3]
    if motion is not None:
        matrix = rigid_matrix(motion)
        points = points @ matrix[:3, :3].T + matrix[:3, 3]
    voxels = (anatomy.to_template(points) - BOX_MM[0]) / TEMPLATE_MM
    image = ndimage.map_coordinates(contrast.T, np.moveaxis(voxels, -1, 0), order=1, mode="constant")
    direction = np.random.default_rng(seed).normal(size=3)
    sensitivity = 1.0 + 0.15 * np.tanh(points @ direction / 80.0)
    return 1200.0 * image * sensitivity


def raw_run(
    anatomy: Anatomy,
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
        still = mean_epi(anatomy, backend, seed=seed, motion=parameters)
        wave = 1.0 + 0.03 * np.sin(2 * np.pi * wave_hz * (t * tr_s + slice_times_s))
        run[..., t] = np.rint(still * wave + noise * rng.normal(size=NATIVE_SHAPE) + 20.0)
    image = nibabel.Nifti1Image(run, NATIVE_AFFINE)
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_zooms((3.44, 3.44, 4.6, tr_s))
    return image
