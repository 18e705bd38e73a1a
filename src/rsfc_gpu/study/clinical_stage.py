"""The clinical stage: Table 1, and what the connectivity of the clusters says about treatment and its outcome."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from rsfc_gpu import __version__, clinical
from rsfc_gpu.clinical import CategoricalRow, Column, ContinuousRow
from rsfc_gpu.errors import InputError
from rsfc_gpu.report.tables import write_tsv
from rsfc_gpu.study.circular import CrossValidation, cross_validate
from rsfc_gpu.study.clusters import KEY
from rsfc_gpu.study.config import Study, TableRow
from rsfc_gpu.study.findings import Findings
from rsfc_gpu.study.outputs import digest_of, file_digest, is_current, seal

_CROSS_VALIDATED = ["cv_n", "cv_folds_without", "cv_folds"]
_COUNTS = ["n", "n_missing", "n_positive", "n_negative", "dof", "df", *_CROSS_VALIDATED]
ASSOCIATION_COLUMNS = [
    *KEY, "region", "measure", "outcome", "covariates", "method", "n", "n_missing", "r", "ci_low", "ci_high", "p",
    "dof", "q", "family_size", "circular", "cv_r_mean", "cv_r_low", "cv_r_high", *_CROSS_VALIDATED, "text", "note",
]  # fmt: skip
ROC_COLUMNS = [
    *KEY, "region", "outcome", "positive", "higher_is_positive", "auc", "ci_low", "ci_high", "variance", "p",
    "p_method", "q", "family_size", "cutoff", "sensitivity", "specificity", "n_positive", "n_negative", "n_missing",
    "circular", "cv_auc_mean", "cv_auc_low", "cv_auc_high", *_CROSS_VALIDATED, "text", "note",
]  # fmt: skip
POST_HOC_COLUMNS = [
    *KEY, "region", "level", "before", "after", "n", "n_missing", "mean_before", "sd_before", "mean_after", "sd_after",
    "difference", "ci_low", "ci_high", "t", "df", "p", "q", "family_size", "effect", "text", "note",
]  # fmt: skip


def analyse_where_needed(findings: Findings, jobs: int) -> None:
    """The tables of `analyse`, unless they are there from the same findings."""
    marker = findings.out / "clinical" / "clinical_record.json"
    study = findings.study
    frames = [findings.people, findings.values, findings.clusters, *(one.scans for one in findings.models.values())]
    maps = [file_digest(path) for paths in findings.maps.values() for path in paths]  # what is found again lies in them
    made_from = digest_of([__version__, study.model_dump(mode="json"), [frame.to_csv() for frame in frames], maps])
    if is_current(marker, made_from) is None:
        tables = analyse(findings, jobs)
        seal(marker, made_from, [findings.out / "clinical" / f"{name}.tsv" for name in tables])


def analyse(findings: Findings, jobs: int) -> dict[str, pd.DataFrame]:
    """Every clinical table, written to clinical/ and returned by name."""
    again = cross_validate(findings, jobs)
    roc, curves = rocs(findings, again)
    tables = {
        "participants": findings.people,
        **_table_one(findings.people, findings.study),
        "associations": associations(findings, again),
        "roc": roc,
        "roc_curves": curves,
        "post_hoc": post_hoc(findings),
    }
    for name, table in tables.items():
        write_tsv(table, findings.out / "clinical" / f"{name}.tsv")
    return tables


def _table_one(people: pd.DataFrame, study: Study) -> dict[str, pd.DataFrame]:
    rows = [
        CategoricalRow(row.column, level=_level(row, people), label=row.label, test=row.test)
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
        return {name: pd.DataFrame(columns=["row"]) for name in ("table_one", "table_one_summary", "table_one_tests")}
    # A level that nobody of the analysed has is a row of zeros.
    unseen = {row.column: row.level for row in rows if isinstance(row, CategoricalRow) and row.level is not None}
    known = {
        name: pd.Categorical(people[name], [*people[name].dropna().unique(), level])
        for name, level in unseen.items()
        if level not in people[name].unique()
    }
    table = clinical.table_one(people.assign(**known), rows=rows, columns=there, comparisons=comparisons)
    return {"table_one": table.printed, "table_one_summary": table.summary, "table_one_tests": table.tests}


def _level(row: TableRow, people: pd.DataFrame) -> str | float | None:
    """The level of a row as its column holds it."""
    is_number = pd.api.types.is_numeric_dtype(people[row.column])
    return float(row.level) if is_number and row.level is not None else row.level


def associations(findings: Findings, again: CrossValidation) -> pd.DataFrame:
    """Correlation of each cluster's z at baseline, and of its change, with the reduction at each visit."""
    study = findings.study
    visits: dict[str, tuple[str, ...]] = {"baseline": (study.participants.baseline,)}
    if study.associations.change and findings.after is not None:
        visits["change"] = (study.participants.baseline, findings.after)
    rows = []
    for cluster in findings.of(study.associations.models):
        known = findings.known(cluster) | {"circular": findings.is_circular(cluster)}
        for measure, sessions in visits.items():
            z = [findings.z(cluster, session) for session in sessions]
            values = z[1] - z[0] if len(z) == 2 else z[0]
            for visit in study.associations.outcomes:
                for held in ((), *((name,) for name in study.associations.partial)):
                    row = known | {"measure": measure, "outcome": f"reduction_{visit}"}
                    row |= _association(findings, cluster, values, row["outcome"], held)
                    if row["circular"] and "r" in row:
                        row |= again.correlation(
                            cluster, sessions, findings.people, row["outcome"], held, row["method"]
                        )
                    rows.append(row)
    return _corrected(pd.DataFrame(rows, columns=ASSOCIATION_COLUMNS))


def _association(
    findings: Findings, cluster: Any, z: pd.Series[float], outcome: str, held: tuple[str, ...]
) -> dict[str, Any]:
    people, scored = findings.people, findings.scored(cluster)
    covariates = people.loc[scored, list(held)] if held else None
    row = {"covariates": ", ".join(held) or None}
    try:
        found = clinical.associate(z[scored], people.loc[scored, outcome], covariates)
    except InputError as error:
        return row | {"note": str(error)}
    return row | asdict(found) | {"text": found.text}


def _corrected(table: pd.DataFrame) -> pd.DataFrame:
    """The table with q over its tests, and their number; counts stay whole numbers where some are missing."""
    p = table["p"].to_numpy(dtype=np.float64)
    counts = {name: "Int64" for name in _COUNTS if name in table.columns}
    return table.assign(q=clinical.benjamini_hochberg(p), family_size=int(np.isfinite(p).sum())).astype(counts)


def rocs(findings: Findings, again: CrossValidation) -> tuple[pd.DataFrame, pd.DataFrame]:
    """ROC of each cluster's baseline z for the response, and the curves."""
    choice, people = findings.study.roc, findings.people
    baseline = findings.study.participants.baseline
    rows, curves = [], []
    for cluster in findings.of(choice.models):
        row: dict[str, Any] = findings.known(cluster) | {"outcome": "response", "positive": choice.positive}
        row["circular"] = findings.is_circular(cluster)
        z = findings.z(cluster, baseline)
        has_response = people["response"].notna() & findings.like_those_of(cluster)
        inside = has_response & z.notna()
        is_positive = (people["response"] == choice.positive)[inside].to_numpy()
        score = z[inside].to_numpy()
        try:
            # A score must be high in the positive; which way round is the direction of the cluster.
            higher = bool(score[is_positive].mean() >= score[~is_positive].mean()) if is_positive.any() else True
            found = clinical.roc(is_positive, score if higher else -score)
        except InputError as error:
            rows.append(row | {"note": str(error)})
            continue
        row |= {name: getattr(found, name) for name in ROC_COLUMNS if hasattr(found, name)}
        row |= {"higher_is_positive": higher, "cutoff": found.cutoff if higher else -found.cutoff}
        row["n_missing"] = int(has_response.sum()) - len(score)
        if row["circular"]:
            row |= again.auc(cluster, baseline, higher)
        rows.append(row)
        curve = found.curve if higher else found.curve.assign(threshold=-found.curve["threshold"])
        curves.append(curve.assign(**{name: getattr(cluster, name) for name in KEY}))
    shown = [*KEY, "threshold", "sensitivity", "specificity", "false_positive_rate"]
    joined = pd.concat(curves, ignore_index=True)[shown] if curves else pd.DataFrame(columns=shown)
    return _corrected(pd.DataFrame(rows, columns=ROC_COLUMNS)), joined


def post_hoc(findings: Findings) -> pd.DataFrame:
    """Paired t tests of each cluster's z, before and after, within each level of response."""
    before, after = findings.study.participants.baseline, findings.after
    rows: list[dict[str, Any]] = []
    for cluster in findings.of(findings.study.associations.post_hoc) if after else []:
        table = pd.DataFrame({"before": findings.z(cluster, before), "after": findings.z(cluster, str(after))})
        for level in sorted(findings.people["response"].dropna().unique(), reverse=True):
            inside = (findings.people["response"] == level).to_numpy()
            row = findings.known(cluster) | {"level": level, "before": before, "after": after}
            try:
                found = clinical.paired_t(table["before"][inside], table["after"][inside])
                rows.append(row | asdict(found) | {"text": found.text})
            except InputError as error:
                rows.append(row | {"note": str(error)})
    return _corrected(pd.DataFrame(rows, columns=POST_HOC_COLUMNS))
