"""The same results as one would write them in plain NumPy and SciPy: float64, whole arrays, one step after another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.denoise import framewise_displacement, friston24, kept_volumes

if TYPE_CHECKING:
    from rsfc_gpu.group import Design, Stat
    from rsfc_gpu.study.single_run import Run

F64 = NDArray[np.float64]


def nuisance_table(run: Run, data: NDArray[Any]) -> F64:
    """(T, P) polynomials to the second degree, Friston's 24, tissue means: every column but the constant demeaned."""
    tissues = [data[_voxels(path)].mean(axis=0) for path in (run.tissues or {}).values()]
    motion = np.loadtxt(run.motion)  # type: ignore[arg-type]
    t = np.arange(1.0, len(motion) + 1)
    table = np.column_stack([np.ones_like(t), t, t**2, friston24(motion), *tissues])
    table[:, 1:] -= table[:, 1:].mean(axis=0)
    return table


def seed_correlations(run: Run, *, tr_s: float = 2.0, low_hz: float = 0.01, high_hz: float = 0.1) -> F64:
    """r (S, V) of a run of `inputs.make_run` by the recipe `dparsf`: the projection, the FFT, the cut, Pearson."""
    import nibabel

    data = np.asanyarray(nibabel.load(run.bold).dataobj)
    inside = _voxels(run.mask)
    q, _ = np.linalg.qr(nuisance_table(run, data))
    series = data[inside].T.astype(np.float64)
    series = series - q @ (q.T @ series)
    padded = 1 << (len(series) - 1).bit_length()
    first, last = np.ceil(low_hz * padded * tr_s), np.floor(high_hz * padded * tr_s)
    spectrum = np.fft.rfft(series - series.mean(axis=0), n=padded, axis=0)
    bins = np.arange(len(spectrum))
    spectrum[(bins < first) | (bins > last)] = 0
    series = np.fft.irfft(spectrum, n=padded, axis=0)[: len(series)]
    series = series[kept_volumes(framewise_displacement(np.loadtxt(run.motion)))]  # type: ignore[arg-type]
    series = series - series.mean(axis=0)
    labels = _volume(Path(str(run.mask)).with_name("seeds.nii.gz"))[inside]
    seeds = np.column_stack([series[:, labels == seed].mean(axis=1) for seed in range(1, labels.max() + 1)])
    return np.asarray((seeds.T @ series) / np.outer(np.linalg.norm(seeds, axis=0), np.linalg.norm(series, axis=0)))


def two_sample_t(maps: NDArray[np.float32], inside: NDArray[np.bool_], design: Design) -> F64:
    """T (V,) of the first group over the second, variances by group as ReML finds them; no smoothness.

    The estimate of the two variances, a matter of (N, N) matrices, is the package's own.
    """
    from scipy import stats

    from rsfc_gpu.group.covariance import restricted_maximum_likelihood

    matrix, samples = np.asarray(design.matrix), maps[:, inside].astype(np.float64)
    n, rank = len(matrix), int(np.linalg.matrix_rank(matrix))
    covariance = np.eye(n)
    if design.components:
        basis = np.linalg.svd(matrix, full_matrices=False)[0][:, :rank]
        explained = basis.T @ samples
        residual_ss = ((samples - basis @ explained) ** 2).sum(axis=0)
        f = (explained**2).sum(axis=0) / rank / (residual_ss / (n - rank))
        pooled = f > stats.f.isf(0.001, rank, n - rank)
        scaled = samples[:, pooled] * np.sqrt((n - rank) / residual_ss[pooled])
        moment = scaled @ scaled.T / pooled.sum()
        covariance = restricted_maximum_likelihood(moment, matrix, design.components)[1]
        covariance *= n / np.trace(covariance)
    values, vectors = np.linalg.eigh(covariance)
    white = vectors @ np.diag(values**-0.5) @ vectors.T
    inverse = np.linalg.pinv(white @ matrix)
    whitened = white @ samples
    estimates = inverse @ whitened
    variance = ((whitened - white @ matrix @ estimates) ** 2).sum(axis=0) / (n - rank)
    weights = np.zeros(matrix.shape[1])
    weights[:2] = 1, -1
    return np.asarray(weights @ estimates / np.sqrt(variance * (weights @ inverse @ inverse.T @ weights)))


def cluster_sizes(stat: Stat) -> NDArray[np.int64]:
    """Voxels of each cluster above p < 0.001 with 18 neighbours, largest first, by scipy's labels."""
    from scipy import ndimage, stats

    above = np.nan_to_num(stat.values, nan=-np.inf) > stats.t.isf(0.001, stat.dof[1])
    labels, _ = ndimage.label(above, structure=ndimage.generate_binary_structure(3, 2))
    return np.sort(np.bincount(labels.ravel())[1:])[::-1]


def smoothed(volume: NDArray[np.float32], fwhm_voxels: float) -> F64:
    """A volume convolved by scipy in float64: beyond the faces 0 along x and y, renormalised along z, as in SPM12."""
    from scipy import ndimage

    from rsfc_gpu.backend.smoothing_kernel import smoothing_weights

    found, weights = volume.astype(np.float64), smoothing_weights(fwhm_voxels).astype(np.float64)
    for axis in range(3):
        found = ndimage.convolve1d(found, weights, axis=axis, mode="constant")
    return np.asarray(found / ndimage.convolve1d(np.ones(volume.shape[2]), weights, mode="constant"))


def _volume(path: Any) -> NDArray[Any]:
    import nibabel

    return np.asarray(nibabel.load(path).dataobj)


def _voxels(path: Any) -> NDArray[np.bool_]:
    return np.asarray(_volume(path) > 0)
