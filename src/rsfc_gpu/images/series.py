"""One pass over a run's file: the masked (T, V) series, and the mean series of regions of the whole grid."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.backend import Backend, numba_kernels
from rsfc_gpu.errors import InputError
from rsfc_gpu.images.mask import Mask, check_same_grid
from rsfc_gpu.images.nifti import BoldSource


@dataclass(frozen=True, eq=False)
class Series:
    """The series of a run inside a mask.

    Attributes
    ----------
    samples : (T, V). 8- and 16-bit integers as stored; every other type, and smoothed data, as the float32 difference
        from the first volume, because float32 cannot hold a large baseline and a small fluctuation together.
    centre : (V,) float64 mean over time of `samples`; backends subtract it before they form a product.
    mask : the V usable voxels: finite and not constant.
    baseline : (V,) float64 mean intensity, in the units of the image.
    slope : intensity per unit of `samples`.
    regions : mean series (T,) of each region asked for, in the units of the image.
    n_not_finite, n_constant : voxels of the asked-for mask that are left out of `mask`.
    """

    samples: NDArray[Any]
    centre: NDArray[np.float64]
    mask: Mask
    baseline: NDArray[np.float64]
    slope: float
    regions: dict[str, NDArray[np.float64]]
    n_not_finite: int
    n_constant: int

    @property
    def n_volumes(self) -> int:
        return len(self.samples)

    def mean_over(self, members: Iterable[NDArray[np.int64]]) -> NDArray[np.float64]:
        """(T, S) mean series of each array of positions on the voxel axis, centred; units of `samples`."""
        means = [self.samples[:, at].mean(axis=1, dtype=np.float64) - self.centre[at].mean() for at in members]
        return np.column_stack(means)


def read_series(
    bold: BoldSource,
    mask: Mask,
    backend: Backend,
    *,
    regions: Mapping[str, Mask] | None = None,
    discard: int = 0,
    fwhm_mm: float = 0.0,
    progress: Callable[[int], None] | None = None,
) -> Series:
    """The series of `bold` inside `mask`, read volume by volume.

    Parameters
    ----------
    regions : means are taken over all their voxels, also outside `mask`; voxels that are not finite count as 0.
    discard : first volumes to leave out.
    fwhm_mm : isotropic Gaussian smoothing of each volume before anything is gathered; voxels that are not finite
        count as 0 in the smoothing of their neighbours and leave the mask; so do those constant before it.
    progress : called with the number of volumes read so far.

    Raises
    ------
    InputError : grids differ, a region or the usable mask is empty, or the file is damaged.
    """
    regions = dict(regions or {})
    for what, voxels in [("the mask", mask), *((f"the {name} mask", region) for name, region in regions.items())]:
        check_same_grid(what, voxels, bold.name, bold)
        if len(voxels) == 0:
            raise InputError(f"{what} for {bold.name} is empty")
    n_volumes = bold.n_volumes - discard
    if discard < 0 or n_volumes < 2:
        raise InputError(f"{bold.name}: cannot discard {discard} of its {bold.n_volumes} volumes")
    reader = _Gatherer(bold, mask, list(regions.values()), n_volumes, smoothed=fwhm_mm > 0)
    widths = fwhm_mm / mask.voxel_mm
    for t, volume in enumerate(bold.volumes()):
        if t < discard:
            continue
        if fwhm_mm > 0:
            filled = np.empty(volume.size, dtype=np.float32)
            if t == discard:
                first = volume.copy()
            numba_kernels.scale_finite(
                volume, bold.slope, bold.intercept, filled, reader.grid_finite, first, reader.grid_varies
            )
            volume = backend.smooth(filled.reshape(bold.shape, order="F"), widths).ravel(order="F")
        reader.take(t - discard, volume)
        if progress:
            progress(t + 1)
    return reader.finish(list(regions))


class _Gatherer:
    """Fills the (T, V) matrix volume by volume, with sums and flags per voxel, in one touch of each value."""

    def __init__(self, bold: BoldSource, mask: Mask, regions: list[Mask], n_volumes: int, *, smoothed: bool) -> None:
        self.mask = mask
        self.slope, self.intercept = (1.0, 0.0) if smoothed else (bold.slope, bold.intercept)
        self.exact = not smoothed and bold.dtype.kind in "iu" and bold.dtype.itemsize <= 2
        dtype = bold.dtype.newbyteorder("=") if self.exact else np.dtype(np.float32)
        n_voxels = len(mask)
        self.samples = np.empty((n_volumes, n_voxels), dtype=dtype)
        self.total = np.zeros(n_voxels, dtype=_sum_dtype(dtype, n_volumes) if self.exact else np.float64)
        self.first = np.zeros(0 if self.exact else n_voxels)
        self.varies = np.zeros(n_voxels, dtype=np.bool_)
        self.finite = np.ones(n_voxels, dtype=np.bool_)
        # The global signal's region is the mask itself, as a rule: its sum comes with the row.
        self.is_mask = np.array([np.array_equal(region.index, mask.index) for region in regions], dtype=np.bool_)
        runs = [_runs_of(k, region) for k, region in enumerate(regions) if not self.is_mask[k]]
        self.region_runs = np.concatenate([np.empty((0, 3), np.int64), *runs])
        self.starts = np.cumsum([0, *(len(region) for region in regions)], dtype=np.int64)
        self.members = np.concatenate([np.empty(0, np.int64), *(region.index for region in regions)])
        # Of 8- and 16-bit integers: exact sums, turned into means at the end.
        self.regional = np.zeros((n_volumes, len(regions)), dtype=np.int64 if self.exact else np.float64)
        # Of the volumes before smoothing, which fills constant voxels and gaps from their neighbours.
        self.grid_finite = np.ones(mask.inside.size if smoothed else 0, dtype=np.bool_)
        self.grid_varies = np.zeros(mask.inside.size if smoothed else 0, dtype=np.bool_)

    def take(self, t: int, volume: NDArray[Any]) -> None:
        index, row = self.mask.index, self.samples[t]
        if self.exact:
            totals = self.regional[t]
            whole = numba_kernels.gather_integers(volume, *self.mask.runs, self.region_runs, row, self.total, totals)
            totals[self.is_mask] = whole
            return
        if t == 0:
            self.first[:] = self.slope * volume[index].astype(np.float64) + self.intercept
            self.first[~np.isfinite(self.first)] = 0.0
        numba_kernels.gather_floats(
            volume, index, self.slope, self.intercept, self.first, row, self.total, self.varies, self.finite
        )
        numba_kernels.region_means(volume, self.slope, self.intercept, self.starts, self.members, self.regional[t])

    def finish(self, names: list[str]) -> Series:
        means = self.regional.astype(np.float64)
        if self.exact:
            means = self.slope * means / np.diff(self.starts) + self.intercept
        regions = dict(zip(names, means.T, strict=True))
        finite, varies = self.finite, _varies(self.samples, self.total) if self.exact else self.varies
        if self.grid_finite.size:
            finite = finite & self.grid_finite[self.mask.index]
            varies = varies & self.grid_varies[self.mask.index]
        usable = finite & varies
        centre = self.total.astype(np.float64) / len(self.samples)
        slope, intercept = (self.slope, self.intercept) if self.exact else (1.0, 0.0)
        baseline = slope * centre + intercept if self.exact else self.first.astype(np.float64) + centre
        mask, samples = self.mask, self.samples
        if not usable.all():
            inside = mask.put(usable, fill=False).astype(bool)
            mask = Mask(inside, mask.affine)
            centre, baseline = centre[usable], baseline[usable]
            samples = _compact_columns(samples, usable)
        if len(mask) == 0:
            raise InputError("no voxel of the mask varies over time; is this the right image?")
        return Series(
            samples, centre, mask, baseline, slope, regions, int((~finite).sum()), int((finite & ~varies).sum())
        )


def _runs_of(number: int, region: Mask) -> NDArray[np.int64]:
    """(R, 3) start and length of each run of neighbours, and the number of the region."""
    starts, places = region.runs
    return np.column_stack([starts, np.diff(places), np.full(len(starts), number)])


def _sum_dtype(dtype: np.dtype[Any], n_volumes: int) -> type[np.signedinteger[Any]]:
    """The narrowest integer that holds any sum over a run, because sums are read and written once a volume."""
    largest = max(abs(int(bound)) for bound in (np.iinfo(dtype).min, np.iinfo(dtype).max))
    return np.int32 if largest * n_volumes <= np.iinfo(np.int32).max else np.int64


def _varies(samples: NDArray[Any], total: NDArray[Any]) -> NDArray[np.bool_]:
    """(V,) which columns are not constant. One that is sums to T times its first value; only such are looked at."""
    varies = total != len(samples) * samples[0].astype(np.int64)
    at = np.flatnonzero(~varies)
    for row in samples[1:] if len(at) else ():
        varies[at] |= row[at] != samples[0, at]
    return np.asarray(varies)


def _compact_columns(samples: NDArray[Any], keep: NDArray[np.bool_]) -> NDArray[Any]:
    """The kept columns, moved within the same memory: a boolean index would hold a second copy of the series."""
    n_kept = int(keep.sum())
    flat = samples.reshape(-1)
    for t in range(len(samples)):
        # Row t of the result ends before row t of the source begins to be read, for every t.
        flat[t * n_kept : (t + 1) * n_kept] = samples[t, keep]
    return flat[: len(samples) * n_kept].reshape(len(samples), n_kept)
