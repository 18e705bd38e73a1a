"""The group stage: every model of the study for every seed, its statistic maps and its tables of clusters."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rsfc_gpu import __version__, group
from rsfc_gpu.errors import InputError
from rsfc_gpu.files import bids_label
from rsfc_gpu.group import AbsorbedCovariateWarning, Design, Fit, Stat
from rsfc_gpu.group.contrast import contrast_weights
from rsfc_gpu.images.nifti import save_volume
from rsfc_gpu.report.tables import write_tsv
from rsfc_gpu.study.config import Contrast, Model
from rsfc_gpu.study.device import DeviceChoice
from rsfc_gpu.study.outputs import digest_of, file_digest, is_current, seal
from rsfc_gpu.study.people import chosen

log = logging.getLogger(__name__)
Record = dict[str, Any]
CLUSTER_COLUMNS = [
    "model", "contrast", "seed", "test", "direction", "sign", "cluster", "voxels", "volume_mm3", "p_unc", "p_fwe",
    "q_fdr", "q_model", "significant", "peak", "df1", "df2", "peak_p_unc", "peak_p_fwe", "peak_q_fdr", "x", "y", "z",
    "region", "regions", "cell_means", "meaning",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class ModelTask:
    """One model of one seed.

    `table` holds the scans and what the design says of them, `maps` the z map of each; `device` does the voxel work.
    """

    model: Model
    design: Design
    seed: str
    table: pd.DataFrame
    maps: Sequence[Path]
    out: Path
    device: DeviceChoice


@dataclass(frozen=True, eq=False)
class BuiltModel:
    """A model with its scans, and its design or the reason why there is none."""

    model: Model
    table: pd.DataFrame
    design: Design | None
    problem: str | None = None

    @property
    def scans(self) -> pd.DataFrame:
        """The scans of the design, one per row of its matrix."""
        return self.table.iloc[[] if self.design is None else self.design.rows]

    @property
    def dropped(self) -> pd.DataFrame:
        """The scans that the design left out: participant_id, session_id, reason."""
        if self.design is None:
            return pd.DataFrame(columns=["participant_id", "session_id", "reason"])
        dropped = self.design.dropped
        ids = self.table.iloc[dropped["row"].to_numpy()][["participant_id", "session_id"]].reset_index(drop=True)
        return ids.assign(reason=dropped["reason"].to_numpy())

    def looks_at(self, contrast: Contrast, levels: str) -> bool:
        """Whether a contrast compares the levels of the column `levels` with each other."""
        if self.model.group != levels or self.design is None:
            return False
        weights = contrast_weights(self.design, contrast.weights)[0][:, : len(self.design.cells)]
        n_levels = len({cell.split("@")[0] for cell in self.design.cells})
        by_level = weights.reshape(len(weights), n_levels, -1)
        return not np.allclose(by_level, by_level[:, :1])


def built(model: Model, scans: pd.DataFrame) -> BuiltModel:
    """A model over the scans that there are; one that they cannot carry has a problem instead of a design."""
    table = scans_of(model, scans)
    try:
        return BuiltModel(model, table, build_design(model, table))
    except InputError as error:
        return BuiltModel(model, table, None, str(error))


def scans_of(model: Model, scans: pd.DataFrame) -> pd.DataFrame:
    """The scans that enter a model: its participants and its visits, in the order of `scans`; the index is kept."""
    return scans[chosen(scans, model.who) & scans["session_id"].isin(model.sessions)]


def build_design(model: Model, table: pd.DataFrame) -> Design:
    """The design of a model over a table of scans.

    Raises
    ------
    InputError : the scans cannot carry the model, or a contrast cannot be estimated; the message names the model.
    """
    if table.empty:
        who = "".join(f", {column} {' or '.join(levels)}" for column, levels in model.who.items())
        raise InputError(f"model {model.name}: no usable scan of session {' or '.join(model.sessions)}{who}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AbsorbedCovariateWarning)  # `Design.absorbed` is reported
            design = _design(model, table.reset_index(drop=True))
        for contrast in model.contrasts:
            contrast_weights(design, contrast.weights)
    except InputError as error:
        raise InputError(f"model {model.name}: {error}") from error
    return design


def _design(model: Model, table: pd.DataFrame) -> Design:
    subject, covariates = "participant_id", list(model.covariates)
    if model.kind == "one_sample":
        return group.one_sample(table, covariates=covariates, subject=subject)
    if model.kind == "regression":
        return group.regression(table, regressors=list(model.regressors), covariates=covariates, subject=subject)
    if model.kind == "paired":
        return group.paired(
            table, subject=subject, condition="session_id", levels=list(model.sessions), covariates=covariates
        )
    if model.group is None:
        raise InputError("needs a group, the column with its levels")
    levels = list(model.levels) or None
    if model.kind == "two_sample":
        return group.two_sample(
            table, group=model.group, levels=levels, covariates=covariates, variances=model.variances, subject=subject
        )
    order = {"session_id": list(model.sessions)} | ({model.group: levels} if levels else {})
    return group.flexible_factorial(
        table,
        subject=subject,
        group=model.group,
        time="session_id",
        levels=order,
        covariates=covariates,
        covariance=model.covariance,
    )


def process_model(task: ModelTask) -> Record:
    """Fit one model for one seed and write its maps and tables; the record tells the fit, or why there is none."""
    prefix = file_prefix(task.model.name, task.seed)
    folder = model_folder(task.out, task.model.name)
    marker = folder / f"{prefix}desc-fit_record.json"
    made_from = digest_of(
        {
            "version": __version__,
            "model": task.model.model_dump(mode="json"),
            "table": task.table.to_csv(),
            "maps": [file_digest(path) for path in task.maps],
        }
    )
    done = is_current(marker, made_from)
    if done is not None:
        return {**done, "reused": True}
    found: Record = {"model": task.model.name, "seed": task.seed}
    forget(task.out, task.model.name, task.seed)
    try:
        fit = group.fit(list(task.maps), task.design, backend=task.device.open())
        written: list[Path] = []
        for contrast in task.model.contrasts:
            written += _write_contrast(task.model, contrast, fit, folder, prefix)
    except InputError as error:
        forget(task.out, task.model.name, task.seed)  # contrasts before the one that cannot be tested
        return {**seal(marker, made_from, [], **found, skipped=str(error)), "reused": False}
    mask = folder / f"{prefix}desc-group_mask.nii.gz"
    save_volume(mask, fit.mask.astype(np.uint8), fit.affine)
    found |= {
        "dof": fit.dof,
        "fwhm_mm": (fit.smoothness.fwhm_voxels * fit.voxels.voxel_mm).tolist(),
        "resels": fit.smoothness.resels.tolist(),
        "voxels": len(fit.voxels),
        "cell_n": dict(zip(task.design.cells, task.design.matrix.sum(axis=0).astype(int).tolist(), strict=False)),
    }
    return {**seal(marker, made_from, [*written, mask], **found), "reused": False}


def _write_contrast(model: Model, contrast: Contrast, fit: Fit, folder: Path, prefix: str) -> list[Path]:
    """Maps and tables of a contrast; t in each direction on its own, as its clusters are corrected."""
    weights, _ = contrast_weights(fit.design, contrast.weights)
    stem = f"{prefix}contrast-{bids_label(contrast.name)}_"
    if contrast.test == "F":
        stat = fit.f(weights, contrast.name)
        directions = {"": stat}
    else:
        stat = fit.t(weights, contrast.name)
        directions = {"positive": stat}
        if contrast.directions == "both":
            directions["negative"] = fit.t(-weights, contrast.name)
    written = []
    for kind, values in ((stat.kind.lower() if stat.kind == "T" else "F", stat.values), ("effect", stat.effect)):
        path = folder / f"{stem}stat-{kind}_statmap.nii.gz"
        save_volume(path, values, stat.affine)
        written.append(path)
    for direction, one in directions.items():
        written += _write_clusters(
            model, contrast, one, fit, folder / f"{stem}{f'dir-{direction}_' if direction else ''}"
        )
    return written


def _write_clusters(model: Model, contrast: Contrast, stat: Stat, fit: Fit, stem: Path) -> list[Path]:
    direction = "negative" if stem.name.endswith("dir-negative_") else "positive"
    choice: dict[str, Any] = {"height_p": model.height_p, "connectivity": model.connectivity}
    table = group.clusters(stat, **choice)
    labels = group.cluster_labels(stat, **choice)
    peaks = group.peaks(stat, **choice).merge(table[["cluster", "q_fdr"]], on="cluster", how="left")
    signs = np.full(len(table), -1 if direction == "negative" else 1)
    if contrast.test == "F":
        signs = np.where(_at(stat.effect, stat.affine, table[["x", "y", "z"]].to_numpy(dtype=np.float64)) < 0, -1, 1)
    means = fit.cell_means()
    table = table.assign(
        contrast=contrast.name,
        test=contrast.test,
        direction=np.where(signs < 0, "negative", "positive"),
        sign=signs,
        significant=table["q_fdr"] < model.q,
        df1=stat.dof[0],
        df2=stat.dof[1],
        cell_means=[
            "; ".join(f"{cell} {float(np.nanmean(values[labels == number])):.3f}" for cell, values in means.items())
            for number in table["cluster"]
        ],
        meaning=[f"{contrast.weights} {'below' if sign < 0 else 'above'} 0" for sign in signs],
    )
    paths = [stem.with_name(f"{stem.name}{kind}") for kind in ("clusters.tsv", "peaks.tsv", "dseg.nii.gz")]
    write_tsv(table[[name for name in CLUSTER_COLUMNS if name in table.columns]], paths[0])
    write_tsv(peaks, paths[1])
    save_volume(paths[2], labels.astype(np.int32), stat.affine)
    return paths


def _at(values: NDArray[np.float32], affine: NDArray[np.float64], xyz_mm: NDArray[np.float64]) -> NDArray[np.float32]:
    points = (xyz_mm - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    i, j, k = np.rint(points).astype(np.int64).reshape(-1, 3).T
    return np.asarray(values[i, j, k])


def forget(out: Path, model: str, seed: str) -> None:
    """Remove what a former fit of a model and a seed left, which `collect_clusters` would take for results."""
    for path in model_folder(out, model).glob(f"{file_prefix(model, seed)}*"):
        path.unlink(missing_ok=True)


def forget_others(out: Path, wanted: Iterable[tuple[str, str]]) -> None:
    """Remove the results of every model and seed that are not `wanted` any more; what is not ours is left."""
    prefixes = {file_prefix(model, seed) for model, seed in wanted}
    for folder in sorted((out / "group").glob("model-*")):
        for record in sorted(folder.glob("*_desc-fit_record.json")):
            prefix = record.name.removesuffix("desc-fit_record.json")
            if prefix not in prefixes:
                log.info("%s*: not of this study any more, removed", folder / prefix)
                for path in folder.glob(f"{prefix}*"):
                    path.unlink(missing_ok=True)
        if not any(prefix.startswith(f"{folder.name}_seed-") for prefix in prefixes):
            for name in ("model.json", "design.tsv"):
                (folder / name).unlink(missing_ok=True)
            with suppress(OSError):  # something of somebody else's is in it
                folder.rmdir()


def model_folder(out: Path, model: str) -> Path:
    """The folder of a model."""
    return out / "group" / f"model-{bids_label(model)}"


def file_prefix(model: str, seed: str) -> str:
    """What the files of a model and a seed start with."""
    return f"model-{bids_label(model)}_seed-{bids_label(seed)}_"


def cluster_label_file(out: Path, cluster: Any) -> Path:
    """The label volume that a row of group/clusters.tsv refers to."""
    direction = "" if cluster.test == "F" else f"dir-{cluster.direction}_"
    name = f"{file_prefix(cluster.model, cluster.seed)}contrast-{bids_label(cluster.contrast)}_{direction}dseg.nii.gz"
    return model_folder(out, cluster.model) / name
