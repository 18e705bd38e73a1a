"""A statistic map with all that inference needs to judge it: what a fit hands to tables, figures and files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

StatKind = Literal["T", "F", "Z"]


@dataclass(frozen=True, eq=False)
class Smoothness:
    """Smoothness of the noise, from the residuals of a fit.

    Attributes
    ----------
    fwhm_voxels : (3,) full width at half maximum along each axis, in voxels; 1 along an axis of one voxel.
    resels : (4,) resel counts R0 to R3 of the search volume; R1 and R2 may be negative in a ragged mask.
    rpv : (X, Y, Z) resels per voxel; NaN where a voxel has no complete 2x2x2 neighbourhood.
    """

    fwhm_voxels: NDArray[np.float64]
    resels: NDArray[np.float64]
    rpv: NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Stat:
    """One contrast of a fit, voxel by voxel.

    Attributes
    ----------
    values : (X, Y, Z) float32, T, F or Z; NaN outside `mask`.
    effect : (X, Y, Z) float32. Of T, and of F with a single row: the contrast of the coefficients, in the units of the
        maps. Of F with several rows: the extra mean square, numerator of F.
    standard_error : (X, Y, Z) float32, of `effect`; of F with several rows, the residual standard deviation.
    dof : degrees of freedom of numerator and denominator; they need not be whole numbers. T: (1, denominator).
    kind : "T" (one-sided, large values), "F", or "Z".
    mask : (X, Y, Z) bool, the search volume.
    affine : (4, 4) voxel indices to mm.
    smoothness : of the residuals of the fit.
    name : of the contrast.
    """

    values: NDArray[np.float32]
    effect: NDArray[np.float32]
    standard_error: NDArray[np.float32]
    dof: tuple[float, float]
    kind: StatKind
    mask: NDArray[np.bool_]
    affine: NDArray[np.float64]
    smoothness: Smoothness
    name: str
