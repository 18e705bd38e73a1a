"""One run of a study: gates, cleaning and maps, and a record of what became of it. A bad run is a row with a reason."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rsfc_gpu import __version__
from rsfc_gpu.backend import Backend
from rsfc_gpu.bids import RunFiles
from rsfc_gpu.bids.confounds import MOTION_COLUMNS, confound_columns, read_motion, read_table
from rsfc_gpu.connectivity import SeedMaps, SeedNotCovered
from rsfc_gpu.denoise import DenoiseSettings, TooFewDegreesOfFreedom, framewise_displacement
from rsfc_gpu.errors import InputError
from rsfc_gpu.files import bids_label
from rsfc_gpu.images.atlas import read_card
from rsfc_gpu.preprocess import PreprocessSettings
from rsfc_gpu.report.tables import write_tsv
from rsfc_gpu.study.carpets import write_carpets
from rsfc_gpu.study.config import Participants, Scan, SeedChoice
from rsfc_gpu.study.device import DeviceChoice
from rsfc_gpu.study.outputs import digest_of, file_digest, is_current, seal
from rsfc_gpu.study.raw_run import PreparedRun, prepare_raw, settings_in_words, slice_times_of
from rsfc_gpu.study.run_series import header_of
from rsfc_gpu.study.seed_choice import seeds_on
from rsfc_gpu.study.single_run import Engine, Run, map_run

log = logging.getLogger(__name__)
Record = dict[str, Any]


@dataclass(frozen=True)
class RunTask:
    """All that is needed to process one run anywhere: it pickles.

    `tissues` are masks of white matter and CSF for runs with rp_*.txt; `preprocess` what is done to a raw run, None of
    others; `work` the folder where its series is kept for another analysis, None not to keep it.
    """

    files: RunFiles
    images: Path
    out: Path
    tissues: tuple[tuple[str, Path], ...]
    tr_s: float
    scan: Scan
    denoise: DenoiseSettings
    seeds: SeedChoice
    gates: Participants
    device: DeviceChoice
    engine: Engine = "operator"
    work: Path | None = None
    preprocess: PreprocessSettings | None = None


def process_run(task: RunTask) -> Record:
    """The record of a run after its maps are on disk; `reused` where they were there already."""
    marker, made_from = _marker(task), ""
    try:
        _refuse_missing(task.files)
        made_from = _made_from(task)
        done = is_current(marker, made_from)
        if done is not None and done["status"] != "failed":
            return {**done, "reused": True}
        record, written = _process(task, f"{marker.parent}/{_prefix(task.files)}")
    except InputError as error:
        record, written = _failed(task, error), []
    log.info("%s: %s %s", task.files.label, record["status"], record["reason"] or "")
    return {**seal(marker, made_from, written, **record), "reused": False}


def stored_record(task: RunTask) -> Record:
    """The record of a run that was processed before; a run that was not, or not with these settings, has failed."""
    try:
        _refuse_missing(task.files)
        made_from = _made_from(task)
    except InputError as error:
        return {**_failed(task, error), "reused": False}
    done = is_current(_marker(task), made_from)
    if done is None:
        missing = InputError("no maps made with these settings from these files; run the participant level first")
        return {**_failed(task, missing), "reused": False}
    return {**done, "reused": True}


def map_path(out: Path, files: RunFiles, images: Path, seed: str) -> Path:
    """Where the z map of a seed in a run is."""
    return (
        out / files.bold.parent.relative_to(images) / f"{_prefix(files)}seed-{bids_label(seed)}_stat-z_statmap.nii.gz"
    )


def _prefix(files: RunFiles) -> str:
    return f"{files.prefix}_space-{bids_label(files.space)}_"


def _marker(task: RunTask) -> Path:
    folder = task.out / task.files.bold.parent.relative_to(task.images)
    return folder / f"{_prefix(task.files)}desc-run_record.json"


def _process(task: RunTask, start: str) -> tuple[Record, list[Path]]:
    """The record, and the files written; their paths begin with `start`."""
    prepared, mapped = None, _Mapped()
    try:
        backend = task.device.open()
        prepared = _prepared(task, backend, start)
        record = (
            _empty_record(task)
            | {"n_discarded": prepared.n_discarded}
            | motion_numbers(prepared.motion)
            | prepared.numbers
        )
        reason = motion_gate(record, task.gates)
        stopped = ("motion", "excluded", reason) if reason else prepared.left_out
        if stopped is None:
            mapped = _mapped(task, prepared, backend, start)
            stopped = mapped.left_out
    except InputError as error:
        return _failed(task, error), list(prepared.written) if prepared else []
    motion = _motion_table(prepared.motion, mapped.kept)
    written = [write_tsv(motion, Path(f"{start}desc-motion_timeseries.tsv")), *prepared.written, *mapped.written]
    stage, status, words = stopped or ("analysed", "kept", None)
    return record | mapped.numbers | {"stage": stage, "status": status, "reason": words}, written


@dataclass(frozen=True, eq=False)
class _Mapped:
    """What came of mapping a run: the volumes kept, stage, status and reason where it is left out, files, numbers."""

    kept: NDArray[np.bool_] | None = None
    left_out: tuple[str, str, str] | None = None
    written: tuple[Path, ...] = ()
    numbers: Record = field(default_factory=dict)


def _mapped(task: RunTask, prepared: PreparedRun, backend: Backend, start: str) -> _Mapped:
    """The maps of a run, written unless too little of a seed is seen."""
    assert prepared.run is not None
    seeds = seeds_on(task.seeds, header_of(prepared.run), task.files.space)
    try:
        maps, series, operator = map_run(
            prepared.run, seeds, task.denoise, backend, engine=task.engine, cache=_series_file(task)
        )
    except TooFewDegreesOfFreedom as error:
        return _Mapped(left_out=("denoise", "excluded", str(error)))
    except SeedNotCovered as error:
        return _Mapped(left_out=("coverage", "excluded", str(error)))
    written, least = write_carpets(start, series, operator), task.gates.minimum_seed_coverage
    short = [f"{name} {share:.0%}" for name, share in zip(maps.names, maps.coverage, strict=True) if share < least]
    if short:
        reason = f"seed coverage below {least:.0%}: {', '.join(short)}"
        return _Mapped(maps.kept, ("coverage", "excluded", reason), tuple(written), _map_numbers(maps))
    maps = dataclasses.replace(maps, settings={**maps.settings, **prepared.settings})
    paths = maps.save(Path(start).parent, prefix=Path(start).name)
    written += [*paths, *(path.with_name(path.name.replace(".nii.gz", ".json")) for path in paths)]
    return _Mapped(maps.kept, None, tuple(written), _map_numbers(maps))


def _refuse_missing(files: RunFiles) -> None:
    if files.missing:
        raise InputError(f"missing: {', '.join(files.missing)}")


def _empty_record(task: RunTask) -> Record:
    files = task.files
    return {
        "participant_id": files.participant_id,
        "session_id": files.session_id,
        "run": files.run,
        "bold": str(files.bold.relative_to(task.images)),
    }


def _failed(task: RunTask, error: InputError) -> Record:
    """The record of a run whose images cannot be used. Paths start at their folder: a copied dataset says the same."""
    reason = str(error).replace(f"{task.images}/", "")
    return _empty_record(task) | {"stage": "images", "status": "failed", "reason": reason}


def read_run_motion(files: RunFiles, scan: Scan) -> tuple[NDArray[np.float64], int]:
    """Motion (T, 6) of the volumes that are analysed, and how many are discarded before them.

    Of fMRIPrep's, the larger of `scan.discard_volumes` and the volumes that it marks as not in steady state.
    """
    if files.confounds is None:
        assert files.motion is not None
        motion, discard = read_motion(files.motion), scan.normalised_discard_volumes
    else:
        table = read_table(files.confounds)
        motion = confound_columns(table, MOTION_COLUMNS, str(files.confounds))
        marked = [name for name in table if str(name).startswith("non_steady_state_outlier")]
        last = [int(np.flatnonzero(table[name].to_numpy() > 0).max(initial=-1)) + 1 for name in marked]
        discard = max([scan.discard_volumes, *last])
    if discard >= len(motion) - 1:
        raise InputError(f"{files.label}: {discard} of {len(motion)} volumes would be discarded")
    return motion[discard:], discard


def motion_gate(record: Record, gates: Participants) -> str | None:
    """Why the motion of a run leaves it out, or None."""
    shift, turn = record["max_translation_mm"], record["max_rotation_degrees"]
    if shift > gates.maximum_translation_mm:
        return f"head motion: translation {shift:.2f} mm, over {gates.maximum_translation_mm:g} mm"
    if turn > gates.maximum_rotation_degrees:
        return f"head motion: rotation {turn:.2f} degrees, over {gates.maximum_rotation_degrees:g} degrees"
    return None


def motion_numbers(motion: NDArray[np.float64]) -> Record:
    """Volumes, largest movement and mean displacement of a run."""
    moved = motion - motion[0]  # from the first analysed volume, whatever the program's reference was
    return {
        "n_volumes": len(motion),
        "max_translation_mm": round(float(np.abs(moved[:, :3]).max()), 6),
        "max_rotation_degrees": round(float(np.rad2deg(np.abs(moved[:, 3:]).max())), 6),
        "mean_fd_power_mm": round(float(framewise_displacement(motion, "power").mean()), 6),
    }


def _map_numbers(maps: SeedMaps) -> Record:
    coverage = {f"coverage_{name}": round(float(s), 6) for name, s in zip(maps.names, maps.coverage, strict=True)}
    return {
        "n_censored": int((~maps.kept).sum()),
        "rank": maps.rank,
        "dof": round(maps.dof, 6),
        "n_usable_voxels": len(maps.mask),
        **coverage,
    }


def _motion_table(motion: NDArray[np.float64], kept: NDArray[np.bool_] | None) -> pd.DataFrame:
    table = pd.DataFrame(motion, columns=list(MOTION_COLUMNS))
    table["framewise_displacement"] = framewise_displacement(motion, "power")
    return table if kept is None else table.assign(kept=kept)


def _prepared(task: RunTask, backend: Backend, beside: str) -> PreparedRun:
    """The motion and the images of a run: from its files, or by preprocessing it."""
    files = task.files
    if task.preprocess is not None:
        return prepare_raw(
            files,
            task.images,
            task.preprocess,
            backend,
            tr_s=task.tr_s,
            beside=beside,
            cache=_series_file(task),
        )
    motion, discard = read_run_motion(files, task.scan)
    return PreparedRun(motion, discard, _run(task, discard))


def _run(task: RunTask, discard: int) -> Run:
    files = task.files
    assert files.mask is not None
    common = {
        "bold": files.bold,
        "mask": files.mask,
        "tr_s": task.tr_s,
        "space": files.space,
        "discard_volumes": discard,
    }
    if files.confounds is not None:
        return Run(**common, confounds=files.confounds, fwhm_mm=task.scan.fwhm_mm)  # type: ignore[arg-type]
    tissues = {**dict(task.tissues), "global": files.mask}
    return Run(**common, motion=files.motion, tissues=tissues, fwhm_mm=task.scan.normalised_fwhm_mm)  # type: ignore[arg-type]


def _series_file(task: RunTask) -> Path | None:
    if task.work is None:
        return None
    folder = task.work / task.files.bold.parent.relative_to(task.images)
    return folder / f"{_prefix(task.files)}desc-masked_bold.series"


def _made_from(task: RunTask) -> str:
    """The hash of all that decides what a run's maps are."""
    files = task.files
    inputs = [files.bold, files.mask, files.confounds, files.motion, *(path for _, path in task.tissues)]
    raw = task.preprocess
    return digest_of(
        {
            "version": __version__,
            "files": [None if path is None else file_digest(path) for path in inputs],
            "tr_s": task.tr_s,
            "space": files.space,
            "scan": task.scan.model_dump(mode="json"),
            "preprocess": None if raw is None else settings_in_words(raw),
            "slice_times_s": None if raw is None else slice_times_of(files, task.images, raw),
            "denoise": dataclasses.asdict(task.denoise),
            "engine": task.engine,
            "seeds": task.seeds.model_dump(mode="json"),
            "atlas": read_card(task.seeds.atlas).digest if task.seeds.atlas else None,
            "gates": task.gates.model_dump(
                include={"maximum_translation_mm", "maximum_rotation_degrees", "minimum_seed_coverage"}
            ),
        }
    )
