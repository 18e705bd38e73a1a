"""Cleaning along time as data: what a backend does to blocks of voxels, and what denoising steps are made of.

Each stage is also a function of a float64 matrix on the host, (T, n) to (T', n), linear in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import scipy.fft
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Projection:
    """Removes the least-squares fit by the orthonormal columns of `basis` (T, p)."""

    basis: NDArray[np.float64]

    def __call__(self, series: NDArray[np.float64]) -> NDArray[np.float64]:
        return series - self.basis @ (self.basis.T @ series)


@dataclass(frozen=True)
class BandPass:
    """Removes the mean, appends zeros up to `length`, keeps the bins first..last of the DFT, and cuts to T again."""

    length: int
    first: int
    last: int

    def __call__(self, series: NDArray[np.float64]) -> NDArray[np.float64]:
        spectrum = scipy.fft.rfft(series - series.mean(axis=0), n=self.length, axis=0)
        spectrum[: self.first] = 0.0
        spectrum[self.last + 1 :] = 0.0
        filtered: NDArray[np.float64] = scipy.fft.irfft(spectrum, n=self.length, axis=0)[: len(series)]
        return filtered


@dataclass(frozen=True, eq=False)
class Selection:
    """Keeps the volumes `rows` and deletes the others."""

    rows: NDArray[np.intp]

    def __call__(self, series: NDArray[np.float64]) -> NDArray[np.float64]:
        return series[self.rows]


Stage: TypeAlias = Projection | BandPass | Selection


def kept_length(stages: Sequence[Stage], n_volumes: int) -> int:
    """How many of `n_volumes` are left after the stages."""
    for stage in stages:
        if isinstance(stage, Selection):
            n_volumes = len(stage.rows)
    return n_volumes
