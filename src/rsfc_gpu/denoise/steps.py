"""The cleaning steps along time: functions of a float64 matrix whose first axis is time, (T, n) to (T', n).

Each is linear in its argument, which is what lets `TemporalOperator` fold a whole chain into one matrix. Each is made
of stages, which a backend can also do to the voxels one after the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike, NDArray

from rsfc_gpu.backend.stages import BandPass, Projection, Selection, Stage, kept_length
from rsfc_gpu.errors import InputError

Padding = Literal["power-of-two", "none"]


@dataclass(frozen=True)
class Step:
    """A linear map along time, (T, n) to (T', n); `stages` says what it consists of for T volumes."""

    stages: Callable[[int], tuple[Stage, ...]]

    def __call__(self, series: NDArray[np.float64]) -> NDArray[np.float64]:
        for stage in self.stages(len(series)):
            series = stage(series)
        return series


def stages_of(steps: Iterable[Step], n_volumes: int) -> list[Stage]:
    """The stages of a chain of steps, for series of `n_volumes`."""
    stages: list[Stage] = []
    for step in steps:
        stages += step.stages(kept_length(stages, n_volumes))
    return stages


DPABI_ORDER = 2


def polynomials(n_volumes: int, order: int) -> NDArray[np.float64]:
    """Columns that span the polynomials in time up to `order`, (T, order + 1); the first is constant.

    Up to the second order they are 1, t, t^2 with t = 1..T, as in DPABI, so that `regress` drops the same columns.
    Higher powers would be so large that motion and tissue signals beside them dropped out too: beyond it they are the
    Legendre polynomials, which span the same.
    """
    if order <= DPABI_ORDER:
        return np.vander(np.arange(1.0, n_volumes + 1), order + 1, increasing=True)
    return np.asarray(np.polynomial.legendre.legvander(np.linspace(-1.0, 1.0, n_volumes), order), dtype=np.float64)


def detrend() -> Step:
    """Removes the straight line of each column and keeps its mean.

    References
    ----------
    DPABI, y_detrend.
    """

    def stages(n_volumes: int) -> tuple[Stage, ...]:
        line = np.arange(n_volumes) - (n_volumes - 1) / 2
        return (Projection(line[:, None] / np.linalg.norm(line)),)

    return Step(stages)


def regress(columns: ArrayLike) -> Step:
    """Removes from each series its least-squares fit by `columns`.

    Parameters
    ----------
    columns : (T, p), used as they are. Columns that add nothing to those before them in the pivoted QR are dropped:
        ``|R_ii| <= max(T, p) * spacing(|R_11|)``.

    Raises
    ------
    InputError : values that are not finite.

    References
    ----------
    DPABI 5.0, y_regress_ss: the rule by which MATLAB's regress drops columns.
    """
    projection = Projection(orthonormal_basis(np.asarray(columns, dtype=np.float64)))
    return Step(lambda _: (projection,))


def bandpass(*, tr_s: float, low_hz: float, high_hz: float, padding: Padding = "power-of-two") -> Step:
    """Ideal band-pass along time: the mean is removed and the DFT bins between low_hz and high_hz are kept.

    Parameters
    ----------
    tr_s : repetition time, seconds.
    low_hz, high_hz : pass band, hertz. low_hz = 0 keeps the lowest frequencies; high_hz = 0 or beyond Nyquist keeps
        everything above low_hz.
    padding : "power-of-two" appends zeros up to the next power of two, as DPABI; "none" filters T volumes as they are.

    Returns
    -------
    Step mapping (T, n) to (T, n).

    Raises
    ------
    InputError : a TR that is not positive, negative frequencies, or, when the step is applied, a band without a bin.

    References
    ----------
    Song et al. 2011, PLoS ONE 6:e25031 (REST, whose ideal filter DPABI uses).
    """
    if not tr_s > 0 or low_hz < 0 or high_hz < 0:
        raise InputError(f"band-pass: TR {tr_s} s must be positive, {low_hz} and {high_hz} Hz not negative")
    if padding not in ("power-of-two", "none"):
        raise InputError(f"unknown padding {padding!r}: expected power-of-two or none")

    def stages(n_volumes: int) -> tuple[Stage, ...]:
        length = 1 << (n_volumes - 1).bit_length() if padding == "power-of-two" else n_volumes
        first, last = _band_bins(length, tr_s, low_hz, high_hz)
        return (BandPass(length, first, last),)

    return Step(stages)


def cut(kept: ArrayLike) -> Step:
    """Deletes the volumes where `kept` (T,) is false."""
    selection = Selection(np.flatnonzero(np.asarray(kept, dtype=bool)))
    return Step(lambda _: (selection,))


def project_jointly(columns: ArrayLike, kept: ArrayLike, *, tr_s: float, low_hz: float, high_hz: float) -> Step:
    """Regression and band-pass as one projection, estimated and applied on the kept volumes only.

    Removes the nuisance columns and the cosines and sines of every frequency k / (T TR) outside the band, T being the
    number of volumes before censoring. Columns are demeaned over the kept rows and scaled to unit norm before the QR:
    unscaled, the rank rule would drop small motion columns.

    References
    ----------
    AFNI, 3dTproject with -censor and -bandpass; Lindquist et al. 2019, Hum Brain Mapp 40:2358-2376 (why one step).
    """
    nuisance = np.asarray(columns, dtype=np.float64)
    rows = np.flatnonzero(np.asarray(kept, dtype=bool))
    design = np.hstack([nuisance, _out_of_band(len(nuisance), tr_s, low_hz, high_hz)])[rows]
    size = np.linalg.norm(design, axis=0)
    design = design - design.mean(axis=0)
    norms = np.linalg.norm(design, axis=0)
    varying = norms > 1e-12 * size  # a column constant over the kept rows is rounding once its mean is removed
    basis = orthonormal_basis(np.hstack([np.ones((len(rows), 1)), design[:, varying] / norms[varying]]))
    return Step(lambda _: (Selection(rows), Projection(basis)))


def orthonormal_basis(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Orthonormal basis of the columns, (T, rank), by pivoted QR; the rank rule of `regress`."""
    if not np.isfinite(columns).all():
        column = int(np.flatnonzero(~np.isfinite(columns).all(axis=0))[0])
        raise InputError(f"nuisance regressor {column + 1} holds a value that is not finite")
    q, r, _ = scipy.linalg.qr(columns, mode="economic", pivoting=True)
    diagonal = np.abs(np.diag(r))
    rank = int((diagonal > max(columns.shape) * np.spacing(diagonal[0])).sum()) if diagonal.size else 0
    return np.asarray(q[:, :rank])


def _band_bins(length: int, tr_s: float, low_hz: float, high_hz: float) -> tuple[int, int]:
    """First and last kept bin of a real DFT; the order of operations decides ties at the band's edges (DPABI)."""
    nyquist = length // 2
    first = math.ceil(low_hz * length * tr_s + 1) - 1
    last = math.floor(high_hz * length * tr_s + 1) - 1
    if high_hz == 0 or high_hz >= 0.5 / tr_s:
        last = nyquist
    if first > last or first > nyquist:
        raise InputError(
            f"the band {low_hz} to {high_hz} Hz keeps no frequency of {length} points at TR {tr_s} s: "
            f"bins {first} to {last}, {1 / (length * tr_s):.4g} Hz apart"
        )
    return first, last


def _out_of_band(n_volumes: int, tr_s: float, low_hz: float, high_hz: float) -> NDArray[np.float64]:
    """Cosines and sines of the frequencies k / (T TR), k = 1..T/2, outside the band; its edges belong to the band."""
    first, last = _band_bins(n_volumes, tr_s, low_hz, high_hz)
    bins = [k for k in range(1, n_volumes // 2 + 1) if not first <= k <= last]
    angle = 2 * np.pi * np.outer(np.arange(n_volumes), bins) / n_volumes
    sines = np.sin(angle)
    if bins and 2 * bins[-1] == n_volumes:
        sines = sines[:, :-1]  # the sine at Nyquist is zero at every sample
    return np.hstack([np.cos(angle), sines])
