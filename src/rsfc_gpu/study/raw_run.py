"""Raw runs of a study: what their preprocessing is, whether they allow it, and a run in memory that is ready to map."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.backend import Backend
from rsfc_gpu.bids import RunFiles, sidecar, slice_timing
from rsfc_gpu.errors import InputError
from rsfc_gpu.images.mask import VoxelGrid
from rsfc_gpu.images.nifti import BoldSource, save_volume
from rsfc_gpu.preprocess import (
    NormalisationError,
    Preprocessed,
    PreprocessSettings,
    RealignmentError,
    Warp,
    preprocess,
    tissue_masks,
)
from rsfc_gpu.preprocess.slice_timing import check_slice_times
from rsfc_gpu.preprocess.template import DEFAULT_TEMPLATE, DEFAULT_TEMPLATE_OFFSET, box_affine, box_shape
from rsfc_gpu.study.config import Study
from rsfc_gpu.study.outputs import file_digest, write_json
from rsfc_gpu.study.single_run import Run

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Image

_BYTES_OF_PROGRAM = 250_000_000


@dataclass(frozen=True, eq=False)
class PreparedRun:
    """A run whose motion is known and whose images, unless it is left out, are ready to be mapped.

    Attributes
    ----------
    motion : (T, 6) of the volumes that are analysed. n_discarded : volumes before them.
    run : None where the run is left out.
    left_out : stage, status and reason, or None.
    numbers : for the record of the run. settings : what was done before `run`, for the sidecars of its maps.
    written : files beside the maps.
    """

    motion: NDArray[np.float64]
    n_discarded: int
    run: Run | None = None
    left_out: tuple[str, str, str] | None = None
    numbers: dict[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    written: tuple[Path, ...] = ()


def written_grid(settings: PreprocessSettings) -> VoxelGrid:
    """The grid that raw runs are written on."""
    n_z, n_y, n_x = box_shape(settings.voxel_mm)
    return VoxelGrid((n_x, n_y, n_z), box_affine(settings.voxel_mm))


def raw_settings(study: Study, template: Path | None = None) -> PreprocessSettings:
    """The preprocessing that a study asks for; `template` None is the default one."""
    chosen, scan, gates = study.preprocess, study.scan, study.participants
    return PreprocessSettings(
        discard_volumes=scan.discard_volumes,
        slice_timing=chosen.slice_timing,
        maximum_mm=gates.maximum_translation_mm,
        maximum_degrees=gates.maximum_rotation_degrees,
        template=template,
        stiffness=chosen.stiffness,
        minimum_dice=chosen.minimum_dice,
        voxel_mm=chosen.voxel_mm,
        fwhm_mm=scan.fwhm_mm,
        single_interpolation=chosen.single_interpolation,
    )


def settings_in_words(settings: PreprocessSettings) -> dict[str, Any]:
    """The settings with the template's name, checksum and known offset in the place of its path."""
    given = None if settings.template is None else Path(settings.template)
    return {
        **dataclasses.asdict(settings),
        "template": given.name if given else DEFAULT_TEMPLATE,
        "template_digest": file_digest(given) if given else None,
        "template_offset": None if given else DEFAULT_TEMPLATE_OFFSET,
    }


def slice_times_of(files: RunFiles, images: Path, settings: PreprocessSettings) -> tuple[float, ...] | None:
    """Times of the slices from the sidecar of a run, seconds; None where the settings do not take them from there.

    Raises
    ------
    InputError : no SliceTiming, or one that is no list of numbers.
    """
    if settings.slice_timing != "sidecar":
        return None
    times = slice_timing(sidecar(files.bold, images), files.label)
    if times is None:
        raise InputError(
            f"{files.label}: no SliceTiming in its sidecar. Add it, name the order in which the slices were acquired "
            '(preprocess.slice_timing = "interleaved", ...), or leave the step out ("none")'
        )
    return times


def check_raw(files: RunFiles, images: Path, settings: PreprocessSettings, bold: BoldSource, tr_s: float) -> None:
    """Raise InputError where headers and sidecars tell that a run cannot be preprocessed."""
    times = slice_times_of(files, images, settings)
    if times is not None:
        try:
            check_slice_times(times, bold.shape[2], tr_s)
        except InputError as error:
            raise InputError(f"{files.label}: {error}") from error
    if settings.discard_volumes > bold.n_volumes - 2:
        raise InputError(f"{files.label}: {settings.discard_volumes} of {bold.n_volumes} volumes would be discarded")


def bytes_needed(bold: BoldSource, settings: PreprocessSettings) -> int:
    """Memory that a raw run takes, about: it and its corrected copy, the normalised run, and the series inside."""
    kept = max(bold.n_volumes - settings.discard_volumes, 1)
    scanned = kept * int(np.prod(bold.shape))
    written = kept * int(np.prod(box_shape(settings.voxel_mm)))
    return (4 + bold.dtype.itemsize) * scanned + 5 * written + _BYTES_OF_PROGRAM


def prepare_raw(
    files: RunFiles, images: Path, settings: PreprocessSettings, backend: Backend, *, tr_s: float, beside: str
) -> PreparedRun:
    """A raw run, preprocessed in memory; its normalised mean and what was found are written.

    Parameters
    ----------
    beside : start of the paths of what is written, folder and prefix.

    Raises
    ------
    InputError : slice times missing or impossible, a damaged file.
    """
    times = slice_times_of(files, images, settings)
    discard = settings.discard_volumes
    mean, failed_mean = Path(f"{beside}desc-mean_bold.nii.gz"), Path(f"{beside}desc-failedmean_bold.nii.gz")
    try:
        done = preprocess(files.bold, settings, backend, slice_times_s=times, tr_s=tr_s)
    except RealignmentError as error:
        return PreparedRun(error.motion, discard, left_out=("realignment", "failed", str(error)))
    except NormalisationError as error:
        picture = error.warp.apply(error.mean, settings.voxel_mm)
        return PreparedRun(
            error.motion,
            discard,
            left_out=("normalisation", "failed", str(error)),
            numbers=_numbers(error.warp),
            written=_write_mean(failed_mean, picture, _facts(files, settings, times, error.warp), stale=mean),
        )
    if done.exclusion is not None:
        return PreparedRun(done.motion, discard, left_out=("motion", "excluded", done.exclusion))
    assert done.warp is not None and done.normalised_mean is not None
    facts = _facts(files, settings, times, done.warp)
    return PreparedRun(
        done.motion,
        discard,
        run=_ready(done, files, settings, tr_s),
        numbers=_numbers(done.warp),
        settings={"discard_volumes": discard, "fwhm_mm": settings.fwhm_mm},
        written=_write_mean(mean, done.normalised_mean, facts, stale=failed_mean),
    )


def _ready(done: Preprocessed, files: RunFiles, settings: PreprocessSettings, tr_s: float) -> Run:
    assert done.image is not None
    masks = _masks(settings)
    tissues = {"white_matter": masks["white_matter"], "csf": masks["csf"], "global": masks["brain"]}
    return Run(bold=done.image, mask=masks["brain"], tr_s=tr_s, motion=done.motion, tissues=tissues, space=files.space)


@lru_cache(maxsize=2)
def _masks(settings: PreprocessSettings) -> dict[str, Nifti1Image]:
    import nibabel

    grid = written_grid(settings)
    return tissue_masks(nibabel.Nifti1Image(np.zeros(grid.shape, dtype=np.uint8), grid.affine))


def _numbers(warp: Warp) -> dict[str, float]:
    return {"normalisation_dice": round(float(warp.dice), 4)}


def _facts(
    files: RunFiles, settings: PreprocessSettings, times: tuple[float, ...] | None, warp: Warp
) -> dict[str, Any]:
    """The sidecar of a mean image: what was done to its run, and how the head differs from the template."""
    zooms = np.sqrt((warp.affine[:3, :3] ** 2).sum(axis=0))
    return {
        "Description": "mean of the normalised run, not smoothed",
        "Sources": [files.bold.name],
        "NormalisationDice": round(float(warp.dice), 4),
        "AffineZooms": np.round(zooms, 4).tolist(),
        "Affine": np.round(warp.affine, 6).tolist(),
        "SliceTiming": list(times) if times else settings.slice_timing,
        "Settings": settings_in_words(settings),
    }


def _write_mean(path: Path, mean: Nifti1Image, facts: Mapping[str, Any], *, stale: Path) -> tuple[Path, Path]:
    """The image and its sidecar; that of another outcome, from settings before, goes."""
    beside = [Path(str(one).removesuffix(".nii.gz") + ".json") for one in (path, stale)]
    for old in (stale, beside[1]):
        old.unlink(missing_ok=True)
    save_volume(path, np.asarray(mean.dataobj), mean.affine)
    write_json(beside[0], facts)
    return path, beside[0]
