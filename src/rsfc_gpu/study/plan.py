"""What a study would do with a dataset, found without reading a volume: files, tables, gates on motion, and designs."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from rsfc_gpu.bids import Dataset, RunFiles, find_runs, sidecar
from rsfc_gpu.denoise import framewise_displacement
from rsfc_gpu.errors import InputError
from rsfc_gpu.images.mask import Grid, check_same_grid, corner_distance_mm
from rsfc_gpu.images.nifti import BoldSource, load_image
from rsfc_gpu.preprocess import PreprocessSettings
from rsfc_gpu.study.config import Study
from rsfc_gpu.study.models import BuiltModel, build_design, scans_of
from rsfc_gpu.study.participant import Record, motion_gate, motion_numbers, read_run_motion
from rsfc_gpu.study.people import SCAN_COLUMNS, read_people
from rsfc_gpu.study.raw_run import bytes_needed, check_raw, raw_settings, written_grid
from rsfc_gpu.study.scans import participant_flow, scan_table
from rsfc_gpu.study.seed_choice import seeds_on


@dataclass(frozen=True, eq=False)
class Plan:
    """A dataset and a study that fit each other.

    Attributes
    ----------
    people : one row per participant, with scores and response.
    tr_s : repetition time of all runs, seconds. seeds : their names.
    problems : runs that will fail, by their label, as far as headers and tables tell.
    bytes_each : memory that a run needs, about.
    preprocess : what is done to raw runs; None where they come preprocessed.
    """

    study: Study
    dataset: Dataset
    people: pd.DataFrame
    tr_s: float
    seeds: tuple[str, ...]
    problems: dict[str, str]
    bytes_each: int
    preprocess: PreprocessSettings | None = None


def plan_study(
    bids: str | Path, study: Study, participants: Collection[str] | None = None, *, template: Path | None = None
) -> Plan:
    """The runs, the people and the seeds of a study, checked against each other.

    Parameters
    ----------
    template : that raw runs are normalised to; None: the default one.

    Raises
    ------
    InputError : whatever makes the study impossible on this dataset: spaces, columns, levels, ids, repetition times or
        grids that differ (of preprocessed runs), tissue masks that the denoising needs and the dataset lacks, a
        template that cannot be read or that no run needs.
    """
    scan = study.scan
    dataset = find_runs(bids, task=scan.task, space=scan.space, participants=participants, raw=scan.raw)
    people = read_people(dataset, study)
    if participants is not None:  # the others were not asked for: nothing is said of them
        asked = {label if label.startswith("sub-") else f"sub-{label}" for label in participants}
        people = people[people["participant_id"].isin(asked)].reset_index(drop=True)
    _check_scan_columns(dataset, study)
    _check_tissues(dataset, study)
    preprocess = _preprocess(dataset, study, template)
    times: dict[float, RunFiles] = {}
    problems: dict[str, str] = {}
    first: BoldSource | None = None
    bytes_each = 0
    for run in dataset.runs:
        try:
            if "the image" in run.missing:
                raise InputError(f"missing: {', '.join(run.missing)}")
            bold = BoldSource.open(run.bold)
        except InputError as error:
            problems[run.label] = str(error)
            continue
        if run.missing:
            problems[run.label] = f"missing: {', '.join(run.missing)}"
        elif run.mask is not None:
            try:
                check_same_grid("the mask", load_image(run.mask), bold.name, bold)
            except InputError as error:
                problems[run.label] = str(error)
        tr_s = _tr_s(run, bold, dataset, study)
        times.setdefault(tr_s, run)
        first = first or bold
        if preprocess is not None:
            bytes_each = max(bytes_each, bytes_needed(bold, preprocess))
            try:
                check_raw(run, dataset.images, preprocess, bold, tr_s)
            except InputError as error:
                problems[run.label] = str(error)
        elif bold.shape != first.shape or corner_distance_mm(bold.shape, bold.affine, first.affine) > 1e-3:
            raise InputError(f"{run.bold}: on another grid than {first.name}; all runs of a study need one grid")
    if first is None:
        raise InputError(
            f"{dataset.images}: none of {len(dataset.runs)} images can be read: {next(iter(problems.values()))}"
        )
    if len(times) > 1:
        listed = ", ".join(
            f"{seconds:g} s ({run.label})" for seconds, run in sorted(times.items(), key=lambda one: one[0])
        )
        raise InputError(f"{dataset.images}: runs with different repetition times: {listed}")
    grid: Grid = first if preprocess is None else written_grid(preprocess.voxel_mm)
    seeds = seeds_on(study.seeds, grid, dataset.runs[0].space)
    _check_seed_names(study, seeds.names)
    if preprocess is None:
        bytes_each = 6 * math.prod(first.shape) * first.n_volumes + 300_000_000
    return Plan(study, dataset, people, next(iter(times)), seeds.names, problems, bytes_each, preprocess)


def expected_flow(plan: Plan) -> pd.DataFrame:
    """The participant flow as far as motion and missing files decide it; other gates need the images."""
    records = []
    for run in plan.dataset.runs:
        bold = str(run.bold.relative_to(plan.dataset.images))
        record: Record = {
            "participant_id": run.participant_id,
            "session_id": run.session_id,
            "run": run.run,
            "bold": bold,
        }
        try:
            if run.label in plan.problems:
                raise InputError(plan.problems[run.label])
            if run.form == "raw":  # its motion is known after realignment only
                records.append(record | {"stage": "analysed", "status": "kept", "reason": None})
                continue
            motion, discard = read_run_motion(run, plan.study.scan)
            _check_lengths(run, len(motion) + discard)
        except InputError as error:
            records.append(record | {"stage": "images", "status": "failed", "reason": str(error)})
            continue
        record |= motion_numbers(motion) | {"n_discarded": discard}
        record["mean_fd_power_mm"] = float(framewise_displacement(motion, "power").mean())
        reason = motion_gate(record, plan.study.participants)
        gate = {"stage": "motion", "status": "excluded"} if reason else {"stage": "analysed", "status": "kept"}
        records.append(record | gate | {"reason": reason})
    return participant_flow(records, plan.people, plan.study)


def _check_lengths(run: RunFiles, n_rows: int) -> None:
    volumes = BoldSource.open(run.bold).n_volumes
    if n_rows != volumes:
        source = run.confounds or run.motion
        assert source is not None
        raise InputError(f"{source.name} has {n_rows} rows, the image has {volumes} volumes. Was the run trimmed?")


def expected_models(plan: Plan, flow: pd.DataFrame) -> list[BuiltModel]:
    """Every model over the scans that a flow keeps.

    Raises
    ------
    InputError : no scan at all, or a model that these scans cannot carry.
    """
    scans = scan_table(flow, plan.people)
    if scans.empty and plan.study.models:
        runs = flow[flow["bold"].notna()]
        raise InputError(
            f"{plan.dataset.images}: none of {len(runs)} runs can be used (rsfc check lists them); of the first, "
            f"{runs['reason'].iloc[0]}"
        )
    if plan.preprocess is not None:
        # Nobody knows the motion of raw runs before realignment; numbers without a pattern let the designs be built.
        any_mm = np.random.default_rng(0).uniform(0.05, 0.1, (2, len(scans)))
        scans = scans.assign(**dict(zip(SCAN_COLUMNS, any_mm, strict=True)))
    tables = [(model, scans_of(model, scans)) for model in plan.study.models]
    return [BuiltModel(model, table, build_design(model, table)) for model, table in tables]


def _preprocess(dataset: Dataset, study: Study, template: Path | None) -> PreprocessSettings | None:
    """What is done to the runs of a dataset, where they are raw."""
    if dataset.runs[0].form == "raw":
        if template is not None and len(load_image(template).shape) != 3:
            raise InputError(f"{template}: a template is a 3-D image, found shape {load_image(template).shape}")
        return raw_settings(study, template)
    if template is not None:
        raise InputError(
            f"{template}: a template is for raw runs, and the images of {dataset.images} are normalised already"
        )
    return None


def _check_tissues(dataset: Dataset, study: Study) -> None:
    normalised = [run for run in dataset.runs if run.form == "normalised"]
    missing = [name for name in study.denoise.tissue_signals if name not in ("global", *dataset.tissues)]
    if normalised and missing:
        space = normalised[0].space
        raise InputError(
            f"{dataset.images}: the denoising regresses out {', '.join(missing)} and there is no mask: expected "
            f"tpl-{space}/tpl-{space}_label-WM_mask.nii.gz and label-CSF, or other tissue_signals"
        )


def _check_scan_columns(dataset: Dataset, study: Study) -> None:
    name = "mean_fd_jenkinson_mm"
    columns = [*(column for model in study.models for column in (*model.covariates, *model.regressors))]
    columns += [*study.associations.partial, *(row.column for row in study.report.rows)]
    if name in columns and dataset.runs[0].form != "raw":
        raise InputError(
            f"{dataset.images}: {name} needs the native images, and these are normalised already; use mean_fd_power_mm"
        )


def _check_seed_names(study: Study, names: tuple[str, ...]) -> None:
    for model in study.models:
        for seed in model.seeds:
            if seed not in names:
                raise InputError(f"models.{model.name}: no seed {seed!r}; there are {', '.join(names)}")


def _tr_s(run: RunFiles, bold: BoldSource, dataset: Dataset, study: Study) -> float:
    """Repetition time of a run: its sidecar's, else its header's; it must be the study's where that says one."""
    stated = sidecar(run.bold, dataset.images).get("RepetitionTime", bold.tr_s)
    if stated is None:
        stated = study.scan.tr_s
    if not isinstance(stated, int | float) or not 0.1 <= stated <= 20:
        raise InputError(
            f"{run.bold}: no repetition time between 0.1 and 20 s in sidecar or header ({stated}); set scan.tr_s"
        )
    if study.scan.tr_s is not None and abs(stated - study.scan.tr_s) > 1e-3:
        raise InputError(f"{run.bold}: repetition time {stated:g} s, the study says scan.tr_s = {study.scan.tr_s:g}")
    return round(float(stated), 4)
