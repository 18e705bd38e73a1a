"""The chain: a raw run to a normalised, smoothed run, in the order of the steps below."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rsfc_gpu.backend import Backend
from rsfc_gpu.backend.rigid import RigidFits
from rsfc_gpu.errors import InputError
from rsfc_gpu.preprocess.normalise import fit_warp
from rsfc_gpu.preprocess.realign import (
    MINIMUM_SAMPLES,
    estimate_motion,
    exclusion_reason,
    motion_parameters,
    reslice,
    voxel_maps,
)
from rsfc_gpu.preprocess.slice_timing import SliceOrder, shift_slices, slice_times
from rsfc_gpu.preprocess.template import box_affine
from rsfc_gpu.preprocess.volumes import RawRun, to_image
from rsfc_gpu.preprocess.warp import Warp, identity_maps

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Image
    from nibabel.spatialimages import SpatialImage

SliceTiming = Literal["sidecar", "none", SliceOrder]


@dataclass(frozen=True)
class PreprocessSettings:
    """What is done to a raw run. The defaults follow DPARSF with SPM12's EPI normalisation.

    Attributes
    ----------
    discard_volumes : volumes left out at the start.
    slice_timing : "sidecar" takes the times handed to `preprocess`; an order ("ascending", "descending",
        "interleaved", "interleaved-even-first") computes them; "none" leaves the step out.
    maximum_mm, maximum_degrees : a run with any movement strictly beyond is excluded.
    template : path of an EPI-contrast MNI template, None for the default one.
    stiffness : weight of the warp's penalty, per mm; None suits the template.
    minimum_dice : overlap with the MNI brain below which the normalisation has failed. Good runs reach 0.95 and more;
        10 mm beside the brain is 0.88. A head turned back to front in its header can still reach 0.94: look at it.
    voxel_mm : of the result.
    fwhm_mm : of the smoothing, last.
    single_interpolation : True reads the result from the raw volumes in one fourth-degree interpolation; False writes
        the realigned run first (fourth degree) and the normalised one from that (trilinear), as SPM and DPARSF do.
    """

    discard_volumes: int = 10
    slice_timing: SliceTiming = "sidecar"
    maximum_mm: float = 2.0
    maximum_degrees: float = 2.0
    template: str | Path | None = None
    stiffness: float | None = None
    minimum_dice: float = 0.9
    voxel_mm: float = 3.0
    fwhm_mm: float = 4.0
    single_interpolation: bool = False

    def __post_init__(self) -> None:
        orders = get_args(SliceTiming)
        if self.slice_timing not in orders:
            raise InputError(f"slice_timing is {self.slice_timing!r}, expected one of {', '.join(orders)}")
        for name in ("discard_volumes", "maximum_mm", "maximum_degrees", "fwhm_mm"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} is {getattr(self, name)}, expected 0 or more")
        if not 1.0 <= self.voxel_mm <= 10.0:
            raise InputError(f"voxel_mm is {self.voxel_mm}, expected 1 to 10")
        if not 0.0 <= self.minimum_dice <= 1.0:
            raise InputError(f"minimum_dice is {self.minimum_dice}, expected 0 to 1")
        if self.stiffness is not None and not self.stiffness > 0:
            raise InputError(f"stiffness is {self.stiffness}, expected more than 0")

    def replace(self, **changes: Any) -> PreprocessSettings:
        """A copy with other values; an unknown field is an InputError that names the nearest one."""
        known = [field.name for field in fields(self)]
        for name in changes:
            if name not in known:
                near = get_close_matches(name, known, n=1)
                raise InputError(
                    f"unknown setting {name!r}"
                    + (f": did you mean {near[0]!r}?" if near else f" (known: {', '.join(known)})")
                )
        return replace(self, **changes)


@dataclass(frozen=True, eq=False)
class Preprocessed:
    """A raw run, preprocessed, or excluded for its head motion.

    Attributes
    ----------
    motion : (T, 6) x, y, z in mm and pitch, roll, yaw in rad, discarded volumes left out.
    mean : mean image in the run's own space, realigned, not smoothed.
    exclusion : why the run is left out, or None; the three below are None when it is.
    image : (X, Y, Z, T) normalised and smoothed.
    normalised_mean : mean of the normalised run before smoothing.
    warp : from template space to the run's own space.
    """

    motion: NDArray[np.float64]
    mean: Nifti1Image
    exclusion: str | None
    image: Nifti1Image | None = None
    normalised_mean: Nifti1Image | None = None
    warp: Warp | None = None


class RealignmentError(InputError):
    """The movement of some volumes could not be found. `motion` (T, 6) holds what was found, for a picture of it."""

    def __init__(self, message: str, motion: NDArray[np.float64]) -> None:
        super().__init__(message)
        self.motion = motion


class NormalisationError(InputError):
    """The mean image could not be brought onto the template. `mean` and `warp` are there for a picture of it."""

    def __init__(self, message: str, motion: NDArray[np.float64], mean: Nifti1Image, warp: Warp) -> None:
        super().__init__(message)
        self.motion = motion
        self.mean = mean
        self.warp = warp


def preprocess(
    image: str | Path | SpatialImage,
    settings: PreprocessSettings,
    backend: Backend,
    *,
    slice_times_s: ArrayLike | None = None,
    tr_s: float | None = None,
) -> Preprocessed:
    """A raw run, slice-timed, realigned, normalised and smoothed; or the reason why its motion excludes it.

    Parameters
    ----------
    image : (X, Y, Z, T) path or image as scanned. A path keeps memory lowest.
    slice_times_s : (Z,) SliceTiming of the BIDS sidecar, seconds.
    tr_s : repetition time, seconds; None takes it from the header.

    Raises
    ------
    InputError : slice times missing or impossible.
    RealignmentError : a volume whose realignment fails.
    NormalisationError : the normalised mean covers too little of the MNI brain.
    """
    volumes, affine, tr_s = _simultaneous(image, settings, backend, slice_times_s, tr_s)
    fits = estimate_motion(volumes, affine, backend)
    motion = motion_parameters(fits.matrices)
    if not fits.converged.all():
        raise RealignmentError(f"realignment failed: {_failed_volumes(fits, settings.discard_volumes)}", motion)
    realigned = None if settings.single_interpolation else volumes
    mean = reslice(volumes, fits.matrices, affine, backend, out=realigned)
    reason = exclusion_reason(motion, maximum_mm=settings.maximum_mm, maximum_degrees=settings.maximum_degrees)
    if reason is not None:
        return Preprocessed(motion, to_image(mean, affine), reason)
    warp = _checked_warp(mean, affine, motion, settings, backend)
    maps = voxel_maps(fits.matrices, affine) if settings.single_interpolation else identity_maps(len(volumes))
    points = warp.voxel_positions(affine, settings.voxel_mm)
    _return_freed_memory()
    normalised = np.empty((len(volumes), *points.shape[:3]), dtype=np.float32)
    normalised_mean = backend.resample(
        volumes,
        points,
        maps,
        degree=4 if settings.single_interpolation else 1,
        fwhm_voxels=np.full(3, settings.fwhm_mm / settings.voxel_mm),
        out=normalised,
    )
    box = box_affine(settings.voxel_mm)
    image_out, mean_out = to_image(normalised, box, tr_s), to_image(normalised_mean, box)
    return Preprocessed(motion, to_image(mean, affine), None, image_out, mean_out, warp)


def _checked_warp(
    mean: NDArray[np.float32],
    affine: NDArray[np.float64],
    motion: NDArray[np.float64],
    settings: PreprocessSettings,
    backend: Backend,
) -> Warp:
    """The warp of the mean image, or a NormalisationError where it missed the brain."""
    warp = fit_warp(mean, affine, settings.template, stiffness=settings.stiffness, backend=backend)
    if not warp.dice >= settings.minimum_dice:
        raise NormalisationError(
            f"normalisation failed: Dice with the MNI brain is {warp.dice:.2f}, expected {settings.minimum_dice:g} "
            "or more; look at the mean image: orientation in the header, field of view, signal loss",
            motion,
            to_image(mean, affine),
            warp,
        )
    return warp


def _simultaneous(
    image: str | Path | SpatialImage,
    settings: PreprocessSettings,
    backend: Backend,
    slice_times_s: ArrayLike | None,
    tr_s: float | None,
) -> tuple[NDArray[np.float32], NDArray[np.float64], float | None]:
    """Intensities (T, Z, Y, X) after the discarded volumes and slice timing, the affine, and the repetition time.

    The stored integers are let go when this returns.
    """
    run = RawRun.read(image, discard_volumes=settings.discard_volumes)
    tr_s = tr_s or run.tr_s
    if settings.slice_timing == "none":
        return run.scaled(), run.affine, tr_s
    if settings.slice_timing == "sidecar":
        if slice_times_s is None:
            raise InputError(
                f"{run.name}: no slice times. Add SliceTiming to the sidecar, name the order in which the slices were "
                'acquired (slice_timing = "interleaved", ...), or leave the step out (slice_timing = "none")'
            )
        times = slice_times_s
    else:
        if tr_s is None:
            raise InputError(f"{run.name}: the header has no repetition time; give tr_s")
        times = slice_times(settings.slice_timing, run.volumes.shape[1], tr_s)
    return shift_slices(run, times, tr_s, None, backend), run.affine, tr_s


def _failed_volumes(fits: RigidFits, discarded: int) -> str:
    failed = np.flatnonzero(~fits.converged)
    shown = ", ".join(str(discarded + t + 1) for t in failed[:10]) + (", ..." if len(failed) > 10 else "")
    lost = int((fits.samples[failed] < MINIMUM_SAMPLES).sum())
    reason = f"; {lost} of them overlap the reference in fewer than {MINIMUM_SAMPLES} samples" if lost else ""
    return f"{len(failed)} of {len(fits.converged)} volumes did not converge (number {shown}, counted from 1){reason}"


def _return_freed_memory() -> None:
    """Give freed memory back to the system: glibc keeps some 30 MB, which would count beside the largest array."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # musl has no malloc_trim
            ctypes.CDLL(None).malloc_trim(0)
