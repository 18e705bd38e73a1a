"""Covariance of the maps of a model: its components, and their restricted maximum likelihood estimate."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.errors import InputError

F64 = NDArray[np.float64]
Components = tuple[F64, ...]

# SPM12's settings: how sure the prior is that components are zero, and when to stop.
_HYPERPRIOR_PRECISION = math.exp(-8)
_MAX_STEPS = 32
_ENOUGH = 0.1  # predicted gain in log evidence


def group_components(groups: NDArray[np.int64]) -> Components:
    """A variance of its own for each group: diagonal 0/1 matrices (N, N), in the order of the codes."""
    return tuple(np.diag((groups == group).astype(np.float64)) for group in np.unique(groups))


def factorial_components(groups: NDArray[np.int64], subjects: NDArray[np.int64]) -> Components:
    """A variance for each group, then for each group one covariance between the maps of one subject."""
    same_subject = (subjects[:, None] == subjects) & ~np.eye(len(subjects), dtype=bool)
    covariances = (same_subject & (groups == group)[:, None] for group in np.unique(groups))
    return group_components(groups) + tuple(shared.astype(np.float64) for shared in covariances)


def restricted_maximum_likelihood(second_moment: F64, matrix: F64, components: Components) -> tuple[F64, F64]:
    """Weights (C,) of the components, and their weighted sum: the covariance of the maps, (N, N).

    Parameters
    ----------
    second_moment : (N, N) mean of y y' over voxels, each scaled to unit residual variance.
    matrix : (N, P) the design.
    components : (N, N) each.

    The step is damped, and stops where the predicted gain falls below 0.1: beside subject columns, the variance and
    the covariance of a group are not both identified, and a full Newton step runs off.

    Raises
    ------
    InputError : the covariance is not positive definite.

    References
    ----------
    Patterson and Thompson 1971, Biometrika 58:545-554; Friston et al. 2002, NeuroImage 16:484-512. The scheme, its
    prior and its stopping rule are those of SPM12 (spm_reml).
    """
    from scipy.linalg import expm

    basis = column_space(matrix)
    stacked = np.array(components)
    weights = np.array([float(np.diag(component).any()) for component in components])
    prior = _HYPERPRIOR_PRECISION * np.eye(len(weights))
    log_time, last = 4.0, math.inf
    for _ in range(_MAX_STEPS):
        gradient, curvature = _likelihood_slope(np.tensordot(weights, stacked, 1), second_moment, basis, stacked)
        gradient, curvature = gradient - prior @ weights, curvature - prior
        # Temporal regularisation: follow the local flow towards the maximum for a while, instead of jumping there.
        time = math.exp(log_time - np.linalg.slogdet(-curvature)[1] / len(weights))
        step = (np.eye(len(weights)) - expm(time * curvature)) @ np.linalg.solve(-curvature, gradient)
        weights = weights + step
        gain = float(gradient @ step)
        log_time += 0.25 if gain <= last else -1.0
        last = gain
        if gain < _ENOUGH:
            break
    return weights, np.tensordot(weights, stacked, 1)


def _likelihood_slope(covariance: F64, second_moment: F64, basis: F64, components: F64) -> tuple[F64, F64]:
    """Gradient (C,) and expected curvature (C, C) of the restricted log likelihood of one sample."""
    precision = np.linalg.inv(covariance)
    seen = precision @ basis
    residual = precision - seen @ np.linalg.solve(basis.T @ seen, seen.T)
    misfit = np.eye(len(covariance)) - residual @ second_moment
    projected = residual @ components
    gradient = -0.5 * np.einsum("cij,ji->c", projected, misfit)
    curvature = -0.5 * np.einsum("cij,dji->cd", projected, projected)
    return gradient, (curvature + curvature.T) / 2


def scaled_to_unit_variance(covariance: F64) -> F64:
    """`covariance` scaled to a mean variance of 1.

    Raises
    ------
    InputError : it is not positive definite.
    """
    scaled = covariance * (len(covariance) / np.trace(covariance))
    smallest = float(np.linalg.eigvalsh(scaled)[0])
    if not smallest > 1e-10:
        raise InputError(
            f"the estimated covariance of the maps is not positive definite (smallest eigenvalue {smallest:.2g}); "
            "fit the model with equal variances (two_sample) or covariance='independent' (flexible_factorial)"
        )
    return np.asarray(scaled)


def whitening(covariance: F64) -> F64:
    """W, the symmetric inverse root: W covariance W' = I. Another root would turn the residual maps into mixtures."""
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors / np.sqrt(values)) @ vectors.T)


def column_space(matrix: F64) -> F64:
    """(N, rank) orthonormal basis of the columns; singular values below rounding do not count."""
    left, singular, _ = np.linalg.svd(matrix, full_matrices=False)
    tolerance = max(matrix.shape) * singular.max(initial=0.0) * np.finfo(np.float64).eps
    return left[:, singular > tolerance]
