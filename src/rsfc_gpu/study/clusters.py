"""The clusters of all models in one table, their mean z in every scan, and the check of connectivity against motion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rsfc_gpu import __version__, group
from rsfc_gpu.clinical import benjamini_hochberg
from rsfc_gpu.errors import InputError
from rsfc_gpu.files import bids_label
from rsfc_gpu.images.nifti import load_volume, save_volume
from rsfc_gpu.report.tables import read_tsv, write_tsv
from rsfc_gpu.study.config import Model, Study
from rsfc_gpu.study.models import CLUSTER_COLUMNS, BuiltModel, cluster_label_file, file_prefix, model_folder
from rsfc_gpu.study.outputs import digest_of, file_digest, is_current, seal

KEY = ["model", "contrast", "seed", "direction", "cluster"]
VALUE_COLUMNS = [*KEY, "region", "participant_id", "session_id", "group", "response", "z"]


def collect_clusters(study: Study, seeds: Sequence[str], out: Path) -> pd.DataFrame:
    """group/clusters.tsv: the clusters of all models and seeds, with `q_model` over all clusters of a model."""
    parts = []
    for model in study.models:
        of_model = [read_tsv(path).assign(model=model.name, seed=seed) for seed, path in _tables(model, seeds, out)]
        filled = [table for table in of_model if len(table)]
        if filled:
            together = pd.concat(filled, ignore_index=True)
            parts.append(together.assign(q_model=benjamini_hochberg(together["p_unc"].to_numpy())))
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=CLUSTER_COLUMNS)
    table = table[CLUSTER_COLUMNS]
    write_tsv(table, out / "group" / "clusters.tsv")
    return table


def _tables(model: Model, seeds: Sequence[str], out: Path) -> list[tuple[str, Path]]:
    found = []
    for seed in model.seeds or seeds:
        for contrast in model.contrasts:
            stem = f"{file_prefix(model.name, seed)}contrast-{bids_label(contrast.name)}_"
            for direction in ("", "dir-positive_", "dir-negative_"):
                path = model_folder(out, model.name) / f"{stem}{direction}clusters.tsv"
                if path.is_file() and (direction == "") == (contrast.test == "F"):
                    found.append((seed, path))
    return found


def cluster_values(
    clusters: pd.DataFrame, scans: pd.DataFrame, maps: Mapping[str, Sequence[Path]], study: Study, out: Path
) -> pd.DataFrame:
    """clinical/cluster_values.tsv: mean z of every significant cluster in every scan, NaN voxels left out."""
    rows: list[pd.DataFrame] = []
    for seed, of_seed in clusters[clusters["significant"].astype(bool)].groupby("seed", sort=False):
        members = [_members(out, cluster) for cluster in of_seed.itertuples(index=False)]
        values = np.empty((len(members), len(scans)))
        for column, path in enumerate(maps[str(seed)]):
            flat = load_volume(path)[0].ravel()
            values[:, column] = [_mean(flat[at]) for at in members]
        for cluster, z in zip(of_seed.to_dict("records"), values, strict=True):
            known = {name: cluster[name] for name in [*KEY, "region"]}
            rows.append(_person_columns(scans, study).assign(**known, z=z))
    table = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=VALUE_COLUMNS)
    table = table[VALUE_COLUMNS]
    write_tsv(table, out / "clinical" / "cluster_values.tsv")
    return table


def _members(out: Path, cluster: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
    labels, _ = load_volume(cluster_label_file(out, cluster))
    return np.flatnonzero(labels.ravel() == cluster.cluster)


def _mean(values: np.ndarray[Any, Any]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean(dtype=np.float64)) if known.size else np.nan


def _person_columns(scans: pd.DataFrame, study: Study) -> pd.DataFrame:
    table = scans[["participant_id", "session_id"]].copy()
    table["group"] = scans[study.participants.group]
    table["response"] = scans["response"] if "response" in scans.columns else None
    return table


def cell_means(values: pd.DataFrame, models: Sequence[BuiltModel], out: Path) -> None:
    """group/cell_means.tsv: mean and SD of z in each cell of the model, for every significant cluster."""
    rows = []
    for one in models:
        if one.design is None:
            continue
        keys = ["participant_id", "session_id"]
        of_model = values[values["model"] == one.model.name]
        for key, of_cluster in of_model.groupby(KEY, sort=False):
            z = one.scans[keys].merge(of_cluster, on=keys, how="left", validate="one_to_one")["z"]
            for column, cell in enumerate(one.design.cells):
                inside = z[one.design.matrix[:, column] == 1]
                numbers = {
                    "cell": cell,
                    "mean": inside.mean(),
                    "sd": inside.std(ddof=1),
                    "n": int(inside.notna().sum()),
                }
                rows.append(dict(zip(KEY, key, strict=True)) | numbers)
    write_tsv(pd.DataFrame(rows, columns=[*KEY, "cell", "mean", "sd", "n"]), out / "group" / "cell_means.tsv")


def check_motion(scans: pd.DataFrame, maps: Mapping[str, Sequence[Path]], study: Study, out: Path) -> pd.DataFrame:
    """group/qc_fc.tsv and the maps of r between mean displacement and z, over the baseline scans.

    References
    ----------
    Ciric et al. 2017, NeuroImage 154:174-187 (QC-FC).
    """
    at = np.flatnonzero((scans["session_id"] == study.participants.baseline).to_numpy())
    table = scans.iloc[at][["participant_id", "mean_fd_power_mm"]].reset_index(drop=True)
    rows = []
    for seed, paths in maps.items():
        row = _motion_row(seed, [paths[int(position)] for position in at], table, out / "group" / "qcfc")
        if row is not None:
            rows.append(row)
    wanted = {f"seed-{bids_label(str(row['seed']))}" for row in rows}
    for path in (out / "group" / "qcfc").glob("seed-*"):
        if path.name.split("_")[0] not in wanted:
            path.unlink()  # of a seed that the study does not have any more
    found = pd.DataFrame(rows, columns=["seed", "n", "median_abs_r", "share_p_below_05"])
    write_tsv(found, out / "group" / "qc_fc.tsv")
    return found


def _motion_row(seed: str, paths: Sequence[Path], table: pd.DataFrame, folder: Path) -> dict[str, Any] | None:
    from scipy import stats

    marker = folder / f"seed-{bids_label(seed)}_stat-r_statmap.json"
    made_from = digest_of([__version__, table.to_csv(), [file_digest(path) for path in paths]])
    done = is_current(marker, made_from)
    if done is not None:
        return dict(done["row"])
    try:
        design = group.regression(table, regressors=["mean_fd_power_mm"], subject="participant_id")
        stat = group.fit(list(paths), design).t("mean_fd_power_mm")
    except InputError:
        return None  # too few scans, or all alike: there is nothing to correlate
    r = stat.values / np.sqrt(stat.values**2 + stat.dof[1])
    path = folder / f"seed-{bids_label(seed)}_stat-r_statmap.nii.gz"
    save_volume(path, r.astype(np.float32), stat.affine)
    t = stat.values[stat.mask].astype(np.float64)
    row = {
        "seed": seed,
        "n": len(design.rows),
        "median_abs_r": float(np.median(np.abs(r[stat.mask]))),
        "share_p_below_05": float((np.abs(t) > stats.t.isf(0.025, stat.dof[1])).mean()),
    }
    seal(marker, made_from, [path], row=row)
    return row
