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

from rsfc_gpu import __version__
from rsfc_gpu.backend import Backend
from rsfc_gpu.bids import RunFiles, sidecar, slice_timing
from rsfc_gpu.denoise import framewise_displacement
from rsfc_gpu.errors import InputError
from rsfc_gpu.images.mask import Mask, VoxelGrid
from rsfc_gpu.images.nifti import BoldSource, load_volume, save_volume
from rsfc_gpu.images.series import read_series
from rsfc_gpu.images.series_file import StoredSeries, open_series, write_series
from rsfc_gpu.preprocess import (
    NormalisationError,
    PreprocessSettings,
    RealignmentError,
    Warp,
    preprocess,
    tissue_masks,
)
from rsfc_gpu.preprocess.normalise import STIFFNESS_DEFAULT, STIFFNESS_GIVEN
from rsfc_gpu.preprocess.slice_timing import check_slice_times
from rsfc_gpu.preprocess.template import DEFAULT_TEMPLATE, DEFAULT_TEMPLATE_OFFSET, box_affine, box_shape
from rsfc_gpu.study.config import Study
from rsfc_gpu.study.outputs import digest_of, file_digest, image_digest, write_json
from rsfc_gpu.study.single_run import Run

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Image

_BYTES_OF_PROGRAM = 350_000_000
_MEANS = {"kept": "desc-mean_bold", "failed": "desc-failedmean_bold"}
_TISSUES = {"white_matter": "white_matter", "csf": "csf", "global": "brain"}  # signals, and the masks they come from


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


def written_grid(voxel_mm: float) -> VoxelGrid:
    """The grid that raw runs are written on."""
    n_z, n_y, n_x = box_shape(voxel_mm)
    return VoxelGrid((n_x, n_y, n_z), box_affine(voxel_mm))


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
        "stiffness": settings.stiffness or (STIFFNESS_GIVEN if given else STIFFNESS_DEFAULT),
        "template": given.name if given else DEFAULT_TEMPLATE,
        "template_digest": " ".join(image_digest(given)) if given else None,
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
    files: RunFiles,
    images: Path,
    settings: PreprocessSettings,
    backend: Backend,
    *,
    tr_s: float,
    beside: str,
    cache: Path | None = None,
) -> PreparedRun:
    """A raw run, preprocessed in memory; its normalised mean and what was found are written.

    Parameters
    ----------
    beside : start of the paths of what is written, folder and prefix.
    cache : file to take the series of the preprocessed run from, or to keep it in.

    Raises
    ------
    InputError : slice times missing or impossible, a damaged file. ResourceError : a file cannot be written.
    """
    scanned = _Scanned(files, settings, slice_times_of(files, images, settings), tr_s)
    native, masks = BoldSource.open(files.bold), _masks(settings.voxel_mm)  # before the run takes memory
    for old in _MEANS.values():  # of settings before
        for ending in (".nii.gz", ".json"):
            Path(f"{beside}{old}{ending}").unlink(missing_ok=True)
    key = "" if cache is None else scanned.key(backend)
    found = None if cache is None else open_series(cache, key)
    if found is None:
        done = _preprocessed(scanned, backend, beside)
        if isinstance(done, PreparedRun):
            return done
        found = done
        if cache is not None:
            write_series(cache, key, found.series, arrays=found.arrays, notes=found.notes)
    motion = np.asarray(found.arrays["motion"], dtype=np.float64)
    fd_mm = framewise_displacement(motion, "jenkinson", native.affine, native.shape)
    return PreparedRun(
        motion,
        settings.discard_volumes,
        run=Run(
            bold=found.series,
            mask=masks["brain"],
            tr_s=tr_s,
            motion=motion,
            tissues={name: masks[of] for name, of in _TISSUES.items()},
            space=files.space,
            motion_grid=native,
        ),
        numbers={"mean_fd_jenkinson_mm": round(float(fd_mm.mean()), 6), **_numbers(found.notes)},
        settings={"discard_volumes": settings.discard_volumes, "fwhm_mm": settings.fwhm_mm},
        written=_write_mean(f"{beside}{_MEANS['kept']}", found.arrays["mean"], found.notes),
    )


@dataclass(frozen=True)
class _Scanned:
    """A run as scanned, and what is to be done to it."""

    files: RunFiles
    settings: PreprocessSettings
    slice_times_s: tuple[float, ...] | None
    tr_s: float

    def key(self, backend: Backend) -> str:
        """The hash of all that the series of the preprocessed run depends on."""
        return digest_of(
            {
                "version": __version__,
                "file": file_digest(self.files.bold),
                "preprocess": settings_in_words(self.settings),
                "slice_times_s": self.slice_times_s,
                "tr_s": self.tr_s,
                "backend": backend.name,  # they differ in the last digits
            }
        )

    def facts(self, warp: Warp) -> dict[str, Any]:
        """The sidecar of the mean image: what was done, and how the head differs from the template."""
        zooms = np.sqrt((warp.affine[:3, :3] ** 2).sum(axis=0))
        return {
            "Description": "mean of the normalised run, not smoothed",
            "Sources": [self.files.bold.name],
            "NormalisationDice": round(float(warp.dice), 4),
            "AffineZooms": np.round(zooms, 4).tolist(),
            "Affine": np.round(warp.affine, 6).tolist(),
            "WarpCoefficients": np.round(warp.coefficients, 5).tolist(),  # with the affine, the whole warp
            "SliceTiming": list(self.slice_times_s) if self.slice_times_s else self.settings.slice_timing,
            "Settings": settings_in_words(self.settings),
        }


def _preprocessed(scanned: _Scanned, backend: Backend, beside: str) -> PreparedRun | StoredSeries:
    """The series of the preprocessed run, with its motion, its mean and the facts about it; or why it is left out."""
    settings, discard = scanned.settings, scanned.settings.discard_volumes
    try:
        done = preprocess(scanned.files.bold, settings, backend, slice_times_s=scanned.slice_times_s, tr_s=scanned.tr_s)
    except RealignmentError as error:
        return PreparedRun(error.motion, discard, left_out=("realignment", "failed", str(error)))
    except NormalisationError as error:
        facts = scanned.facts(error.warp)
        picture = np.asarray(error.warp.apply(error.mean, settings.voxel_mm).dataobj)
        return PreparedRun(
            error.motion,
            discard,
            left_out=("normalisation", "failed", str(error)),
            numbers=_numbers(facts),
            written=_write_mean(f"{beside}{_MEANS['failed']}", picture, facts),
        )
    if done.exclusion is not None:
        return PreparedRun(done.motion, discard, left_out=("motion", "excluded", done.exclusion))
    assert done.image is not None and done.normalised_mean is not None and done.warp is not None
    masks = {name: Mask.from_array(*load_volume(image)) for name, image in _masks(settings.voxel_mm).items()}
    regions = {name: masks[of] for name, of in _TISSUES.items()}
    series = read_series(BoldSource.open(done.image), masks["brain"], backend, regions=regions)
    arrays = {"motion": done.motion, "mean": np.asarray(done.normalised_mean.dataobj)}
    return StoredSeries(series, arrays, scanned.facts(done.warp))


@lru_cache(maxsize=2)
def _masks(voxel_mm: float) -> dict[str, Nifti1Image]:
    import nibabel

    grid = written_grid(voxel_mm)
    return tissue_masks(nibabel.Nifti1Image(np.zeros(grid.shape, dtype=np.uint8), grid.affine))


def _numbers(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {"normalisation_dice": facts["NormalisationDice"]}


def _write_mean(start: str, mean: NDArray[np.float32], facts: Mapping[str, Any]) -> tuple[Path, Path]:
    """The image and its sidecar."""
    image, words = Path(f"{start}.nii.gz"), Path(f"{start}.json")
    save_volume(image, mean, written_grid(facts["Settings"]["voxel_mm"]).affine)
    write_json(words, facts)
    return image, words
