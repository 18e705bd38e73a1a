"""One run, from its files to seed maps: reads like the methods section of a paper."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rsfc_gpu.backend import Backend
from rsfc_gpu.bids.confounds import MOTION_COLUMNS, TISSUE_COLUMNS, confound_columns, read_motion, read_table
from rsfc_gpu.connectivity import SeedMaps, Seeds, correlate_seeds
from rsfc_gpu.connectivity.maps import SMALLEST_RETAINED
from rsfc_gpu.denoise import (
    DenoiseSettings,
    Step,
    TemporalOperator,
    check_motion,
    denoising_operator,
    denoising_steps,
    framewise_displacement,
    kept_volumes,
    stages_of,
)
from rsfc_gpu.errors import InputError
from rsfc_gpu.images.mask import Grid
from rsfc_gpu.images.nifti import BoldSource
from rsfc_gpu.images.series import Series
from rsfc_gpu.study.run_series import header_of, masked_series

if TYPE_CHECKING:
    import pandas as pd
    from nibabel.spatialimages import SpatialImage

    from rsfc_gpu.images.nifti import ImageSource

Engine = Literal["operator", "stages"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Run:
    """The files of one run; nothing is read before it is used.

    Attributes
    ----------
    bold : 4-D image, a path or a nibabel image; or a `Series` gathered from one, with `mask` and `tissues` done.
    mask : voxels to map, on the same grid.
    tr_s : repetition time; None takes the header's, with its units.
    motion : (T, 6) in SPM's order, mm and radians, or the path of an rp_*.txt file.
    tissues : masks by name, "white_matter", "csf", "global", on the same grid.
    confounds : an fMRIPrep table (path or DataFrame) instead of `motion` and `tissues`.
    space : of the images, as TemplateFlow spells it; None where it is native.
    motion_grid : of the image that `motion` was estimated on, where that is not `bold`; Jenkinson's displacement asks.
    discard_volumes : first volumes to leave out; motion and confounds cover them and are cut with them.
    fwhm_mm : isotropic Gaussian smoothing while reading; 0 for none.
    """

    bold: ImageSource | Series
    mask: ImageSource
    tr_s: float | None = None
    motion: str | Path | ArrayLike | None = None
    tissues: Mapping[str, ImageSource] | None = None
    confounds: str | Path | pd.DataFrame | None = None
    space: str | None = None
    motion_grid: Grid | None = None
    discard_volumes: int = 0
    fwhm_mm: float = 0.0

    def __post_init__(self) -> None:
        if self.confounds is not None and (self.motion is not None or self.tissues):
            raise InputError("give either a confounds table or motion and tissue masks, not both")
        unknown = set(self.tissues or {}) - set(TISSUE_COLUMNS)
        if unknown:
            raise InputError(f"unknown tissue {', '.join(sorted(unknown))}: expected {', '.join(TISSUE_COLUMNS)}")
        if not isinstance(self.fwhm_mm, (int, float)) or not 0 <= self.fwhm_mm < 100:
            raise InputError(f"smoothing of {self.fwhm_mm!r} mm: expected a number from 0 to 100")
        if not isinstance(self.discard_volumes, (int, np.integer)) or self.discard_volumes < 0:
            raise InputError(f"cannot discard {self.discard_volumes!r} volumes: expected a whole number, 0 or more")
        if self.tr_s is not None and not isinstance(self.tr_s, (int, float, np.number)):
            raise InputError(f"repetition time {self.tr_s!r}: expected a number of seconds")
        if isinstance(self.bold, Series) and (self.discard_volumes or self.fwhm_mm):
            raise InputError("a series is as it is: discard volumes and smooth while it is read")


@dataclass(frozen=True, eq=False)
class _Nuisance:
    """What the chain needs beside the series, on the volumes that are left after the first are discarded."""

    tr_s: float
    motion: NDArray[np.float64] | None
    fd_mm: NDArray[np.float64] | None
    kept: NDArray[np.bool_]
    table_signals: Mapping[str, NDArray[np.float64]]


def seed_maps(
    run: Run,
    seeds: Seeds | ImageSource,
    settings: DenoiseSettings,
    backend: Backend,
    *,
    engine: Engine = "operator",
    cache: str | Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> SeedMaps:
    """Correlation and Fisher-z maps of every seed in one run.

    Parameters
    ----------
    seeds : `Seeds`, or a label image on the run's grid.
    engine : "operator" folds all cleaning into one product; "stages" regresses, filters and scrubs the voxels' own
        series one after the other. The maps agree to 1e-5; "stages" is slower and is there as a check.
    cache : file that keeps the masked series of this run, so that the next call with the same images and masks, and
        whatever settings and seeds, need not decode the image.
    progress : called with the number of volumes read so far.

    Raises
    ------
    InputError : grids that differ, a signal that `settings` name and the run lacks, a table whose length is not the
        image's, a damaged file, too few degrees of freedom left, a seed without a usable voxel.
    ResourceError : the cache cannot be written.
    """
    return map_run(run, seeds, settings, backend, engine=engine, cache=cache, progress=progress)[0]


def map_run(
    run: Run,
    seeds: Seeds | ImageSource,
    settings: DenoiseSettings,
    backend: Backend,
    *,
    engine: Engine = "operator",
    cache: str | Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[SeedMaps, Series, TemporalOperator]:
    """The maps of `seed_maps`, the series (before cleaning) that they were made from, and what cleaned these."""
    if engine not in get_args(Engine):
        raise InputError(f"unknown engine {engine!r}: expected {' or '.join(get_args(Engine))}")
    if not isinstance(seeds, Seeds):
        seeds = Seeds.from_labels(seeds)
    series, steps, operator, nuisance = _cleaning(run, settings, backend, cache, progress)
    if engine == "operator":
        r, z, mask, coverage = correlate_seeds(series, seeds, operator.compressor, backend)
    else:
        cleaned = _clean_by_stages(series, steps, backend)
        centring = np.eye(cleaned.n_volumes) - 1.0 / cleaned.n_volumes
        r, z, mask, coverage = correlate_seeds(cleaned, seeds, centring, backend)
    maps = SeedMaps(
        voxel_r=r,
        voxel_z=z,
        mask=mask,
        names=seeds.names,
        kept=nuisance.kept,
        rank=operator.rank,
        dof=operator.dof,
        coverage=coverage,
        fd_mm=nuisance.fd_mm,
        counts={
            "not_finite": series.n_not_finite,
            "constant": series.n_constant,
            "nuisance_only": len(series.mask) - len(mask),
        },
        settings={
            **dataclasses.asdict(settings),
            "tr_s": nuisance.tr_s,
            "discard_volumes": run.discard_volumes,
            "fwhm_mm": run.fwhm_mm,
            "space": run.space,
            "engine": engine,
        },
    )
    return maps, series, operator


def cleaned_image(run: Run, settings: DenoiseSettings, backend: Backend) -> SpatialImage:
    """The cleaned series as a 4-D nibabel image, float32 (X, Y, Z, T_kept); 0 outside the usable mask.

    Each voxel has mean 0 over the kept volumes, or its mean intensity where `settings.add_mean` is set. DPABI's
    scrubbed files differ by a constant per voxel, because they are centred before the cut.
    """
    import nibabel

    series, _, operator, nuisance = _cleaning(run, settings, backend, None, None)
    cleaned = backend.clean(series.samples, series.centre, operator.compressor, operator.expander)
    cleaned *= np.float32(series.slope)
    if settings.add_mean:
        cleaned += series.baseline.astype(np.float32)
    image = nibabel.Nifti1Image(np.moveaxis(series.mask.put(cleaned), 0, -1), series.mask.affine)
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_zooms((*image.header.get_zooms()[:3], nuisance.tr_s))
    return image


def _cleaning(
    run: Run,
    settings: DenoiseSettings,
    backend: Backend,
    cache: str | Path | None,
    progress: Callable[[int], None] | None,
) -> tuple[Series, list[Step], TemporalOperator, _Nuisance]:
    """The series of a run, the steps that clean them, and the operator that these fold into."""
    bold = header_of(run)
    nuisance = _read_nuisance(run, bold, settings)
    series = masked_series(
        run,
        bold,
        backend,
        tissues=_tissues(run, settings),
        cache=None if cache is None else Path(cache),
        progress=progress,
    )
    signals = {**nuisance.table_signals, **series.regions}
    steps = denoising_steps(settings, tr_s=nuisance.tr_s, kept=nuisance.kept, motion=nuisance.motion, tissues=signals)
    return series, steps, denoising_operator(settings, steps, nuisance.kept), nuisance


def _clean_by_stages(series: Series, steps: list[Step], backend: Backend) -> Series:
    """The cleaned series, (T_kept, V); 0 where nothing but nuisance was in a voxel."""
    stages = stages_of(steps, series.n_volumes)
    cleaned, retained = backend.clean_by_stages(series.samples, series.centre, stages)
    cleaned[:, retained < SMALLEST_RETAINED] = 0.0
    return dataclasses.replace(series, samples=cleaned, centre=np.zeros(len(series.mask)))


def _read_nuisance(run: Run, bold: BoldSource, settings: DenoiseSettings) -> _Nuisance:
    tr_s = run.tr_s if run.tr_s is not None else bold.tr_s
    if tr_s is None or not 0.1 <= tr_s <= 20:
        raise InputError(
            f"{bold.name}: the repetition time {'in the header' if tr_s is None else tr_s} is not between 0.1 and "
            "20 s: give it in seconds (tr_s, --tr)"
        )
    motion, fd_mm, signals = None, None, {}
    if run.confounds is not None:
        name = str(run.confounds) if isinstance(run.confounds, (str, Path)) else "the confounds table"
        table = read_table(run.confounds)
        _check_length(name, len(table), bold)
        # Read whole and cut afterwards: "n/a" is understood in the first row of the file alone.
        wanted = [TISSUE_COLUMNS[tissue] for tissue in settings.tissue_signals]
        columns = confound_columns(table, wanted, name)[run.discard_volumes :]
        signals = dict(zip(settings.tissue_signals, columns.T, strict=True))
        if settings.needs_motion:
            motion = confound_columns(table, MOTION_COLUMNS, name)[run.discard_volumes :]
            if settings.fd_kind == "power" and "framewise_displacement" in table:
                # The table's own, so that scrubbing agrees with the preprocessing report.
                fd_mm = confound_columns(table, ["framewise_displacement"], name)[run.discard_volumes :, 0]
                fd_mm[:1] = 0.0
    elif run.motion is not None:
        from_file = isinstance(run.motion, (str, Path))
        motion = read_motion(run.motion) if from_file else check_motion(run.motion)  # type: ignore[arg-type]
        _check_length(str(run.motion) if from_file else "the motion table", len(motion), bold)
        motion = motion[run.discard_volumes :]
    if settings.needs_motion and motion is None:
        raise InputError(
            f"{bold.name}: no motion parameters, and the settings need them "
            f"(motion_model {settings.motion_model}, scrub {settings.scrub}); to go without, set both to none "
            "(--motion-model none)"
        )
    n_volumes = bold.n_volumes - run.discard_volumes
    kept = np.ones(max(n_volumes, 0), dtype=bool)
    if motion is not None:
        grid: Grid = run.motion_grid or bold
        if settings.fd_kind == "jenkinson" and run.space is not None and run.motion_grid is None:
            raise InputError(
                f"{bold.name} is in {run.space}: the Jenkinson displacement needs the native image's geometry; "
                "use fd_kind power"
            )
        if fd_mm is None:
            fd_mm = framewise_displacement(motion, settings.fd_kind, grid.affine, grid.shape)
        if settings.scrub != "none":
            kept = kept_volumes(fd_mm, settings.fd_threshold_mm, settings.scrub_before, settings.scrub_after)
    return _Nuisance(tr_s, motion, fd_mm, kept, signals)


def _tissues(run: Run, settings: DenoiseSettings) -> tuple[str, ...]:
    """The tissues whose means are taken from the image."""
    if run.confounds is not None:
        return ()
    there = run.bold.regions if isinstance(run.bold, Series) else (run.tissues or {})
    missing = [tissue for tissue in settings.tissue_signals if tissue not in there]
    if missing:
        raise InputError(
            f"the settings regress out {', '.join(missing)}, and the run has no such mask: "
            "give the masks, or leave these out of tissue_signals"
        )
    return settings.tissue_signals


def _check_length(what: str, n_rows: int, bold: BoldSource) -> None:
    if n_rows != bold.n_volumes:
        raise InputError(f"{what} has {n_rows} rows, {bold.name} has {bold.n_volumes} volumes. Was the run trimmed?")
