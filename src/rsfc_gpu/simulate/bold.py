"""The series of one run: noise, physiology, motion, six seeds, and targets coupled to them.

A target is coupled to the part of a seed's signal that the other five seeds lack. The amygdala's subdivisions are
neighbours with much signal in common; a target that followed a seed's whole signal would show half of its effect under
the other seeds too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.backend.blas import one_blas_thread
from rsfc_gpu.denoise import DenoiseSettings, denoising_operator, denoising_steps
from rsfc_gpu.simulate.anatomy import F32, NOISE_FWHM_MM, Anatomy
from rsfc_gpu.simulate.motion import motion_artefacts, simulate_motion

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Image

TR_S = 2.0
BAND_HZ = (0.01, 0.1)  # of everything that is a signal and not noise
NOISE = 0.01  # SD of the noise, relative to the mean intensity; the amplitudes below are in the same unit
SEED_AMPLITUDE = 0.018
SHARED = 0.3  # of the variance of a seed's signal, with all other seeds
PHYSIOLOGY = {"global": 0.006, "white_matter": 0.006, "csf": 0.012, "drift": 0.008}
#: SD between subjects of z at any place, sampling error included, where a run is long enough to leave room for it.
SUBJECT_SD = 0.20
SMALLEST_TRUE_SD = 0.03
#: Measured over 400 runs: the share of a planted z that arrives, because nuisance regression takes a little more of a
#: signal than of noise; and the sampling variance of z in units of 1 / dof, because runs lose volumes to censoring.
RETAINED = 0.95
SAMPLING_VARIANCE = 1.09


@dataclass(frozen=True, eq=False)
class SimulatedRun:
    """One run in memory.

    Attributes
    ----------
    samples : (T, V) int16 intensities of the brain's voxels.
    motion : (T, 6) SPM's order, mm and radians.
    tr_s : seconds.
    anatomy : its grid and masks.
    """

    samples: NDArray[np.int16]
    motion: NDArray[np.float64]
    tr_s: float
    anatomy: Anatomy

    def image(self) -> Nifti1Image:
        """The 4-D image, int16, 0 outside the brain."""
        import nibabel

        image = nibabel.Nifti1Image(np.moveaxis(self.anatomy.brain.put(self.samples), 0, -1), self.anatomy.brain.affine)
        image.header.set_xyzt_units("mm", "sec")
        image.header.set_zooms((*image.header.get_zooms()[:3], self.tr_s))
        return image

    def tissues(self) -> dict[str, Nifti1Image]:
        """Mask images "white_matter", "csf" and "global" (the brain)."""
        import nibabel

        masks = {"white_matter": self.anatomy.white_matter, "csf": self.anatomy.csf, "global": self.anatomy.brain}
        return {name: nibabel.Nifti1Image(mask.inside.astype(np.uint8), mask.affine) for name, mask in masks.items()}


def simulate_run(
    anatomy: Anatomy,
    z_maps: F32,
    rng: np.random.Generator,
    *,
    n_volumes: int,
    mean_fd_mm: float = 0.05,
    excursion_mm: float = 0.0,
) -> SimulatedRun:
    """One run whose connectivity with each seed is `z_maps`, plus what differs between any two people.

    Parameters
    ----------
    z_maps : (S, V) true Fisher z of each voxel with each seed, 0 where there is none. It comes out of the cleaning
        `dparsf` with a sampling SD of 1 / sqrt(degrees of freedom).
    rng : decides everything else; equal generators give equal runs.
    n_volumes, mean_fd_mm, excursion_mm : see `simulate_motion`.
    """
    # One thread: these matrices are small, and whoever makes many runs makes them side by side.
    with one_blas_thread():
        motion = simulate_motion(rng, n_volumes, mean_fd_mm=mean_fd_mm, excursion_mm=excursion_mm)
        series = fluctuation(anatomy, z_maps, rng, n_volumes=n_volumes, motion=motion)
    series += np.float32(1.0)
    series *= anatomy.baseline
    np.rint(series, out=series)
    return SimulatedRun(series.astype(np.int16), motion, TR_S, anatomy)


def fluctuation(
    anatomy: Anatomy,
    z_maps: F32,
    rng: np.random.Generator,
    *,
    n_volumes: int,
    n_before: int = 0,
    motion: NDArray[np.float64] | None = None,
) -> F32:
    """(T, V) change of the intensity, relative to its mean: everything a run consists of, added up.

    Parameters
    ----------
    z_maps, rng : as in `simulate_run`; the connectivity comes out of `n_volumes`.
    n_before : volumes before those, in which it goes on.
    motion : (T, 6) whose traces after realignment are added; None for a head that is moved itself.
    """
    own_sd, n_all = true_sd(n_volumes), n_before + n_volumes
    wanted = z_maps + np.float32(own_sd) * anatomy.noise(rng, len(z_maps))
    courses, maps = _seeds_and_targets(anatomy, wanted, rng, n_all)
    more = [_physiology(anatomy, rng, n_all)]
    if motion is not None:
        more.append(motion_artefacts(rng, anatomy, motion))
    courses = np.hstack([courses, *(course for course, _ in more)]).astype(np.float32)
    maps = np.vstack([maps, *(map_ for _, map_ in more)])
    series = anatomy.noise(rng, n_all)
    series *= np.float32(NOISE)
    series += courses @ maps
    return series


@lru_cache(maxsize=8)
def nominal_dof(n_volumes: int) -> float:
    """Degrees of freedom that the cleaning `dparsf` leaves in a run without censored volumes."""
    rng = np.random.default_rng(0)
    settings = DenoiseSettings.preset("dparsf").replace(minimum_dof=0)
    kept = np.ones(n_volumes, dtype=bool)
    tissues = {name: rng.standard_normal(n_volumes) for name in settings.tissue_signals}
    motion = simulate_motion(rng, n_volumes, mean_fd_mm=0.05)
    steps = denoising_steps(settings, tr_s=TR_S, kept=kept, motion=motion, tissues=tissues)
    return denoising_operator(settings, steps, kept).dof


def true_sd(n_volumes: int) -> float:
    """SD of true connectivity between subjects: what sampling error leaves of `SUBJECT_SD`."""
    return float(np.sqrt(max(SUBJECT_SD**2 - _sampling_variance(n_volumes), SMALLEST_TRUE_SD**2)))


def observed_sd(n_volumes: int) -> float:
    """SD of measured z between subjects who do not differ by an effect: sampling error and true differences."""
    return float(np.sqrt(_sampling_variance(n_volumes) + true_sd(n_volumes) ** 2))


def _sampling_variance(n_volumes: int) -> float:
    return SAMPLING_VARIANCE / nominal_dof(n_volumes)


def _seeds_and_targets(
    anatomy: Anatomy, z_maps: F32, rng: np.random.Generator, n_volumes: int
) -> tuple[NDArray[np.float64], F32]:
    """Time courses (T, 2 S) of the seeds and of their own parts, and their maps (2 S, V)."""
    n_seeds = len(z_maps)
    latent = _band_limited(rng, n_volumes, 1 + n_seeds)
    signals = SEED_AMPLITUDE / NOISE * (np.sqrt(SHARED) * latent[:, :1] + np.sqrt(1 - SHARED) * latent[:, 1:])
    members, _ = anatomy.seeds.within(anatomy.brain)
    mixing = np.array([[weights[at].mean() for at in members] for weights in anatomy.seed_weights])
    seen = signals @ mixing  # (T, S): the mean signal of each seed's voxels, its neighbours' share included
    covariance = seen.T @ seen / n_volumes
    own = seen @ np.linalg.inv(covariance)  # column s is correlated with seed s and with no other
    scale = own.std(axis=0)
    own /= scale
    # In-band noise is weaker than all noise by the share of the spectrum that the band takes; signals lose nothing.
    gain = 1 / (2 * TR_S * (BAND_HZ[1] - BAND_HZ[0]))
    noise = _noise_variance(anatomy, members)
    reach = np.sqrt(gain) / scale / np.sqrt(gain * np.diag(covariance) + noise)  # r of a target that is own alone
    share = np.tanh(z_maps / RETAINED) / reach[:, None]
    share *= anatomy.seed_weights.sum(axis=0) < 0.02  # a target must not change the seeds
    total = (share**2).sum(axis=0)
    share *= np.sqrt(np.minimum(1.0, 0.9 / np.maximum(total, 1e-12)))
    coupling = share / np.sqrt(1 - (share**2).sum(axis=0)) / np.sqrt(gain)
    courses = NOISE * np.hstack([signals, own])
    return courses, np.vstack([anatomy.seed_weights, coupling]).astype(np.float32)


def _noise_variance(anatomy: Anatomy, members: list[NDArray[np.int64]]) -> NDArray[np.float64]:
    """(S,) variance of the mean over each seed of noise with unit variance, from its spatial autocorrelation."""
    where = anatomy.voxels_mm()
    sigma_mm = NOISE_FWHM_MM / np.sqrt(8 * np.log(2))
    variances = []
    for at in members:
        distance = ((where[at, None] - where[None, at]) ** 2).sum(axis=2)
        variances.append(np.exp(-distance / (4 * sigma_mm**2)).mean())
    return np.array(variances)


def _physiology(anatomy: Anatomy, rng: np.random.Generator, n_volumes: int) -> tuple[NDArray[np.float64], F32]:
    """Global, white-matter and CSF fluctuations and three smooth drifts: courses (T, 6) and maps (6, V)."""
    waves = _band_limited(rng, n_volumes, 3)
    t = np.linspace(-1, 1, n_volumes)
    slow = np.cos(np.pi * (t + rng.uniform(0, 2)) * rng.uniform(0.5, 1.5))
    drifts = np.column_stack([t, t**2 - 1 / 3, slow - slow.mean()])
    names = ("global", "white_matter", "csf", "drift", "drift", "drift")
    courses = np.hstack([waves, drifts]) * np.array([PHYSIOLOGY[name] for name in names])
    maps = np.vstack(
        [
            0.7 + 0.5 * anatomy.grey_weight,
            anatomy.white_weight,
            anatomy.csf_weight,
            anatomy.noise(rng, 3),
        ]
    )
    return courses, maps.astype(np.float32)


def _band_limited(rng: np.random.Generator, n_volumes: int, n: int) -> NDArray[np.float64]:
    """(T, n) Gaussian series of unit variance and mean 0 with no power outside `BAND_HZ`."""
    frequency = np.fft.rfftfreq(n_volumes, TR_S)
    inside = (frequency >= BAND_HZ[0]) & (frequency <= BAND_HZ[1])
    spectrum = np.fft.rfft(rng.standard_normal((n_volumes, n)), axis=0) * inside[:, None]
    series = np.fft.irfft(spectrum, n=n_volumes, axis=0)
    return np.asarray(series / series.std(axis=0))
