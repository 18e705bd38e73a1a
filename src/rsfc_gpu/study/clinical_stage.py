"""The clinical stage: Table 1, and what the connectivity of the clusters says about treatment and its outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from rsfc_gpu import __version__, clinical
from rsfc_gpu.clinical import CategoricalRow, Column, ContinuousRow, HeldOutScores
from rsfc_gpu.errors import InputError
from rsfc_gpu.report.tables import write_tsv
from rsfc_gpu.study.clusters import KEY
from rsfc_gpu.study.config import Study
from rsfc_gpu.study.honest import Refit, held_out
from rsfc_gpu.study.models import BuiltModel
from rsfc_gpu.study.outputs import digest_of, is_current, seal

ASSOCIATION_COLUMNS = [
    *KEY, "region", "measure", "outcome", "covariates", "method", "n", "n_missing", "r", "ci_low", "ci_high", "p",
    "dof", "q", "family_size", "circular", "cv_r_mean", "cv_r_low", "cv_r_high", "cv_folds_without", "cv_folds", "text",
    "note",
]  # fmt: skip
ROC_COLUMNS = [
    *KEY, "region", "outcome", "positive", "higher_is_positive", "auc", "ci_low", "ci_high", "variance", "p",
    "p_method", "cutoff", "sensitivity", "specificity", "n_positive", "n_negative", "circular", "cv_auc_mean",
    "cv_auc_low", "cv_auc_high", "cv_folds_without", "cv_folds", "text", "note",
]  # fmt: skip
POST_HOC_COLUMNS = [
    *KEY, "region", "level", "before", "after", "n", "mean_before", "sd_before", "mean_after", "sd_after", "difference",
    "ci_low", "ci_high", "t", "df", "p", "effect", "text", "note",
]  # fmt: skip
CIRCULAR = "circular: the cluster was selected by this outcome; see the cross-validated figure"


@dataclass(frozen=True, eq=False)
class Findings:
    """What the clinical stage works on.

    Attributes
    ----------
    people : one row per participant with an analysed scan. values : z of every significant cluster in every scan.
    models : with their designs, by name. clusters : the significant ones. maps : by seed, one per scan of the study.
    """

    study: Study
    people: pd.DataFrame
    values: pd.DataFrame
    models: Mapping[str, BuiltModel]
    clusters: pd.DataFrame
    maps: Mapping[str, Sequence[Path]]
    out: Path

    def of(self, models: Sequence[str]) -> list[Any]:
        """The significant clusters of some models."""
        return list(self.clusters[self.clusters["model"].isin(models)].itertuples(index=False))

    def z(self, cluster: Any, session: str) -> pd.Series[float]:
        """Mean z of a cluster at a session, in the order of `people`; NaN without a scan."""
        same = self.values["session_id"] == session
        for name in KEY:
            same &= self.values[name] == getattr(cluster, name)
        found = self.values[same].set_index("participant_id")["z"]
        return self.people["participant_id"].map(found).astype("float64")

    def is_circular(self, cluster: Any) -> bool:
        """Whether the cluster was selected by a difference between levels of response."""
        built = self.models[cluster.model]
        contrast = next(one for one in built.model.contrasts if one.name == cluster.contrast)
        return built.looks_at(contrast, "response")

    @property
    def after(self) -> str | None:
        """The follow-up visit that has scans, if there is one."""
        there = set(self.values["session_id"])
        return next((visit for visit in self.study.participants.follow_up if visit in there), None)


def analyse_where_needed(findings: Findings, jobs: int) -> None:
    """The tables of `analyse`, unless they are there from the same findings."""
    marker = findings.out / "clinical" / "clinical_record.json"
    study = findings.study
    frames = [findings.people, findings.values, findings.clusters, *(one.scans for one in findings.models.values())]
    made_from = digest_of([__version__, study.model_dump(mode="json"), [frame.to_csv() for frame in frames]])
    if is_current(marker, made_from) is None:
        tables = analyse(findings, jobs)
        seal(marker, made_from, [findings.out / "clinical" / f"{name}.tsv" for name in tables])


def analyse(findings: Findings, jobs: int) -> dict[str, pd.DataFrame]:
    """Every clinical table, written to clinical/ and returned by name."""
    honest = _honest_scores(findings, jobs)
    roc, curves = rocs(findings, honest)
    tables = {
        "participants": findings.people,
        **_table_one(findings.people, findings.study),
        "associations": associations(findings, honest),
        "roc": roc,
        "roc_curves": curves,
        "post_hoc": post_hoc(findings),
    }
    for name, table in tables.items():
        write_tsv(table, findings.out / "clinical" / f"{name}.tsv")
    return tables


def _table_one(people: pd.DataFrame, study: Study) -> dict[str, pd.DataFrame]:
    rows = [
        CategoricalRow(row.column, level=row.level, label=row.label, test=row.test)
        if row.kind == "categorical"
        else ContinuousRow(row.column, label=row.label, test=row.test)
        for row in study.report.rows
        if people[row.column].notna().any()
    ]
    there = [
        Column(column.name, dict(column.where))
        for column in study.report.columns
        if all(
            people[name].isin([value] if isinstance(value, str) else list(value)).any()
            for name, value in column.where.items()
        )
    ]
    names = {column.name for column in there}
    comparisons = [pair for pair in study.report.comparisons if set(pair) <= names]
    if not rows or not there:
        return {name: pd.DataFrame() for name in ("table_one", "table_one_summary", "table_one_tests")}
    levels = [
        row for row in rows if not isinstance(row, CategoricalRow) or row.level in (None, *people[row.column].unique())
    ]
    table = clinical.table_one(people, rows=levels, columns=there, comparisons=comparisons)
    return {"table_one": table.printed, "table_one_summary": table.summary, "table_one_tests": table.tests}


def _honest_scores(findings: Findings, jobs: int) -> dict[tuple[Any, ...], HeldOutScores | str]:
    """Held-out scores of every circular cluster that a table will show, or why there are none, by its key."""
    study = findings.study
    scores: dict[tuple[Any, ...], HeldOutScores | str] = {}
    wanted = [c for c in findings.of([*study.roc.models, *study.associations.models]) if findings.is_circular(c)]
    families: dict[tuple[str, str, str, str], list[Any]] = {}
    for cluster in wanted if study.roc.repeats else []:
        of_both = "" if cluster.test == "F" else cluster.direction
        families.setdefault((cluster.model, cluster.contrast, cluster.seed, of_both), []).append(cluster)
    refits: dict[tuple[str, str], Refit] = {}
    for (model, _, seed, _), clusters in families.items():
        if (model, seed) not in refits:
            refits = {(model, seed): Refit.of(findings.models[model], seed, findings.maps[seed], findings.out)}
        try:
            session = study.participants.baseline
            found: Sequence[HeldOutScores | str] = held_out(
                refits[model, seed], clusters, study.roc, findings.out, session=session, jobs=jobs
            )
        except InputError as error:
            found = [str(error)] * len(clusters)
        scores.update(zip([_key(cluster) for cluster in clusters], found, strict=True))
    return scores


def _key(cluster: Any) -> tuple[Any, ...]:
    return tuple(getattr(cluster, name) for name in KEY)


def _known(cluster: Any) -> dict[str, Any]:
    return {name: getattr(cluster, name) for name in [*KEY, "region"]}


def associations(findings: Findings, honest: Mapping[tuple[Any, ...], HeldOutScores | str]) -> pd.DataFrame:
    """Correlation of each cluster's z at baseline, and of its change, with the reduction at each visit."""
    study, people = findings.study, findings.people
    baseline = study.participants.baseline
    first = f"{study.participants.score}_{baseline}"
    scored = people[first].notna() if first in people.columns else people["response"].notna()
    rows = []
    for cluster in findings.of(study.associations.models):
        z = findings.z(cluster, baseline)
        measures = {"baseline": z}
        if study.associations.change and findings.after is not None:
            measures["change"] = findings.z(cluster, findings.after) - z
        for measure, values in measures.items():
            for visit in study.associations.outcomes:
                for held in ((), *((name,) for name in study.associations.partial)):
                    outcome = f"reduction_{visit}"
                    row = _known(cluster) | {
                        "measure": measure,
                        "outcome": outcome,
                        "covariates": ", ".join(held) or None,
                    }
                    covariates = people.loc[scored, list(held)] if held else None
                    row |= _association(values[scored], people.loc[scored, outcome], covariates)
                    if findings.is_circular(cluster):
                        row |= _honest_r(
                            row, people, honest.get(_key(cluster)) if measure == "baseline" else None, held
                        )
                    rows.append(row)
    table = pd.DataFrame(rows, columns=ASSOCIATION_COLUMNS)
    table["circular"] = table["circular"].eq(True)
    table["q"] = clinical.benjamini_hochberg(table["p"].to_numpy(dtype=np.float64))
    table["family_size"] = int(table["p"].notna().sum())
    return table


def _association(x: pd.Series[float], y: pd.Series[float], held: pd.DataFrame | None) -> dict[str, Any]:
    try:
        found = clinical.associate(x, y, held)
    except InputError as error:
        return {"note": str(error)}
    return asdict(found) | {"text": found.text}


def _honest_r(
    row: dict[str, Any], people: pd.DataFrame, scores: HeldOutScores | str | None, held: Sequence[str]
) -> dict[str, Any]:
    """What a circular association gets beside it; partial ones and changes are marked only."""
    marked = {"circular": True, "note": CIRCULAR}
    if scores is None or held or "method" not in row:
        return {**marked, "note": "circular: the cluster was selected by this outcome"}
    if isinstance(scores, str):
        return {**marked, "note": f"circular: the cluster was selected by this outcome; not cross-validated: {scores}"}
    y = people.loc[people["response"].notna(), row["outcome"]].to_numpy(dtype=np.float64)
    if len(y) != len(scores.is_positive):
        return {**marked, "note": "circular: the cluster was selected by this outcome; the model lacks participants"}
    known = np.isfinite(y)
    part = HeldOutScores(scores.scores[:, known], scores.is_positive[known], scores.folds, scores.folds_without)
    method: Literal["pearson", "spearman"] = "spearman" if "Spearman" in row["method"] else "pearson"
    found = clinical.cross_validated_correlation(part, y[known], method=method)
    return marked | {"cv_r_mean": found.mean, "cv_r_low": found.low, "cv_r_high": found.high} | _folds(found)


def _folds(found: clinical.CrossValidated) -> dict[str, int]:
    return {"cv_folds_without": found.folds_without, "cv_folds": found.folds * found.repeats}


def rocs(
    findings: Findings, honest: Mapping[tuple[Any, ...], HeldOutScores | str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """ROC of each cluster's baseline z for the response, and the curves."""
    choice, people = findings.study.roc, findings.people
    rows, curves = [], []
    for cluster in findings.of(choice.models):
        row: dict[str, Any] = _known(cluster) | {"outcome": "response", "positive": choice.positive}
        z = findings.z(cluster, findings.study.participants.baseline)
        inside = people["response"].notna() & z.notna()
        is_positive = (people["response"] == choice.positive)[inside].to_numpy()
        score = z[inside].to_numpy()
        try:
            # A score must be high in the positive; which way round is the direction of the cluster.
            higher = bool(score[is_positive].mean() >= score[~is_positive].mean()) if is_positive.any() else True
            found = clinical.roc(is_positive, score if higher else -score)
        except InputError as error:
            rows.append(row | {"circular": findings.is_circular(cluster), "note": str(error)})
            continue
        numbers = {name: getattr(found, name) for name in ROC_COLUMNS if hasattr(found, name)}
        row |= numbers | {"higher_is_positive": higher, "circular": False}
        row["cutoff"] = found.cutoff if higher else -found.cutoff
        if findings.is_circular(cluster):
            row |= {"circular": True, "note": CIRCULAR} | _honest_auc(honest.get(_key(cluster)), higher)
        rows.append(row)
        curve = found.curve if higher else found.curve.assign(threshold=-found.curve["threshold"])
        curves.append(curve.assign(**{name: getattr(cluster, name) for name in KEY}))
    shown = [*KEY, "threshold", "sensitivity", "specificity", "false_positive_rate"]
    joined = pd.concat(curves, ignore_index=True)[shown] if curves else pd.DataFrame(columns=shown)
    return pd.DataFrame(rows, columns=ROC_COLUMNS), joined


def _honest_auc(scores: HeldOutScores | str | None, higher: bool) -> dict[str, Any]:
    if scores is None or isinstance(scores, str):
        return {"note": f"circular: the cluster was selected by this outcome; not cross-validated: {scores or 'off'}"}
    turned = HeldOutScores(
        scores.scores if higher else -scores.scores, scores.is_positive, scores.folds, scores.folds_without
    )
    found = clinical.cross_validated_auc(turned)
    return {"cv_auc_mean": found.mean, "cv_auc_low": found.low, "cv_auc_high": found.high} | _folds(found)


def post_hoc(findings: Findings) -> pd.DataFrame:
    """Paired t tests of each cluster's z, before and after, within each level of response."""
    before, after = findings.study.participants.baseline, findings.after
    rows: list[dict[str, Any]] = []
    for cluster in findings.of(findings.study.associations.post_hoc) if after else []:
        table = pd.DataFrame({"before": findings.z(cluster, before), "after": findings.z(cluster, str(after))})
        for level in sorted(findings.people["response"].dropna().unique(), reverse=True):
            inside = (findings.people["response"] == level).to_numpy()
            row = _known(cluster) | {"level": level, "before": before, "after": after}
            try:
                found = clinical.paired_t(table["before"][inside], table["after"][inside])
                rows.append(row | asdict(found) | {"text": found.text})
            except InputError as error:
                rows.append(row | {"note": str(error)})
    return pd.DataFrame(rows, columns=POST_HOC_COLUMNS)
