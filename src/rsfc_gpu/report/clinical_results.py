"""The clinical results: associations with scatter plots, ROC curves, post hoc comparisons, and their tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from rsfc_gpu.report.exhibits import Exhibits
from rsfc_gpu.report.outputs import Outputs
from rsfc_gpu.report.page import Block, Text
from rsfc_gpu.report.post_hoc import post_hoc
from rsfc_gpu.report.roc_curve import roc_curve
from rsfc_gpu.report.scatter import scatter
from rsfc_gpu.report.tables import fixed, unbroken

MOST_FIGURES = 12  # of each kind; all results are in the tables
_CLUSTER = ["model", "contrast", "seed", "direction", "cluster"]
_CIRCULAR = (
    "Circular: the cluster was selected by the outcome, so the figure is inflated even where there is nothing to find. "
    "Beside it stands what is left when the cluster is found again without the participants it is tested in. That is "
    "still somewhat too large, since the cluster to look for was chosen in everybody."
)
_NAMES = {"cluster_name": "Cluster", "model": "Model", "seed": "Seed", "region": "Region", "direction": "Direction"}
_ASSOCIATION = _NAMES | {
    "measure": "Connectivity",
    "outcome": "Outcome",
    "covariates": "Held constant",
    "method": "Method",
    "n": "n",
    "n_missing": "missing",
    "r": "r",
    "interval": "95 % CI",
    "p": "p",
    "q": "q",
    "circular": "Circular",
    "cv_r_mean": "Cross-validated r",
    "cv_r_low": "lowest",
    "cv_r_high": "highest",
    "note": "Note",
}
_ROC = _NAMES | {
    "positive": "Detected",
    "n_positive": "n",
    "n_negative": "n others",
    "n_missing": "missing",
    "auc": "AUC",
    "interval": "95 % CI",
    "p": "p",
    "q": "q",
    "cutoff": "Cut-off",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "circular": "Circular",
    "cv_auc_mean": "Cross-validated AUC",
    "cv_auc_low": "lowest",
    "cv_auc_high": "highest",
    "note": "Note",
}
_POST_HOC = _NAMES | {
    "level": "Group",
    "n": "n",
    "n_missing": "missing",
    "mean_before": "Mean before",
    "sd_before": "SD",
    "mean_after": "Mean after",
    "sd_after": "SD",
    "t": "t",
    "df": "df",
    "p": "p",
    "q": "q",
    "effect": "d_z",
    "note": "Note",
}
_CORRELATION = ("r", "ci_low", "ci_high", "cv_r_mean", "cv_r_low", "cv_r_high")
_CHANGE = ("t", "effect", "mean_before", "sd_before", "mean_after", "sd_after")
_THREE = ("auc", "cutoff", "sensitivity", "specificity", "cv_auc_mean", "cv_auc_low", "cv_auc_high")
_FORMATS = {name: fixed(2) for name in (*_CORRELATION, *_CHANGE)} | {name: fixed(3) for name in _THREE}


def clinical_blocks(outputs: Outputs, exhibits: Exhibits) -> Iterator[Block]:
    """Associations, ROC curves and post hoc comparisons, each as a table and as figures of the strongest."""
    values = outputs.table("clinical/cluster_values.tsv", (*_CLUSTER, "participant_id", "session_id", "z"))
    people = outputs.table("clinical/participants.tsv", ("participant_id",))
    parts = (
        _associations(outputs, values, people, exhibits),
        _rocs(outputs, exhibits),
        _post_hocs(outputs, values, exhibits),
    )
    blocks = [block for part in parts for block in part]
    if not blocks:
        yield Text("No cluster survived that clinical measures could be compared with, or the study asks for none.")
    yield from blocks


def _associations(outputs: Outputs, values: pd.DataFrame, people: pd.DataFrame, exhibits: Exhibits) -> Iterator[Block]:
    table = outputs.table("clinical/associations.tsv", (*_CLUSTER, "measure", "outcome", "covariates", "p", "circular"))
    if table.empty:
        return
    yield Text("Associations of a cluster's mean z with outcomes", "heading")
    yield _table("associations", table, _ASSOCIATION, "Associations.", exhibits, outputs, _family(table))
    drawn = table[table["covariates"].isna() & (table["p"] < 0.05)].sort_values("p", kind="stable")
    yield from _limit_note(len(drawn), "associations with p < .05 and nothing held constant", "smallest p")
    for _, row in drawn.head(MOST_FIGURES).iterrows():
        x = _connectivity(_of_cluster(values, row), str(row["measure"]))
        joined = people.set_index("participant_id").reindex(x.index)
        if str(row["outcome"]) not in joined:
            continue
        figure = scatter(
            x,
            joined[str(row["outcome"])],
            x_label=f"{row['seed']} with {row['region']}: {_measure(str(row['measure']))}",
            y_label=_outcome(str(row["outcome"])),
            note=_two_lines(str(row.get("text", ""))) + ("\ncircular" if _true(row["circular"]) else ""),
            groups=joined["response"].fillna("unknown") if "response" in joined else None,
        )
        fitted = "Line: least squares, with the 95 % interval of its mean."
        caption = f"{_cluster_words(row)} and {_outcome(str(row['outcome']))}. {fitted}"
        name = f"scatter_{_key(row)}_{row['measure']}_{row['outcome']}"
        yield exhibits.picture(name, figure, _with_circularity(caption, row, "cv_r_mean", "r"))


def _rocs(outputs: Outputs, exhibits: Exhibits) -> Iterator[Block]:
    table = outputs.table("clinical/roc.tsv", (*_CLUSTER, "auc", "sensitivity", "specificity", "circular", "positive"))
    curves = outputs.table("clinical/roc_curves.tsv", (*_CLUSTER, "sensitivity", "false_positive_rate"))
    if table.empty:
        return
    yield Text("Telling responders apart", "heading")
    yield _table("roc", table, _ROC, "Receiver operating characteristic.", exhibits, outputs, _family(table))
    drawn = table.sort_values("auc", ascending=False, kind="stable")
    yield from _limit_note(len(drawn), "ROC curves", "largest area")
    for _, row in drawn.head(MOST_FIGURES).iterrows():
        curve = _of_cluster(curves, row)
        if curve.empty:
            continue
        figure = roc_curve(
            curve["false_positive_rate"],
            curve["sensitivity"],
            note=_area_lines(row),
            best=(float(row["sensitivity"]), float(row["specificity"])),
        )
        caption = f"{_cluster_words(row)}: ROC curve for {row['positive']}."
        yield exhibits.picture(f"roc_{_key(row)}", figure, _with_circularity(caption, row, "cv_auc_mean", "AUC"))


def _post_hocs(outputs: Outputs, values: pd.DataFrame, exhibits: Exhibits) -> Iterator[Block]:
    table = outputs.table("clinical/post_hoc.tsv", (*_CLUSTER, "level", "before", "after", "p"))
    if table.empty:
        return
    yield Text("Change within groups", "heading")
    note = (
        f"Paired t tests, before minus after. {_family(table)} The clusters were selected in the same scans: the tests "
        "tell which group changes and which way, and are no independent evidence that it changes."
    )
    yield _table("post_hoc", table, _POST_HOC, "Post hoc comparisons.", exhibits, outputs, note)
    keys = table[_CLUSTER].drop_duplicates()
    yield from _limit_note(len(keys), "clusters with post hoc comparisons", "first in the table")
    for _, row in keys.head(MOST_FIGURES).iterrows():
        tests = _of_cluster(table, row)
        before, after = str(tests["before"].iloc[0]), str(tests["after"].iloc[0])
        scans = _of_cluster(values, row)
        wide = scans.pivot_table(index=["participant_id", "response"], columns="session_id", values="z", observed=True)
        if not {before, after} <= set(wide.columns):
            continue
        notes = {
            str(test["level"]): f"t({test['df']:.0f}) = {_minus(test['t'])}, {_p(test['p'])}"
            for _, test in tests.iterrows()
        }
        figure = post_hoc(
            wide.reset_index(),
            group="response",
            before=before,
            after=after,
            y_label="Mean z of the cluster",
            notes=notes,
        )
        caption = (
            f"{_cluster_words(tests.iloc[0])}, {before} and {after}: each participant, and means with 95 % intervals."
        )
        yield exhibits.picture(f"post_hoc_{_key(row)}", figure, caption)


def _table(
    name: str,
    table: pd.DataFrame,
    headings: dict[str, str],
    title: str,
    exhibits: Exhibits,
    outputs: Outputs,
    note: str,
) -> Block:
    if "ci_low" in table:
        decimals = 3 if "auc" in table else 2
        ends = zip(table["ci_low"], table["ci_high"], strict=True)
        table = table.assign(
            interval=[unbroken(f"{fixed(decimals)(low)} to {fixed(decimals)(high)}") for low, high in ends]
        )
    present = {column: words for column, words in headings.items() if column in table and table[column].notna().any()}
    notes = [
        text
        for text in (note, _CIRCULAR if table.get("circular", pd.Series(dtype=object)).map(_true).any() else "")
        if text
    ]
    source = outputs.folder / f"clinical/{name}.tsv"
    return exhibits.table(name, table, title=title, headings=present, formats=_FORMATS, notes=notes, source=source)


def _family(table: pd.DataFrame) -> str:
    return f"q: Benjamini-Hochberg over all {int(table['p'].notna().sum())} tests of this table."


def _limit_note(count: int, what: str, which: str) -> Iterator[Block]:
    if count > MOST_FIGURES:
        yield Text(f"Drawn: {MOST_FIGURES} of {count} {what}, {which} first.", "note")


def _of_cluster(table: pd.DataFrame, row: pd.Series[Any]) -> pd.DataFrame:
    """The rows of `table` that belong to the cluster of `row`."""
    same = np.ones(len(table), dtype=bool)
    for name in _CLUSTER:
        same &= (table[name].astype(str) == str(row[name])).to_numpy()
    return table[same]


def _connectivity(scans: pd.DataFrame, measure: str) -> pd.Series[float]:
    """One z per participant: of the first session, or for "change" the last session minus the first."""
    sessions = list(dict.fromkeys(scans["session_id"].astype(str)))
    wide = scans.assign(session_id=scans["session_id"].astype(str)).pivot_table(
        index="participant_id", columns="session_id", values="z", observed=True
    )
    first = "baseline" if "baseline" in sessions else sessions[0]
    if measure != "change":
        return wide[measure if measure in sessions else first]
    later = [one for one in sessions if one != first]
    return wide[later[-1]] - wide[first] if later else wide[first] * np.nan


def _with_circularity(caption: str, row: pd.Series[Any], column: str, figure: str) -> str:
    if not _true(row["circular"]):
        return caption
    honest = row.get(column)
    beside = f"; cross-validated {figure} = {honest:.2f}" if isinstance(honest, float) and np.isfinite(honest) else ""
    return f"{caption} Circular: the cluster was selected by the outcome{beside}."


def _cluster_words(row: pd.Series[Any]) -> str:
    origin = f"cluster {row['cluster']} of {row['model']}, {row['contrast']}"
    return f"{row['seed']} with {row.get('region', 'cluster')} ({origin})"


def _key(row: pd.Series[Any]) -> str:
    return "_".join(str(row[name]) for name in _CLUSTER)


def _measure(measure: str) -> str:
    return "change of z" if measure == "change" else f"z, {measure}"


def _outcome(name: str) -> str:
    kind, _, visit = name.rpartition("_")
    return f"reduction at {visit} (%)" if kind == "reduction" else name.replace("_", " ")


def _two_lines(text: str) -> str:
    """Statistics in two lines of a small figure, broken before the p."""
    head, mark, tail = text.partition(", p ")
    return f"{head},\np {tail}" if mark else text


def _area_lines(row: pd.Series[Any]) -> str:
    lines = [f"AUC = {row['auc']:.3f}", f"95 % CI {row['ci_low']:.3f} to {row['ci_high']:.3f}", _p(row["p"])]
    if _true(row["circular"]):
        lines.append("circular")
    if np.isfinite(float(row.get("cv_auc_mean", np.nan))):
        lines.append(f"cross-validated {row['cv_auc_mean']:.3f}")
    return "\n".join(lines)


def _p(p: float) -> str:
    from rsfc_gpu.clinical.text import p_text

    return p_text(float(p))


def _minus(value: float) -> str:
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}")


def _true(value: object) -> bool:
    return str(value).lower() == "true"
