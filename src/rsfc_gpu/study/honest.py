"""The honest figure beside a circular one: the model is fitted without the tested, and its cluster found again."""

from __future__ import annotations

from collections.abc import Sequence
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
from rsfc_gpu.clinical import HeldOutScores, held_out_scores, stratified_folds
from rsfc_gpu.errors import InputError
from rsfc_gpu.group import Design
from rsfc_gpu.group.contrast import contrast_weights
from rsfc_gpu.group.topology import find_topology
from rsfc_gpu.images.nifti import load_volume
from rsfc_gpu.study.config import RocChoice
from rsfc_gpu.study.models import BuiltModel, build_design, cluster_label_file, file_prefix, model_folder

Volume = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Refit:
    """One model of one seed that can be fitted to some of its participants.

    Attributes
    ----------
    built : the model. samples : (scans of the design, X, Y, Z) z maps. mask : (X, Y, Z) where the model was fitted.
    """

    built: BuiltModel
    samples: NDArray[np.float32]
    mask: NDArray[np.bool_]
    affine: NDArray[np.float64]

    @classmethod
    def of(cls, built: BuiltModel, seed: str, maps: Sequence[Path], out: Path) -> Refit:
        """Reads the maps of the model's scans; `maps` has one path per scan of the whole study, by position."""
        prefix = file_prefix(built.model.name, seed)
        mask, affine = load_volume(model_folder(out, built.model.name) / f"{prefix}desc-group_mask.nii.gz")
        samples = np.stack([load_volume(maps[int(at)])[0] for at in built.scans.index])
        return cls(built, samples, mask > 0, affine)

    @property
    def people(self) -> pd.DataFrame:
        """One row per participant of the model, in order of appearance."""
        return self.built.scans.drop_duplicates("participant_id").reset_index(drop=True)

    def designs(self, trainings: Sequence[NDArray[np.intp]]) -> list[tuple[NDArray[np.int64], Design] | None]:
        """Rows and design of each set of training participants; None where they cannot carry the model."""
        names = self.people["participant_id"]
        found: list[tuple[NDArray[np.int64], Design] | None] = []
        for training in trainings:
            rows = np.flatnonzero(self.built.scans["participant_id"].isin(names.iloc[training]).to_numpy())
            try:
                found.append((rows, build_design(self.built.model, self.built.scans.iloc[rows])))
            except InputError:
                found.append(None)
        return found

    def clusters(
        self, part: tuple[NDArray[np.int64], Design] | None, cluster: Any
    ) -> tuple[Volume, NDArray[np.int64]] | None:
        """What a part of the participants gives for the contrast and direction of `cluster`.

        Labels of the clusters, and the numbers of those that survive; None where the model cannot be fitted.
        """
        if part is None:
            return None
        rows, design = part
        model = self.built.model
        contrast = next(one for one in model.contrasts if one.name == cluster.contrast)
        backend = select_backend("cpu", threads=1)
        try:
            fit = group.fit(self.samples[rows], design, mask=self.mask, affine=self.affine, backend=backend)
        except InputError:
            return None
        weights = contrast_weights(design, contrast.weights)[0]
        if contrast.test == "F":
            stat = fit.f(weights)
        else:
            stat = fit.t(weights if cluster.direction == "positive" else -weights)
        found = find_topology(stat, height_p=model.height_p, connectivity=model.connectivity)
        return found.mask.put(found.labels), 1 + np.flatnonzero(found.clusters.q_fdr < model.q)


def held_out(
    refit: Refit, clusters: Sequence[Any], choice: RocChoice, out: Path, *, session: str, jobs: int
) -> list[HeldOutScores]:
    """For each cluster of one contrast and direction, the held-out mean z of every participant at `session`.

    In each fold the cluster is found again on the training participants: of those that survive, the one that overlaps
    most with the cluster.

    Raises
    ------
    InputError : fewer participants of an outcome than folds.
    """
    people = refit.people
    outcome = (people["response"] == choice.positive).to_numpy()
    settings: dict[str, Any] = {"folds": choice.folds, "repeats": choice.repeats, "seed": choice.seed}
    splits = [split.training for split in stratified_folds(outcome, **settings)]
    with one_blas_thread(), ThreadPoolExecutor(jobs) as pool:
        found = list(pool.map(lambda part: refit.clusters(part, clusters[0]), refit.designs(splits)))
    by_training = {training.tobytes(): one for training, one in zip(splits, found, strict=True)}
    at = _rows_at(refit, session)
    results = []
    for cluster in clusters:
        whole = load_volume(cluster_label_file(out, cluster))[0] == cluster.cluster

        def score(training: NDArray[np.intp], whole: Volume = whole) -> NDArray[np.float64] | None:
            one = by_training[training.tobytes()]
            return None if one is None else _score(refit.samples[at], one, whole)

        results.append(held_out_scores(outcome, score, **settings))
    return results


def _score(
    samples: NDArray[np.float32], found: tuple[Volume, NDArray[np.int64]], whole: Volume
) -> NDArray[np.float64] | None:
    labels, surviving = found
    overlaps = [int(((labels == number) & whole).sum()) for number in surviving]
    if not overlaps or max(overlaps) == 0:
        return None
    inside = labels == surviving[int(np.argmax(overlaps))]
    return np.asarray(samples[:, inside].mean(axis=1, dtype=np.float64))


def _rows_at(refit: Refit, session: str) -> NDArray[np.int64]:
    """Position of each participant's scan at a session."""
    scans = refit.built.scans.reset_index(drop=True)
    at = scans.index[scans["session_id"] == session]
    order = pd.Series(at, index=scans.loc[at, "participant_id"])
    return order.loc[refit.people["participant_id"]].to_numpy(dtype=np.int64)
