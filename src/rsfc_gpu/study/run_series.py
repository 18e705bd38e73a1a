"""The masked series of a run: read from its image, or from the file in which a former analysis kept it.

A kept series depends on the files of images and masks, on the volumes discarded and on smoothing; not on the band, the
regressors, scrubbing or seeds. So another analysis of the same runs decodes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rsfc_gpu import __version__
from rsfc_gpu.backend import Backend
from rsfc_gpu.errors import InputError
from rsfc_gpu.images.mask import Mask
from rsfc_gpu.images.nifti import BoldSource, load_volume
from rsfc_gpu.images.series import Series, read_series
from rsfc_gpu.images.series_file import open_series, write_series
from rsfc_gpu.study.outputs import digest_of, image_digest

if TYPE_CHECKING:
    from rsfc_gpu.images.nifti import ImageSource
    from rsfc_gpu.study.single_run import Run

Progress = Callable[[int], None]


def header_of(run: Run) -> BoldSource:
    """What the header of a run's image says; of a series in its place, what it was gathered from."""
    if not isinstance(run.bold, Series):
        return BoldSource.open(run.bold)
    series = run.bold
    return BoldSource(
        name="the series",
        shape=series.mask.shape,
        n_volumes=series.n_volumes,
        affine=series.mask.affine,
        dtype=series.samples.dtype,
        slope=series.slope,
        intercept=0.0,
        tr_s=None,
    )


def masked_series(
    run: Run,
    bold: BoldSource,
    backend: Backend,
    *,
    tissues: Iterable[str],
    cache: Path | None,
    progress: Progress | None,
) -> Series:
    """The series of a run inside its mask, with the means of `tissues`.

    Parameters
    ----------
    cache : file to take the series from, or to keep it in when it is not there or not of these files and settings.
        What is kept has the means of all tissues of the run. None: no file.

    Raises
    ------
    InputError : as `read_series`; a cache for images that are in memory. ResourceError : the cache cannot be written.
    """
    if isinstance(run.bold, Series):
        return run.bold
    if cache is None:
        return _read(run, bold, backend, tissues, progress)
    key = _key(run, backend)
    stored = open_series(cache, key)
    if stored is not None:
        if progress:
            progress(bold.n_volumes)
        return stored.series
    series = _read(run, bold, backend, run.tissues or (), progress)
    write_series(cache, key, series)
    return series


def _read(run: Run, bold: BoldSource, backend: Backend, tissues: Iterable[str], progress: Progress | None) -> Series:
    assert not isinstance(run.bold, Series)
    masks = run.tissues or {}
    return read_series(
        bold,
        _mask_of(run.mask),
        backend,
        regions={name: _mask_of(masks[name]) for name in tissues},
        discard=run.discard_volumes,
        fwhm_mm=run.fwhm_mm,
        progress=progress,
    )


class _FileState(NamedTuple):
    """A file as it is now: another, once it is written again."""

    path: Path
    inode: int
    size: int
    modified_ns: int


def _mask_of(image: ImageSource) -> Mask:
    """The mask in an image. The runs of a study share those of tissues, and a run its own with the global signal."""
    path = Path(image) if isinstance(image, (str, Path)) else None
    if path is None or not path.name.endswith((".nii", ".nii.gz")) or not path.is_file():
        return Mask.from_array(*load_volume(image))
    state = path.stat()
    return _mask_in_file(_FileState(path, state.st_ino, state.st_size, state.st_mtime_ns))


@lru_cache(maxsize=8)
def _mask_in_file(file: _FileState) -> Mask:
    return Mask.from_array(*load_volume(file.path))


def _key(run: Run, backend: Backend) -> str:
    """The hash of all that the series of a run depends on."""
    assert not isinstance(run.bold, Series)
    images = {"image": run.bold, "mask": run.mask, **(run.tissues or {})}
    return digest_of(
        {
            "version": __version__,
            "files": {what: _digests(what, image) for what, image in images.items()},
            "discard_volumes": int(run.discard_volumes),
            "fwhm_mm": float(run.fwhm_mm),
            # Backends round smoothed values differently in the last digit; what is only gathered is the same on all.
            "smoothed_by": backend.name if run.fwhm_mm > 0 else None,
        }
    )


def _digests(what: str, image: ImageSource) -> list[str]:
    if not isinstance(image, (str, Path)):
        raise InputError(f"a series is kept for files only, and the {what} of this run is in memory: give its path")
    return image_digest(Path(image))
