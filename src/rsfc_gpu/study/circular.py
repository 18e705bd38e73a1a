"""The cross-validated figure beside each circular one, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from rsfc_gpu import clinical
from rsfc_gpu.clinical import CrossValidated, HeldOutScores, stratified_folds
from rsfc_gpu.errors import InputError
from rsfc_gpu.study.clusters import KEY
from rsfc_gpu.study.findings import Findings
from rsfc_gpu.study.honest import FoundAgain, Refit, find_again, people_of, training_designs

SELECTED = "circular: the cluster was selected by this outcome"
Cells = dict[str, Any]


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """Every circular cluster found again in the folds, by its key; or why it could not be."""

    found: Mapping[tuple[Any, ...], FoundAgain | str]

    def correlation(
        self,
        cluster: Any,
        sessions: Sequence[str],
        people: pd.DataFrame,
        outcome: str,
        held: Sequence[str],
        method: str,
    ) -> Cells:
        """Cells beside a circular correlation of a cluster's z, or of its change over two sessions, with an outcome.

        `held` are columns of `people` held constant, `method` is that of the association ("partial Spearman").
        """
        found = self.found[_key(cluster)]
        if isinstance(found, str):
            return _without(found)
        table = people.set_index("participant_id").loc[list(found.participants)]
        try:
            scores = found.scores(sessions)
            covariates = table[list(held)] if held else None
            kind: Literal["pearson", "spearman"] = "spearman" if "Spearman" in method else "pearson"
            figure = clinical.cross_validated_correlation(scores, table[outcome], covariates, method=kind)
        except InputError as error:
            return _without(str(error))
        return _cells(figure, "cv_r")

    def auc(self, cluster: Any, session: str, higher_is_positive: bool) -> Cells:
        """Cells beside a circular area under the ROC curve of a cluster's z at a session."""
        found = self.found[_key(cluster)]
        if isinstance(found, str):
            return _without(found)
        try:
            scores = found.scores([session])
            known = np.where(found.has_outcome, scores.scores, np.nan)  # as the circular figure, of these alone
            turned = HeldOutScores(
                known if higher_is_positive else -known,
                scores.is_positive,
                scores.folds,
                scores.folds_without,
            )
            return _cells(clinical.cross_validated_auc(turned), "cv_auc")
        except InputError as error:
            return _without(str(error))


def cross_validate(findings: Findings, jobs: int) -> CrossValidation:
    """Finds every circular cluster that a table will show again, without the participants it is tested in."""
    study = findings.study
    models = dict.fromkeys([*study.roc.models, *study.associations.models])
    wanted = [cluster for cluster in findings.of(list(models)) if findings.is_circular(cluster)]
    found: dict[tuple[Any, ...], FoundAgain | str] = {}
    for model in models:
        of_model = [cluster for cluster in wanted if cluster.model == model]
        try:
            found |= _of_model(findings, model, of_model, jobs)
        except InputError as error:
            found |= {_key(cluster): str(error) for cluster in of_model}
    return CrossValidation(found)


def _of_model(
    findings: Findings, model: str, clusters: Sequence[Any], jobs: int
) -> dict[tuple[Any, ...], FoundAgain | str]:
    choice = findings.study.roc
    if not clusters:
        return {}
    if not choice.repeats:
        raise InputError("roc.repeats is 0")
    built = findings.models[model]
    people = people_of(built)
    is_positive = np.asarray(people["response"] == choice.positive, dtype=bool)
    has_outcome = people["response"].notna().to_numpy()
    splits = list(stratified_folds(is_positive, folds=choice.folds, repeats=choice.repeats, seed=choice.seed))
    parts = training_designs(built, splits)
    participants = tuple(people["participant_id"])
    found: dict[tuple[Any, ...], FoundAgain | str] = {}
    for seed in dict.fromkeys(cluster.seed for cluster in clusters):
        of_seed = [cluster for cluster in clusters if cluster.seed == seed]
        refit = Refit.of(built, seed, findings.scans, findings.maps[seed], findings.out)
        for cluster, z in zip(of_seed, find_again(refit, of_seed, parts, findings.out, jobs=jobs), strict=True):
            found[_key(cluster)] = FoundAgain(participants, is_positive, has_outcome, splits, z)
    return found


def _key(cluster: Any) -> tuple[Any, ...]:
    return tuple(getattr(cluster, name) for name in KEY)


def _without(reason: str) -> Cells:
    return {"note": f"{SELECTED}; not cross-validated: {reason}"}


def _cells(found: CrossValidated, name: str) -> Cells:
    return {
        f"{name}_mean": found.mean,
        f"{name}_low": found.low,
        f"{name}_high": found.high,
        "cv_n": found.n,
        "cv_folds_without": found.folds_without,
        "cv_folds": found.folds * found.repeats,
        "note": f"{SELECTED}; see the cross-validated figure",
    }
