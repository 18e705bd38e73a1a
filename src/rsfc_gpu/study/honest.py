"""The honest figure beside a circular one: the model is fitted without the tested, and its cluster found again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rsfc_gpu import group
from rsfc_gpu.backend import select_backend
from rsfc_gpu.backend.blas import one_blas_thread
from rsfc_gpu.clinical import Fold, HeldOutScores, held_out_scores
from rsfc_gpu.errors import InputError
from rsfc_gpu.group import Design, Fit
from rsfc_gpu.group.contrast import contrast_weights
from rsfc_gpu.group.topology import find_topology
from rsfc_gpu.images.nifti import load_volume
from rsfc_gpu.study.models import BuiltModel, build_design, cluster_label_file, file_prefix, model_folder

Vector = NDArray[np.float64]
Part = tuple[NDArray[np.int64], Design]


@dataclass(frozen=True, eq=False)
class FoundAgain:
    """A cluster found again without some of the participants, in every fold.

    Attributes
    ----------
    participants : (n,) those of the model. is_positive : (n,) their outcome, False too where it is missing.
    has_outcome : (n,) whether it is known. splits : the folds.
    z : by session, for each fold the mean z of all participants in what was found there, (n,), or None.
    """

    participants: tuple[str, ...]
    is_positive: NDArray[np.bool_]
    has_outcome: NDArray[np.bool_]
    splits: Sequence[Fold]
    z: Mapping[str, Sequence[Vector | None]]

    def scores(self, sessions: Sequence[str]) -> HeldOutScores:
        """Held-out mean z at one session or, of two sessions, held-out change from the first to the second."""
        values = list(self.z[sessions[0]])
        if len(sessions) == 2:
            pairs = zip(values, self.z[sessions[1]], strict=True)
            values = [None if before is None or after is None else after - before for before, after in pairs]
        of_training = {split.training.tobytes(): one for split, one in zip(self.splits, values, strict=True)}
        return held_out_scores(self.is_positive, lambda training: of_training[training.tobytes()], self.splits)


@dataclass(frozen=True, eq=False)
class Refit:
    """One model of one seed that can be fitted to some of its participants.

    Attributes
    ----------
    built : the model. mask : (X, Y, Z) where it was fitted.
    scans : the scans of its participants, at its own visits and others; their index is the study's.
    samples : (scans, X, Y, Z) their z maps.
    """

    built: BuiltModel
    scans: pd.DataFrame
    samples: NDArray[np.float32]
    mask: NDArray[np.bool_]
    affine: Vector

    @classmethod
    def of(cls, built: BuiltModel, seed: str, scans: pd.DataFrame, maps: Sequence[Path], out: Path) -> Refit:
        """Reads the maps of the model's participants; `maps` has one path per scan of the whole study, by position."""
        prefix = file_prefix(built.model.name, seed)
        mask, affine = load_volume(model_folder(out, built.model.name) / f"{prefix}desc-group_mask.nii.gz")
        mine = scans[scans["participant_id"].isin(built.scans["participant_id"])]
        samples = np.stack([load_volume(maps[int(at)])[0] for at in mine.index])
        return cls(built, mine, samples, mask > 0, affine)

    def rows_at(self, session: str) -> NDArray[np.int64]:
        """(n,) position of each participant's scan at a session, among `scans`; -1 without one."""
        here = np.flatnonzero((self.scans["session_id"] == session).to_numpy())
        position = pd.Series(here, index=self.scans["participant_id"].iloc[here])
        return position.reindex(people_of(self.built)["participant_id"]).fillna(-1).to_numpy(dtype=np.int64)

    def fit(self, part: Part | None) -> Fit | None:
        """The model of a part of the participants; None where it cannot be fitted."""
        if part is None:
            return None
        rows, design = part
        # Views: a copy of the volumes would take longer than the fit.
        samples = [self.samples[at] for at in self.scans.index.get_indexer(self.built.scans.index[rows])]
        try:
            backend = select_backend("cpu", threads=1)
            return group.fit(samples, design, mask=self.mask, affine=self.affine, backend=backend)
        except InputError:
            return None

    def survivors(self, fit: Fit, contrast: str, direction: str) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Cluster number of every voxel of the volume, 0 for none, (X Y Z,); and the numbers that survive."""
        model = self.built.model
        chosen = next(one for one in model.contrasts if one.name == contrast)
        weights = contrast_weights(fit.design, chosen.weights)[0]
        stat = fit.f(weights) if chosen.test == "F" else fit.t(weights if direction == "positive" else -weights)
        try:
            found = find_topology(stat, height_p=model.height_p, connectivity=model.connectivity)
        except InputError:  # too few degrees of freedom for a field
            return np.zeros(self.mask.size, dtype=np.int32), np.empty(0, dtype=np.int64)
        return found.mask.put(found.labels).ravel(), 1 + np.flatnonzero(found.clusters.q_fdr < model.q)


def people_of(built: BuiltModel) -> pd.DataFrame:
    """One row per participant of a model, in order of appearance."""
    return built.scans.drop_duplicates("participant_id").reset_index(drop=True)


def training_designs(built: BuiltModel, splits: Sequence[Fold]) -> list[Part | None]:
    """Rows and design of the training participants of each split; None where they cannot carry the model."""
    names = people_of(built)["participant_id"]
    found: list[Part | None] = []
    for split in splits:
        rows = np.flatnonzero(built.scans["participant_id"].isin(names.iloc[split.training]).to_numpy())
        try:
            found.append((rows, build_design(built.model, built.scans.iloc[rows])))
        except InputError:
            found.append(None)
    return found


def find_again(
    refit: Refit, clusters: Sequence[Any], parts: Sequence[Part | None], out: Path, *, jobs: int
) -> list[dict[str, list[Vector | None]]]:
    """For each cluster of a model and seed, by session: what each part of the participants finds of it.

    That is the mean z of every participant (n,) in the cluster that survives there and overlaps most with the given
    one, or None without such a cluster.
    """
    wholes = [_members(cluster, out) for cluster in clusters]
    rows = {str(session): refit.rows_at(str(session)) for session in refit.scans["session_id"].unique()}
    samples = refit.samples.reshape(len(refit.samples), -1)

    def of_part(part: Part | None) -> list[dict[str, Vector] | None]:
        fit = refit.fit(part)
        if fit is None:
            return [None] * len(clusters)
        maps: dict[tuple[str, str], tuple[NDArray[np.int32], NDArray[np.int64]]] = {}
        found: list[dict[str, Vector] | None] = []
        for cluster, whole in zip(clusters, wholes, strict=True):
            of_map = (cluster.contrast, "" if cluster.test == "F" else cluster.direction)
            if of_map not in maps:
                maps[of_map] = refit.survivors(fit, *of_map)
            inside = _best_overlap(*maps[of_map], whole)
            found.append(None if inside is None else {name: _means(samples, at, inside) for name, at in rows.items()})
        return found

    with one_blas_thread(), ThreadPoolExecutor(jobs) as pool:
        of_parts = list(pool.map(of_part, parts))
    return [
        {name: [None if one is None else one[name] for one in of_cluster] for name in rows}
        for of_cluster in zip(*of_parts, strict=True)
    ]


def _members(cluster: Any, out: Path) -> NDArray[np.int64]:
    labels, _ = load_volume(cluster_label_file(out, cluster))
    return np.flatnonzero(labels.ravel() == cluster.cluster)


def _best_overlap(
    labels: NDArray[np.int32], surviving: NDArray[np.int64], whole: NDArray[np.int64]
) -> NDArray[np.int64] | None:
    """Positions of the voxels of the surviving cluster that shares most with `whole`; None where none shares any."""
    shared = np.bincount(labels[whole], minlength=1 + surviving.max(initial=0))[surviving]
    if not shared.any():
        return None
    return np.flatnonzero(labels == surviving[int(np.argmax(shared))])


def _means(samples: NDArray[np.float32], rows: NDArray[np.int64], inside: NDArray[np.int64]) -> Vector:
    """(n,) mean over the voxels `inside` of the scans at `rows`, missing voxels left out; NaN without a scan."""
    means = np.full(len(rows), np.nan)
    there = rows >= 0
    values = samples[np.ix_(rows[there], inside)].astype(np.float64)
    known = np.isfinite(values)
    count = known.sum(axis=1)
    total = np.where(known, values, 0.0).sum(axis=1)
    means[there] = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
    return means
