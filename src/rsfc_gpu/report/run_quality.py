"""The quality of the runs: motion, degrees of freedom, coverage of the seeds, motion against connectivity, carpets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rsfc_gpu.errors import InputError
from rsfc_gpu.files import bids_label
from rsfc_gpu.images.nifti import load_volume
from rsfc_gpu.report.exhibits import Exhibits
from rsfc_gpu.report.outputs import Outputs
from rsfc_gpu.report.page import Block, Text
from rsfc_gpu.report.people import in_order_of_the_study
from rsfc_gpu.report.quality import by_group, carpet, qc_fc, seed_coverage
from rsfc_gpu.report.tables import fixed

WORST_CARPETS = 10
_MEASURES = {
    "mean_fd_power_mm": "Mean displacement (mm)",
    "censored_percent": "Volumes scrubbed (%)",
    "dof": "Degrees of freedom",
}


def quality_blocks(outputs: Outputs, exhibits: Exhibits) -> Iterator[Block]:
    """Everything that tells whether the runs can be trusted."""
    flow = in_order_of_the_study(outputs.flow, outputs.study)
    runs = flow[flow["n_volumes"].notna()] if "n_volumes" in flow else flow.iloc[:0]
    if runs.empty:
        yield Text("No run came as far as its quality could be measured.", "warning")
        return
    runs = runs.assign(censored_percent=100 * runs["n_censored"].astype(float) / runs["n_volumes"].astype(float))
    yield from _measures(runs, outputs.study, exhibits)
    yield from _coverage(runs, outputs.study, exhibits)
    yield from _motion_and_connectivity(outputs, exhibits)
    yield from _carpets(outputs, exhibits)


def _measures(runs: pd.DataFrame, study: Mapping[str, Any], exhibits: Exhibits) -> Iterator[Block]:
    measures = {words: runs[name] for name, words in _MEASURES.items() if name in runs and runs[name].notna().any()}
    groups = visit_names(runs)
    minimum = setting(study, "minimum_dof")
    gates = {} if minimum is None else {_MEASURES["dof"]: (minimum, f"gate {minimum:g}")}
    figure = by_group(measures, list(groups), kept=runs["status"] == "kept", gates=gates)
    yield exhibits.picture("quality_runs", figure, "Head motion, scrubbing and degrees of freedom, run by run.")
    rows = []
    for words, values in measures.items():
        for group, part in values.astype(float).groupby(groups, sort=False):
            described = {"median": part.median(), "lowest": part.min(), "highest": part.max()}
            rows.append({"measure": words, "group": group, "runs": int(part.notna().sum())} | described)
    formats = {name: fixed(3) for name in ("median", "lowest", "highest")}
    yield exhibits.table("quality_by_group", pd.DataFrame(rows), title="Quality of the runs by group.", formats=formats)


def visit_names(runs: pd.DataFrame) -> pd.Series[str]:
    """The group of each run, with its session where the runs of a group have several."""
    group = runs["group"].fillna("no group").astype(str)
    several = runs["session_id"].groupby(group).transform("nunique") > 1
    return group.where(~several, group + " " + runs["session_id"].astype(str))


def _coverage(runs: pd.DataFrame, study: Mapping[str, Any], exhibits: Exhibits) -> Iterator[Block]:
    columns = [str(name) for name in runs.columns if str(name).startswith("coverage_")]
    seeds = {name.removeprefix("coverage_"): runs[name] for name in columns}
    if seeds:
        caption = "Share of each seed's voxels that could be used, run by run."
        figure = seed_coverage(seeds, minimum=setting(study, "minimum_seed_coverage", "minimum_coverage"))
        yield exhibits.picture("seed_coverage", figure, caption)


def _motion_and_connectivity(outputs: Outputs, exhibits: Exhibits) -> Iterator[Block]:
    table = outputs.table("group/qc_fc.tsv", ("seed", "n"))
    maps = {
        str(seed): outputs.folder / f"group/qcfc/seed-{bids_label(str(seed))}_stat-r_statmap.nii.gz"
        for seed in table["seed"]
    }
    found = {seed: load_volume(path)[0] for seed, path in maps.items() if path.is_file()}
    if found:
        caption = (
            "Head motion against connectivity (QC-FC): r of mean framewise displacement with z over participants, "
            "voxel by voxel. Where motion plays no part, 95 % of the voxels lie within the grey band."
        )
        figure = qc_fc({seed: values[np.isfinite(values)] for seed, values in found.items()}, n=int(table["n"].max()))
        yield exhibits.picture("qc_fc", figure, caption)
    if len(table):
        headings = {
            "seed": "Seed",
            "n": "Participants",
            "median_abs_r": "Median |r|",
            "share_p_below_05": "Share of voxels with p < .05",
        }
        formats = {"median_abs_r": fixed(3), "share_p_below_05": fixed(3)}
        source = outputs.folder / "group/qc_fc.tsv"
        yield exhibits.table("qc_fc", table, title="QC-FC by seed.", headings=headings, formats=formats, source=source)


def _carpets(outputs: Outputs, exhibits: Exhibits) -> Iterator[Block]:
    """Carpet plots of the ten runs that moved most on the page; of the others as files."""
    signals = outputs.run_files("desc-carpet_signals.npy")
    motion = outputs.run_files("desc-motion_timeseries.tsv")
    if not signals:
        return
    tables = {name: outputs.table(path.relative_to(outputs.folder).as_posix()) for name, path in motion.items()}
    mean_fd = {name: _mean_fd(tables.get(name)) for name in signals}
    threshold = setting(outputs.study, "fd_threshold_mm")
    order = sorted(signals, key=lambda name: -mean_fd[name])
    for place, name in enumerate(order):
        figure = _carpet_figure(signals[name], tables.get(name), threshold, _short(name))
        if place < WORST_CARPETS:
            caption = f"Carpet plot of {_short(name)} before cleaning; rank {place + 1} in motion."
            yield exhibits.picture(f"carpet_{name}", figure, caption)
        else:
            exhibits.file(f"carpet_{name}", figure)
    if len(order) > WORST_CARPETS:
        yield Text(f"Carpet plots of the other {len(order) - WORST_CARPETS} runs are in figures/carpet_*.png.", "note")


def _short(run: str) -> str:
    """The name of a run without its task and space, which the runs of a study share."""
    return " ".join(part for part in run.split("_") if not part.startswith(("task-", "space-")))


def _mean_fd(table: pd.DataFrame | None) -> float:
    if table is None or "framewise_displacement" not in table or table.empty:
        return -1.0
    return float(table["framewise_displacement"].mean())


def _carpet_figure(path: Path, table: pd.DataFrame | None, threshold: float | None, title: str) -> Any:
    try:
        signals = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable array ({error})") from error
    has_motion = table is not None and "framewise_displacement" in table and len(table) == signals.shape[1]
    return carpet(
        signals.astype(np.float32),
        fd_mm=table["framewise_displacement"] if has_motion and table is not None else None,
        kept=table["kept"].astype(bool) if has_motion and table is not None else None,
        fd_threshold_mm=threshold,
        title=title,
    )


def setting(study: Mapping[str, Any], *names: str) -> float | None:
    """The number that a section of the study file gives one of these names; None where none does."""
    for section in study.values():
        for name in names:
            if isinstance(section, Mapping) and isinstance(section.get(name), int | float):
                return float(section[name])
    return None
