"""Slice timing: every slice as if acquired at one moment of the repetition time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rsfc_gpu.backend import Backend
from rsfc_gpu.errors import InputError
from rsfc_gpu.preprocess.volumes import RawRun, to_image

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Image
    from nibabel.spatialimages import SpatialImage

SliceOrder = Literal["ascending", "descending", "interleaved", "interleaved-even-first"]


def correct_slice_timing(
    image: str | Path | SpatialImage,
    slice_times_s: ArrayLike,
    tr_s: float | None = None,
    reference_s: float | None = None,
    *,
    backend: Backend,
) -> Nifti1Image:
    """The run, float32, with each slice's series shifted to the reference time by a Fourier phase shift.

    Parameters
    ----------
    image : (X, Y, Z, T) path or image, slices along the third axis.
    slice_times_s : (Z,) seconds after the start of the volume at which each slice was acquired, as in the BIDS field
        SliceTiming; slices acquired together (multiband) share a time.
    tr_s : repetition time, seconds; None takes it from the header.
    reference_s : the time to shift to, seconds; None takes that of the slice acquired in the middle.

    Raises
    ------
    InputError : slice times that do not fit the image or the repetition time.

    References
    ----------
    Henson et al. 1999, NeuroImage 9:S125. Ends and padding as in SPM12, spm_slice_timing.
    """
    run = RawRun.read(image)
    return to_image(shift_slices(run, slice_times_s, tr_s, reference_s, backend), run.affine, tr_s or run.tr_s)


def shift_slices(
    run: RawRun, slice_times_s: ArrayLike, tr_s: float | None, reference_s: float | None, backend: Backend
) -> NDArray[np.float32]:
    """Intensities (T, Z, Y, X) of a run, each slice shifted to the reference time."""
    n_volumes, n_slices = run.volumes.shape[:2]
    tr_s = tr_s or run.tr_s
    if tr_s is None:
        raise InputError(f"{run.name}: the header has no repetition time; give tr_s")
    times = check_slice_times(slice_times_s, n_slices, tr_s)
    reference = float(np.sort(times)[(n_slices - 1) // 2]) if reference_s is None else float(reference_s)
    if not 0.0 <= reference <= tr_s:
        raise InputError(f"reference_s is {reference:g}, expected 0 to the repetition time, {tr_s:g} s")
    # Slices acquired together share one operator.
    distinct, which = np.unique(times, return_inverse=True)
    operators = np.stack([shift_operator(n_volumes, (reference - time) / tr_s) for time in distinct])
    return run.rescale(backend.shift_slices(run.volumes, operators[which]))


def shift_operator(n_volumes: int, shift: float) -> NDArray[np.float64]:
    """Matrix (T, T): series in(n) to in(n + shift), shift in volumes.

    The series is continued by a straight line from its last value back to its first, to the next power of two
    above T, so that it is periodic without a jump.
    """
    length = 2 ** (int(np.log2(n_volumes)) + 1)
    bridge = np.linspace(0.0, 1.0, length - n_volumes)[:, None]
    extended = np.zeros((length, n_volumes))
    extended[:n_volumes] = np.eye(n_volumes)
    extended[n_volumes:, -1:] += 1.0 - bridge
    extended[n_volumes:, :1] += bridge
    phase = np.exp(2j * np.pi * np.arange(length // 2 + 1) / length * shift)
    spectrum = np.fft.rfft(extended, axis=0) * phase[:, None]
    # The real transform keeps the real part, cos(pi shift), of the factor at the Nyquist frequency.
    return np.fft.irfft(spectrum, n=length, axis=0)[:n_volumes]


def slice_times(order: SliceOrder, n_slices: int, tr_s: float) -> NDArray[np.float64]:
    """Acquisition time of each slice, seconds, for slices evenly spread over the repetition time.

    "interleaved" acquires the slices 1, 3, 5, ..., 2, 4, ...; "interleaved-even-first" 2, 4, ..., 1, 3, ...
    """
    slices = np.arange(n_slices)
    acquired = {
        "ascending": slices,
        "descending": slices[::-1],
        "interleaved": np.concatenate([slices[::2], slices[1::2]]),
        "interleaved-even-first": np.concatenate([slices[1::2], slices[::2]]),
    }
    if order not in acquired:
        raise InputError(f"unknown slice order {order!r}: expected one of {', '.join(acquired)}")
    times = np.empty(n_slices)
    times[acquired[order]] = slices * tr_s / n_slices
    return times


def check_slice_times(slice_times_s: ArrayLike, n_slices: int, tr_s: float) -> NDArray[np.float64]:
    """The slice times as float64, or an InputError that says what is wrong with them."""
    times = np.asarray(slice_times_s, dtype=np.float64)
    if times.shape != (n_slices,):
        raise InputError(
            f"slice times: expected one for each of the {n_slices} slices along the third axis, found shape "
            f"{times.shape}. Was the image cropped, or is its slice direction another axis?"
        )
    if not np.isfinite(times).all() or times.min() < 0.0:
        raise InputError("slice times: expected seconds from 0 on, found negative or missing ones")
    if times.max() > tr_s:
        # Milliseconds are at least ten times too large even for the last slice of a short repetition time.
        if times.max() > 10.0 * tr_s and times.max() / 1000.0 <= tr_s:
            raise InputError(
                f"slice times up to {times.max():g} look like milliseconds, expected seconds below the repetition time "
                f"of {tr_s:g} s; divide them by 1000"
            )
        raise InputError(f"slice times reach {times.max():g} s, beyond the repetition time of {tr_s:g} s")
    return times
