"""What the clinical stage works on: the analysed people, the significant clusters, and their mean z in every scan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rsfc_gpu.group.contrast import contrast_weights
from rsfc_gpu.study.clusters import KEY
from rsfc_gpu.study.config import Study
from rsfc_gpu.study.models import BuiltModel
from rsfc_gpu.study.people import chosen


@dataclass(frozen=True, eq=False)
class Findings:
    """What the clinical stage works on.

    Attributes
    ----------
    people : one row per participant with an analysed scan. scans : one row per analysed scan.
    values : z of every significant cluster in every scan. clusters : the significant ones.
    models : with their designs, by name. maps : by seed, one per row of `scans`.
    """

    study: Study
    people: pd.DataFrame
    scans: pd.DataFrame
    values: pd.DataFrame
    models: Mapping[str, BuiltModel]
    clusters: pd.DataFrame
    maps: Mapping[str, Sequence[Path]]
    out: Path

    def of(self, models: Sequence[str]) -> list[Any]:
        """The significant clusters of some models."""
        return list(self.clusters[self.clusters["model"].isin(models)].itertuples(index=False))

    def known(self, cluster: Any) -> dict[str, Any]:
        """What a row of a table says first: which cluster it is about."""
        return {name: getattr(cluster, name) for name in [*KEY, "region"]}

    def z(self, cluster: Any, session: str) -> pd.Series[float]:
        """Mean z of a cluster at a session, in the order of `people`; NaN without a scan."""
        same = self.values["session_id"] == session
        for name in KEY:
            same &= self.values[name] == getattr(cluster, name)
        found = self.values[same].set_index("participant_id")["z"]
        return self.people["participant_id"].map(found).astype("float64")

    def scored(self, cluster: Any) -> pd.Series[bool]:
        """Whose outcome may be held against a cluster: of the kind of people in its model, and treated.

        They have a first score, and so an outcome that may be missing; without scores, a response.
        """
        choice = self.study.participants
        first = f"{choice.score}_{choice.baseline}"
        known = self.people[first if first in self.people.columns else "response"].notna()
        return known & chosen(self.people, choice.treated) & self.like_those_of(cluster)

    def like_those_of(self, cluster: Any) -> pd.Series[bool]:
        """Who belongs to the participants that the model of a cluster is about, missing covariates aside."""
        model = self.models[cluster.model].model
        group = {model.group: model.levels} if model.group is not None and model.levels else {}
        return chosen(self.people, model.who) & chosen(self.people, group)

    @property
    def after(self) -> str | None:
        """The follow-up visit that has scans, if there is one."""
        there = set(self.values["session_id"])
        return next((visit for visit in self.study.participants.follow_up if visit in there), None)

    def is_circular(self, cluster: Any) -> bool:
        """Whether the outcome of treatment took part in selecting a cluster, so that testing it again is no test.

        That is where the contrast compares levels of response, tests a slope on response, a reduction rate or a
        later score, or where the model takes participants by one of these. Patients against controls is not circular,
        nor is the mean change over levels of response.
        """
        built, choice = self.models[cluster.model], self.study.participants
        outcomes = {"response", *(f"reduction_{visit}" for visit in choice.follow_up)}
        outcomes |= {f"{choice.score}_{visit}" for visit in choice.follow_up}
        contrast = next(one for one in built.model.contrasts if one.name == cluster.contrast)
        if outcomes & set(built.model.who) or built.looks_at(contrast, "response"):
            return True
        if built.design is None:
            return False
        tested = np.flatnonzero(contrast_weights(built.design, contrast.weights)[0].any(axis=0))
        names = {built.design.columns[column].split("[")[0] for column in tested}
        return bool(outcomes & names)
