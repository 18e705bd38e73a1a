"""From runs to scans: who is in, which runs stand for a visit, and the table of the participant flow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rsfc_gpu import __version__
from rsfc_gpu.bids import Dataset, RunFiles
from rsfc_gpu.images.nifti import load_volume, save_volume
from rsfc_gpu.study.config import Study
from rsfc_gpu.study.outputs import digest_of, file_digest, is_current, seal
from rsfc_gpu.study.participant import Record, map_path

FLOW_COLUMNS = [
    "participant_id", "session_id", "run", "group", "stage", "status", "reason", "n_volumes", "n_discarded",
    "n_censored", "rank", "dof", "max_translation_mm", "max_rotation_degrees", "mean_fd_power_mm",
    "n_usable_voxels",
]  # fmt: skip


def participant_flow(records: Sequence[Record], people: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Every run, and everybody without one: stage, status and reason.

    One bad visit leaves the participant out, and one run stands for a visit, where the study says so.
    """
    choice = study.participants
    flow: pd.DataFrame = pd.DataFrame.from_records(sorted(records, key=lambda record: str(record["bold"])))
    coverage = sorted(name for name in flow.columns if str(name).startswith("coverage_"))
    for column in FLOW_COLUMNS:
        if column not in flow.columns:
            flow[column] = None
    flow["session_id"] = flow["session_id"].astype(object).where(flow["session_id"].notna(), choice.baseline)
    if study.scan.runs == "first":
        kept = flow["status"] == "kept"
        later = kept & flow[kept].duplicated(["participant_id", "session_id"]).reindex(flow.index, fill_value=False)
        flow.loc[later, "status"] = "excluded"
        flow.loc[later, "reason"] = "the first usable run of the visit was taken (scan.runs)"
    if choice.every_visit:
        _leave_out_whole_participants(flow)
    absent = people[~people["participant_id"].isin(flow["participant_id"])]
    reasons = absent[choice.reason_column] if choice.reason_column else pd.Series(None, index=absent.index)
    rows = pd.DataFrame(
        {
            "participant_id": absent["participant_id"],
            "stage": "enrolment",
            "status": "excluded",
            "reason": reasons.where(reasons.notna(), "no images").astype(object),
        }
    )
    flow = pd.concat([flow, rows], ignore_index=True) if len(rows) else flow
    flow["group"] = flow["participant_id"].map(people.set_index("participant_id")[choice.group])
    flow = flow.sort_values(["participant_id", "session_id", "run"], kind="stable", ignore_index=True)
    of_raw_runs = [name for name in ("mean_fd_jenkinson_mm", "normalisation_dice") if name in flow.columns]
    return flow[[*FLOW_COLUMNS, *of_raw_runs, *coverage, "bold"]]


def _leave_out_whole_participants(flow: pd.DataFrame) -> None:
    """A visit without any kept run takes the participant's other visits with it."""
    kept = flow["status"] == "kept"
    for person, rows in flow.groupby("participant_id"):
        lost = [str(visit) for visit, runs in rows.groupby("session_id") if not (runs["status"] == "kept").any()]
        at = rows.index[kept.loc[rows.index]]
        if lost and len(at):
            flow.loc[at, "stage"] = "participant"
            flow.loc[at, "status"] = "excluded"
            flow.loc[at, "reason"] = f"another visit of {person} was left out: {', '.join(lost)}"


def scan_table(flow: pd.DataFrame, people: pd.DataFrame) -> pd.DataFrame:
    """One row per analysed visit: its ids, mean displacements and dof, and the participant's columns."""
    kept = flow[flow["status"] == "kept"]
    how = {"mean_fd_power_mm": "mean", "mean_fd_jenkinson_mm": "mean", "dof": "sum", "n_usable_voxels": "min"}
    columns = [name for name in how if name in kept.columns]
    visits = (
        kept.groupby(["participant_id", "session_id"], as_index=False, sort=True)
        .agg({name: how[name] for name in columns})
        .astype(dict.fromkeys(columns, "float64"))
    )
    return visits.merge(people, on="participant_id", how="left", validate="many_to_one")


def scan_maps(
    scans: pd.DataFrame, flow: pd.DataFrame, dataset: Dataset, study: Study, out: Path, seeds: Sequence[str]
) -> dict[str, list[Path]]:
    """The z map of every scan, by seed, in the order of `scans`; several runs of a visit are averaged."""
    kept = flow[flow["status"] == "kept"].set_index("bold")
    dof = kept["dof"].to_dict()
    runs: dict[tuple[str, str], list[RunFiles]] = {}
    for run in dataset.runs:
        if str(run.bold.relative_to(dataset.images)) in dof:
            runs.setdefault((run.participant_id, run.session_id or study.participants.baseline), []).append(run)
    paths: dict[str, list[Path]] = {seed: [] for seed in seeds}
    for key in zip(scans["participant_id"], scans["session_id"], strict=True):
        of_visit = runs[key]
        weights = [float(dof[str(run.bold.relative_to(dataset.images))]) for run in of_visit]
        for seed in seeds:
            sources = [map_path(out, run, dataset.images, seed) for run in of_visit]
            paths[seed].append(sources[0] if len(sources) == 1 else _averaged(sources, of_visit[0], weights))
    return paths


def _averaged(sources: Sequence[Path], first: RunFiles, weights: Sequence[float]) -> Path:
    """The mean of the maps of a visit's runs, weighted by degrees of freedom; NaN where one lacks the voxel."""
    path = sources[0].with_name(sources[0].name.replace(f"_run-{first.run}", ""))
    if path in sources:  # runs told apart by other entities, or one without a number: theirs is theirs
        path = path.with_name(path.name.replace("_statmap", "_desc-average_statmap"))
    marker = path.with_name(path.name.replace(".nii.gz", ".json"))
    made_from = digest_of(
        [__version__, [source.name for source in sources], list(weights), [file_digest(source) for source in sources]]
    )
    if is_current(marker, made_from) is None:
        share = np.asarray(weights) / np.sum(weights)
        mean: Any = 0.0
        for source, weight in zip(sources, share, strict=True):
            values, affine = load_volume(source)
            mean = mean + weight * values.astype(np.float64)
        save_volume(path, mean.astype(np.float32), affine)
        seal(marker, made_from, [path], Runs=[source.name for source in sources], Weights=share.tolist())
    return path


def note_missing_variables(flow: pd.DataFrame, dropped: Mapping[str, pd.DataFrame]) -> None:
    """Say in the flow, for kept runs, which models lack them and why."""
    notes: dict[tuple[str, str], list[str]] = {}
    for model, rows in dropped.items():
        for row in rows.itertuples(index=False):
            notes.setdefault((str(row.participant_id), str(row.session_id)), []).append(f"not in {model}: {row.reason}")
    for key, texts in notes.items():
        at = (flow["participant_id"] == key[0]) & (flow["session_id"] == key[1]) & (flow["status"] == "kept")
        flow.loc[at, "reason"] = "; ".join(texts)
