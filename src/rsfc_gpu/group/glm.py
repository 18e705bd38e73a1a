"""Fits of a group model at every voxel, and the statistic maps of its contrasts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rsfc_gpu.backend import Backend, select_backend
from rsfc_gpu.backend.blas import one_blas_thread
from rsfc_gpu.errors import InputError
from rsfc_gpu.group.contrast import contrast_weights
from rsfc_gpu.group.covariance import (
    column_space,
    restricted_maximum_likelihood,
    scaled_to_unit_variance,
    whitening,
)
from rsfc_gpu.group.design import Design
from rsfc_gpu.group.samples import Maps, MaskSource, read_samples
from rsfc_gpu.group.smoothness import images_used, smoothness_of
from rsfc_gpu.group.stat import Smoothness, Stat
from rsfc_gpu.group.tails import value_at
from rsfc_gpu.images.mask import Mask

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

POOLING_P = 0.001  # voxels in which the design explains this much tell the covariance


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted group model. Voxels V are those of `voxels`.

    Attributes
    ----------
    design : the model.
    voxels : the group mask, with its affine.
    covariance : (N, N) of the maps at a voxel, over their mean variance; the identity where nothing was estimated.
    smoothness : of the whitened, standardised residuals.
    dof : of the residuals.
    estimates : (P, V) coefficients of the columns; with subject columns only estimable sums of them mean anything.
    variances : (V,) of the residuals.
    estimate_covariance : (P, P) of the coefficients, over the variance of the residuals.
    averages : (cells, V) plain mean of the maps of each cell, not adjusted for covariates.
    """

    design: Design
    voxels: Mask
    covariance: F64
    smoothness: Smoothness
    dof: float
    estimates: F64
    variances: F64
    estimate_covariance: F64
    averages: F64

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(X, Y, Z) the group mask."""
        return self.voxels.inside

    @property
    def affine(self) -> F64:
        """(4, 4) voxel indices to mm."""
        return self.voxels.affine

    @cached_property
    def residual_variance(self) -> F32:
        """(X, Y, Z), NaN outside the mask."""
        return self._map(self.variances)

    def coefficients(self, columns: Sequence[str] | None = None) -> F32:
        """Coefficient maps of `columns` (all by default), (len(columns), X, Y, Z), NaN outside the mask."""
        chosen = self.design.columns if columns is None else tuple(columns)
        unknown = [name for name in chosen if name not in self.design.columns]
        if unknown:
            raise InputError(f"the design has no column {unknown[0]!r}; it has {list(self.design.columns)}")
        return self._map(self.estimates[[self.design.columns.index(name) for name in chosen]])

    def cell_means(self) -> dict[str, F32]:
        """Mean of the maps of each cell, not adjusted for covariates: cell name to (X, Y, Z)."""
        return {name: self._map(values) for name, values in zip(self.design.cells, self.averages, strict=True)}

    def t(self, weights: str | ArrayLike, name: str | None = None) -> Stat:
        """T map of one contrast, large where it is positive.

        Parameters
        ----------
        weights : over the columns, padded with zeros; or text: "MDD - HC", or a named test of one row.
        name : of the map; None: the contrast as text.

        Raises
        ------
        InputError : several rows, an unknown column, or a contrast that cannot be estimated.
        """
        contrast, spelled = contrast_weights(self.design, weights)
        if len(contrast) != 1:
            raise InputError(f"contrast {spelled!r} has {len(contrast)} rows: a T map needs one; use f()")
        effect = contrast[0] @ self.estimates
        error = np.sqrt(self.variances * float(contrast[0] @ self.estimate_covariance @ contrast[0]))
        return self._stat("T", effect / error, effect, error, 1.0, name or spelled)

    def f(self, weights: str | ArrayLike, name: str | None = None) -> Stat:
        """F map of one contrast or several together, by the extra sum of squares.

        Parameters and errors as in `t`. With one row, `effect` and `standard_error` are those of `t`; with several, the
        extra mean square and the residual standard deviation.
        """
        contrast, spelled = contrast_weights(self.design, weights)
        spread = contrast @ self.estimate_covariance @ contrast.T
        df1 = int(np.linalg.matrix_rank(contrast, tol=1e-10 * np.abs(contrast).max()))
        effects = contrast @ self.estimates
        extra = np.einsum("cv,cv->v", effects, np.linalg.pinv(spread, rcond=1e-12, hermitian=True) @ effects) / df1
        if len(contrast) == 1:
            effect, error = effects[0], np.sqrt(self.variances * float(spread[0, 0]))
        else:
            effect, error = extra, np.sqrt(self.variances)
        return self._stat("F", extra / self.variances, effect, error, float(df1), name or spelled)

    def _stat(self, kind: str, values: F64, effect: F64, error: F64, df1: float, name: str) -> Stat:
        return Stat(
            values=self._map(values),
            effect=self._map(effect),
            standard_error=self._map(error),
            dof=(df1, self.dof),
            kind="T" if kind == "T" else "F",
            mask=self.mask,
            affine=self.affine,
            smoothness=self.smoothness,
            name=name,
        )

    def _map(self, values: F64) -> F32:
        return self.voxels.put(values.astype(np.float32), fill=math.nan)


def fit(
    maps: Maps,
    design: Design,
    *,
    mask: MaskSource | None = None,
    affine: ArrayLike | None = None,
    backend: Backend | None = None,
) -> Fit:
    """A group model fitted at every voxel.

    Parameters
    ----------
    maps : (rows of the design's table, X, Y, Z) array, or that many (X, Y, Z) arrays or NIfTI paths, in the table's
        order; the design picks the rows that it kept.
    mask : search volume (path, array or Mask), values above 0; None: the whole grid. Voxels that some map lacks, or
        that do not vary, drop out: see `samples.read_samples`.
    affine : of an array of maps, (4, 4); None: coordinates are voxel indices.
    backend : does the voxel work; None: the CPU.

    The covariance of the maps has the components of the design, estimated by restricted maximum likelihood from the
    voxels in which the design explains much (F, p < 0.001), and is the same at every voxel up to a factor.

    Raises
    ------
    InputError : maps that do not fit the table or each other, no voxel left, no voxel to estimate the covariance from.

    References
    ----------
    Friston et al. 2002, NeuroImage 16:484-512; Glaser and Friston 2007, in Statistical Parametric Mapping, chapter 10.
    Agrees with SPM12.
    """
    return fit_many({"": maps}, design, mask=mask, affine=affine, backend=backend)[""]


def fit_many(
    maps: Mapping[str, Maps],
    design: Design,
    *,
    mask: MaskSource | None = None,
    affine: ArrayLike | None = None,
    backend: Backend | None = None,
) -> dict[str, Fit]:
    """One fit per name, such as one per seed, of the same design; parameters as in `fit`."""
    backend = select_backend("cpu") if backend is None else backend
    fits = {}
    # Matrices of a hundred rows: more BLAS threads than one only wait for each other.
    with one_blas_thread():
        for name, each in maps.items():
            samples, voxels = read_samples(each, design.rows, design.n_table_rows, mask, affine)
            fits[name] = _fit(samples, voxels, design, backend)
    return fits


def _fit(samples: F32, voxels: Mask, design: Design, backend: Backend) -> Fit:
    matrix = design.matrix
    covariance = _covariance(samples, design, backend)
    whiten = whitening(covariance) if design.components else np.eye(len(matrix))
    basis = column_space(whiten @ matrix)
    residuals = whiten - basis @ (basis.T @ whiten)
    estimator = np.linalg.pinv(whiten @ matrix, rcond=max(matrix.shape) * np.finfo(np.float64).eps)
    cells = matrix[:, : len(design.cells)].T
    used = images_used(len(matrix))
    order = np.concatenate([used, np.setdiff1d(np.arange(len(matrix)), used)])
    linear = np.vstack([estimator @ whiten, cells / cells.sum(axis=1, keepdims=True)])
    found = backend.fit_linear_model(samples, residuals[order], linear, len(used), voxels.inside)
    exact = _fitted_exactly(samples, found.residual_squares)
    if exact.any():
        return _fit(samples[:, ~exact], _without(voxels, exact), design, backend)
    dof = len(matrix) - basis.shape[1]
    # Residuals standardised by their mean square, and SPM12's factor N/dof for the variance of their differences.
    spread = found.products * (len(matrix) / len(used))
    return Fit(
        design=design,
        voxels=voxels,
        covariance=covariance,
        smoothness=smoothness_of(spread, found.complete, voxels),
        dof=float(dof),
        estimates=found.linear[: len(estimator)],
        variances=found.residual_squares / dof,
        estimate_covariance=estimator @ estimator.T,
        averages=found.linear[len(estimator) :],
    )


def _covariance(samples: F32, design: Design, backend: Backend) -> F64:
    if not design.components:
        return np.eye(len(design.matrix))
    basis, blocks = column_space(design.matrix), column_space(design.matrix[:, design.subjects])
    dof = (float(basis.shape[1] - blocks.shape[1]), float(len(basis) - basis.shape[1]))
    second_moment, pooled = backend.pool_second_moment(samples, basis, blocks, float(value_at("F", dof, POOLING_P)))
    if not pooled:
        raise InputError(
            f"the covariance of the maps cannot be estimated: in none of {samples.shape[1]} voxels does the model "
            f"explain the maps at p < {POOLING_P}. Use variances='equal' (two_sample) or covariance='independent' "
            "(flexible_factorial), or check the order of the maps."
        )
    return scaled_to_unit_variance(restricted_maximum_likelihood(second_moment, design.matrix, design.components)[1])


def _fitted_exactly(samples: F32, residual_squares: F64) -> NDArray[np.bool_]:
    """Voxels without any residual: what is left of them is rounding, and no error to judge an effect by."""
    suspects = np.flatnonzero(residual_squares < 1e-10 * np.median(residual_squares))
    squares = np.square(samples[:, suspects], dtype=np.float64).sum(axis=0)
    exact = np.zeros(len(residual_squares), dtype=bool)
    exact[suspects] = residual_squares[suspects] < 1e-20 * squares
    return exact


def _without(voxels: Mask, dropped: NDArray[np.bool_]) -> Mask:
    if dropped.all():
        raise InputError("the model fits every voxel exactly: no error is left to judge effects by")
    inside = voxels.inside.ravel(order="F").copy()
    inside[voxels.index[dropped]] = False
    return Mask(inside.reshape(voxels.shape, order="F"), voxels.affine)
