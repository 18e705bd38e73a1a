"""A raw run: a moving head, scanned slice by slice, with the signals of the cohort inside."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.backend import select_backend
from rsfc_gpu.backend.numba_scan import read_head
from rsfc_gpu.backend.rigid import rigid_matrix
from rsfc_gpu.denoise import framewise_displacement
from rsfc_gpu.images.mask import Mask
from rsfc_gpu.preprocess.slice_timing import SliceOrder, slice_times
from rsfc_gpu.preprocess.template import BOX_MM, TEMPLATE_MM, make_epi_contrast
from rsfc_gpu.simulate.anatomy import F32
from rsfc_gpu.simulate.head import Head
from rsfc_gpu.simulate.motion import SPIKE_DROP

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Image

SHAPE = (64, 64, 33)
AFFINE = np.array([[-3.44, 0, 0, 108.0], [0, 3.44, 0, -122.0], [0, 0, 4.6, -66.0], [0, 0, 0, 1.0]])
SLICE_ORDER: SliceOrder = "interleaved"
#: Volumes before the magnetisation is steady; a study discards as many.
N_DUMMIES = 10
T1_EXCESS, T1_VOLUMES = 0.4, 1.2  # of the first volume's brightness, and how fast it goes
BRIGHTNESS, AIR, SCANNER_NOISE = 1200.0, 20.0, 8.0
STEPS = 4  # moments in a repetition time between which slices are interpolated
BLOCK_VOXELS = 2048  # interpolated together
_MARGIN_MM = 4.0  # how far beyond the brain voxels are still looked up, besides movements
_REACH_MM = 110.0  # of the brain from the centre that rotations turn about


@dataclass(frozen=True, eq=False)
class RawRun:
    """A raw run in memory.

    Attributes
    ----------
    samples : (T, Z, Y, X) int16, dummies included.
    motion : (T, 6) truth in SPM's order, mm and radians, 0 in the first volume after the dummies.
    slice_times_s : (Z,). tr_s : seconds.
    """

    samples: NDArray[np.int16]
    motion: NDArray[np.float64]
    slice_times_s: NDArray[np.float64]
    tr_s: float

    def image(self) -> Nifti1Image:
        """The 4-D image in scanner coordinates."""
        import nibabel

        image = nibabel.Nifti1Image(self.samples.T, AFFINE)
        image.header.set_xyzt_units("mm", "sec")
        image.header.set_zooms((*image.header.get_zooms()[:3], self.tr_s))
        return image


def scan_head(
    head: Head,
    fluctuation: F32,
    brain: Mask,
    motion: NDArray[np.float64],
    rng: np.random.Generator,
    *,
    tr_s: float,
    scanner_noise: float = SCANNER_NOISE,
) -> RawRun:
    """What a scanner makes of a moving head whose brain fluctuates.

    The head is read at the positions that it has in each volume, the fluctuation at the time of each slice.

    Parameters
    ----------
    fluctuation : (T, V) relative change of the intensity of the voxels of `brain`, in template space, at the start of
        each volume.
    motion : (T, 6) in SPM's parameters.
    scanner_noise : SD in every voxel of every volume, beside what fluctuates in the brain.
    """
    n_volumes = len(motion)
    times_s = slice_times(SLICE_ORDER, SHAPE[2], tr_s)
    points, where = _near_the_brain(head, motion)
    step = times_s[where[0]] / tr_s * STEPS  # of each point, in the volume's own time
    finer, places = _in_finer_steps(fluctuation), _places(brain)
    to_contrast = np.diag([1 / TEMPLATE_MM] * 3 + [1.0])
    to_contrast[:3, 3] = -np.array(BOX_MM[0]) / TEMPLATE_MM
    to_brain = np.linalg.inv(brain.affine)
    sensitivity = _sensitivity(points, rng)
    sudden = np.clip(framewise_displacement(motion) - 0.3, 0.0, None)
    brightness = 1.0 + T1_EXCESS * np.exp(-np.arange(n_volumes) / T1_VOLUMES) - SPIKE_DROP * sudden
    samples, seen = np.empty((n_volumes, *SHAPE[::-1]), dtype=np.int16), np.empty(len(points))
    for t in range(n_volumes):
        matrix = rigid_matrix(motion[t])
        template_mm = head.to_template(points @ matrix[:3, :3].T + matrix[:3, 3])
        steps = finer[STEPS * t : STEPS * (t + 1) + 1]
        read_head(_contrast(), to_contrast, steps, places, to_brain, step, template_mm, seen)
        volume = scanner_noise * rng.standard_normal(SHAPE[::-1], dtype=np.float32) + np.float32(AIR)
        volume[where] += BRIGHTNESS * brightness[t] * sensitivity * seen
        samples[t] = np.rint(np.maximum(volume, 0.0))
    return RawRun(samples, motion, times_s, tr_s)


@lru_cache(maxsize=1)
def _contrast() -> F32:
    """The still anatomy (Z, Y, X) on the 2-mm box, 3 mm smooth."""
    contrast = make_epi_contrast(select_backend("cpu", threads=1), fwhm_mm=3.0)
    contrast.setflags(write=False)
    return contrast


def _near_the_brain(
    head: Head, motion: NDArray[np.float64]
) -> tuple[NDArray[np.float64], tuple[NDArray[np.intp], ...]]:
    """Scanner coordinates (P, 3), mm, of the voxels that may see the brain during the run, and their (z, y, x)."""
    from scipy import ndimage

    shift_mm, turn = (float(np.linalg.norm(part, axis=1).max()) for part in (motion[:, :3], motion[:, 3:]))
    margin_mm = _MARGIN_MM + shift_mm + _REACH_MM * turn
    seen = ndimage.binary_dilation(_contrast() > 0.01, iterations=int(np.ceil(margin_mm / TEMPLATE_MM)))
    index = np.moveaxis(np.indices(SHAPE), 0, -1)
    points = index @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    voxels = (head.to_template(points) - BOX_MM[0]) / TEMPLATE_MM
    inside = ndimage.map_coordinates(seen.T.astype(np.uint8), np.moveaxis(voxels, -1, 0), order=0) > 0
    return points[inside], tuple(np.nonzero(inside)[::-1])


def _in_finer_steps(fluctuation: F32) -> F32:
    """(STEPS * T + 1, V + 1) the series between the volumes too, by Fourier interpolation.

    The last column is 0: what lies outside the brain does not fluctuate.
    """
    from scipy.signal import resample

    n_volumes, n_voxels = fluctuation.shape
    finer = np.zeros((STEPS * n_volumes + 1, n_voxels + 1), dtype=np.float32)
    for start in range(0, n_voxels, BLOCK_VOXELS):
        block = fluctuation[:, start : start + BLOCK_VOXELS]
        finer[:-1, start : start + block.shape[1]] = resample(block, STEPS * n_volumes, axis=0)
    finer[-1] = finer[-2]
    return finer


def _places(brain: Mask) -> NDArray[np.int64]:
    """(Z, Y, X) the column of each voxel in the series of the brain; outside, the one behind the last."""
    places = np.full(brain.inside.size, len(brain))
    places[brain.index] = np.arange(len(brain))
    return places.reshape(brain.shape[::-1])


def _sensitivity(points: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """(P,) of a coil that stands still: brighter towards one side."""
    direction = rng.normal(size=3)
    return np.asarray(1.0 + 0.15 * np.tanh(points @ direction / 80.0))
