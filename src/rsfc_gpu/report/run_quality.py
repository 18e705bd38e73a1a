"""The quality of the runs: motion, degrees of freedom, coverage of the seeds, motion against connectivity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from rsfc_gpu.files import bids_label
from rsfc_gpu.images.nifti import load_volume
from rsfc_gpu.report.exhibits import Exhibits
from rsfc_gpu.report.normalisation import normalisation_blocks
from rsfc_gpu.report.outputs import Outputs, setting
from rsfc_gpu.report.page import Block, Text
from rsfc_gpu.report.people import in_order_of_the_study
from rsfc_gpu.report.quality import by_group, qc_fc, seed_coverage
from rsfc_gpu.report.run_pictures import run_blocks
from rsfc_gpu.report.tables import fixed

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
    if "n_censored" in runs:
        runs = runs.assign(censored_percent=100 * runs["n_censored"].astype(float) / runs["n_volumes"].astype(float))
    yield from _measures(runs, outputs.study, exhibits)
    yield from _coverage(runs, outputs.study, exhibits)
    yield from _motion_and_connectivity(outputs, exhibits)
    yield from normalisation_blocks(outputs, exhibits)
    yield from run_blocks(outputs, exhibits)


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
    group = runs["group"].astype(object).fillna("no group").astype(str)
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
