"""Table 1: who the participants are, by group, and whether the groups differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rsfc_gpu.clinical.rows import Row, inferred_row, is_number
from rsfc_gpu.clinical.text import NOTHING, p_value_text
from rsfc_gpu.clinical.two_groups import GroupTest
from rsfc_gpu.clinical.values import Vector, nearest, require_column
from rsfc_gpu.errors import InputError

Members = NDArray[np.bool_]
_TEST_COLUMNS = ["row", "group_a", "group_b", *(field.name for field in fields(GroupTest)), "text", "why_not"]


@dataclass(frozen=True)
class Column:
    """A group: the participants whose value in each named column of `where` is the given one, or one of a tuple."""

    name: str
    where: Mapping[str, object]


@dataclass(frozen=True, eq=False)
class TableOne:
    """A participant table, as numbers and as it is printed.

    Attributes
    ----------
    summary : one line per row and group: row, group, n, missing, then mean and sd, or count and percent. In a group
        without any value (n = 0), such as controls for the duration of an illness, nothing counts as missing.
    tests : one line per row and comparison: row, group_a, group_b, test, statistic, df, p, effect_name, effect, n_a,
        n_b, text; where no test was possible p is NaN and `why_not` says why.
    printed : text, ready for a report or a file. One line per row; a column per group ("-" where nobody has a value),
        the participants with a missing value, of the groups in which anybody has one, and per comparison p and the test
        with its effect size.
    """

    summary: pd.DataFrame
    tests: pd.DataFrame
    printed: pd.DataFrame

    def __str__(self) -> str:
        return self.printed.to_string()


def table_one(
    table: pd.DataFrame,
    *,
    rows: Sequence[str | Row],
    columns: Sequence[str | Column],
    comparisons: Sequence[tuple[str, str]] = (),
) -> TableOne:
    """Table 1 of a study: each row described in each group, and the named pairs of groups compared.

    Parameters
    ----------
    table : one line per participant.
    rows : column names, or ContinuousRow and CategoricalRow. The kind of a plain name is inferred: of 0/1 and
        true/false the share of 1 or true; more than two different numbers are continuous; all else is categorical.
    columns : the groups, which may overlap (all patients, and responders among them): `Column`, or a bare value, the
        participants who have it in the one column of text that knows it.
    comparisons : pairs of group names; no participant may be in both.

    Notes
    -----
    Continuous rows: independent t test, Student's, or Welch's where Levene's test has p < 0.05, which is how the output
    of SPSS is read. Categorical rows: Pearson's chi-square without continuity correction, or Fisher's exact test where
    an expected count is below 5 (unless several levels have more than two million tables to enumerate: chi-square).
    Missing values are left out row by row, and counted among those whom the row is about. The tests are not corrected
    for their number.

    Examples
    --------
    >>> table_one(
    ...     participants,
    ...     rows=["age", CategoricalRow("sex", "female", label="Female"), CategoricalRow("ssri", 1, test="none")],
    ...     columns=[Column("MDD", {"group": ("responder", "nonresponder")}), "responder", "nonresponder", "HC"],
    ...     comparisons=[("MDD", "HC"), ("responder", "nonresponder")],
    ... ).printed  # doctest: +SKIP

    Raises
    ------
    InputError : an unknown column, level or group (the message names the nearest), an empty group, two compared groups
        that share participants, text where numbers are needed.

    References
    ----------
    Levene 1960, in Contributions to Probability and Statistics, 278-292; Cochran 1954, Biometrics 10:417.
    """
    groups = _groups(table, columns)
    if not groups:
        raise InputError("a participant table needs at least one group in columns=[...]")
    for pair in comparisons:
        _check_pair(pair, groups)
    summary: list[dict[str, Any]] = []
    tests: list[dict[str, Any]] = []
    printed: list[dict[str, str]] = []
    for row in (inferred_row(table, row) if isinstance(row, str) else row for row in rows):
        values, lines = row.read(table)
        cells = {group: row.describe(values[members], lines) for group, members in groups.items()}
        name = lines[0] if len(lines) == 1 else row.label or row.column
        compared = [
            {"row": name, "group_a": a, "group_b": b, **_compare(row, values[groups[a]], values[groups[b]])}
            for a, b in (comparisons if row.test != "none" else ())
        ]
        lacking = _lacking(values, groups)
        missing = {group: int(members.sum()) for group, members in lacking.items()}
        summary += [
            {"row": line, "group": group, "missing": missing[group], **cells[group][number]}
            for number, line in enumerate(lines)
            for group in groups
        ]
        tests += compared
        printed += _printed(cells, missing, int(np.logical_or.reduce(list(lacking.values())).sum()), compared)
    heads = {group: f"{group} (n = {int(members.sum())})" for group, members in groups.items()}
    counts = pd.DataFrame(summary).drop(columns="text", errors="ignore")
    return TableOne(
        counts.astype({"count": "Int64"}) if "count" in counts else counts,
        pd.DataFrame(tests, columns=_TEST_COLUMNS).astype({"n_a": "Int64", "n_b": "Int64"}),
        pd.DataFrame(printed).rename(columns=heads).fillna(""),
    )


def _lacking(values: Vector, groups: Mapping[str, Members]) -> dict[str, Members]:
    """Who has no value, by group: nobody where the whole group has none, since the row is not about them."""
    unknown = np.isnan(values)
    return {
        group: np.zeros_like(unknown) if unknown[members].all() else unknown & members
        for group, members in groups.items()
    }


def _groups(table: pd.DataFrame, columns: Sequence[str | Column]) -> dict[str, Members]:
    """The participants of each group, by its name: (n,) bool."""
    groups: dict[str, Members] = {}
    for column in columns:
        group = column if isinstance(column, Column) else _column_of_value(table, column)
        if group.name in groups:
            raise InputError(f"two groups are named {group.name!r}; each needs a name of its own")
        members = np.ones(len(table), dtype=bool)
        for name, wanted in group.where.items():
            members &= _has_value(require_column(table, name), wanted, f"group {group.name!r}")
        if not members.any():
            raise InputError(f"group {group.name!r} has no participants: nobody fits all of {dict(group.where)}")
        groups[group.name] = members
    return groups


def _has_value(column: pd.Series[Any], wanted: object, where: str) -> Members:
    values = list(wanted) if isinstance(wanted, tuple | list | set | frozenset) else [wanted]
    known = list(column.dropna().unique())
    for value in values:
        if value not in known:
            raise InputError(f"{where}: nobody has {column.name} = {value!r}. {nearest(value, known)}")
    return np.asarray(column.isin(values).to_numpy(dtype=bool))


def _column_of_value(table: pd.DataFrame, value: str) -> Column:
    texts = [name for name in table.columns if not is_number(require_column(table, name))]
    holders = [name for name in texts if value in list(table[name].dropna().unique())]
    if len(holders) == 1:
        return Column(value, {holders[0]: value})
    if holders:
        raise InputError(f"{value!r} is a value of {' and '.join(holders)}; say which, as Column({value!r}, where=...)")
    known = dict.fromkeys(one for name in texts for one in table[name].dropna().unique() if isinstance(one, str))
    raise InputError(f"no column of text has the value {value!r}. {nearest(value, known)}")


def _check_pair(pair: tuple[str, str], groups: Mapping[str, Members]) -> None:
    for name in pair:
        if name not in groups:
            raise InputError(f"comparison {pair}: no group is named {name!r}. {nearest(name, groups)}")
    shared = int((groups[pair[0]] & groups[pair[1]]).sum())
    if shared:
        raise InputError(f"comparison {pair}: {shared} participants are in both groups; the tests need separate groups")


def _compare(row: Row, a: Vector, b: Vector) -> dict[str, Any]:
    """The test as a mapping; an untestable row is a p of NaN with the reason, since a table has such rows."""
    try:
        result = row.compare(a, b)
    except InputError as error:
        return {"test": "", "p": np.nan, "text": NOTHING, "why_not": str(error)}
    return asdict(result) | {"text": result.text, "why_not": ""}


def _printed(
    cells: Mapping[str, list[dict[str, Any]]],
    missing: Mapping[str, int],
    missing_anywhere: int,
    compared: Sequence[Mapping[str, Any]],
) -> list[dict[str, str]]:
    """The lines of one row as text; what holds for the whole row stands in its first line."""
    lines = []
    for described in zip(*cells.values(), strict=True):
        line = {"row": str(described[0]["row"])}
        for group, cell in zip(cells, described, strict=True):
            partly = missing[group] > 0 and cell["n"] > 0
            line[group] = f"{cell['text']} [n = {cell['n']}]" if partly else cell["text"]
        lines.append(line)
    lines[0]["missing"] = str(missing_anywhere)
    for test in compared:
        pair = f"{test['group_a']} vs {test['group_b']}"
        lines[0] |= {f"{pair}: p": p_value_text(test["p"]), f"{pair}: test": test["text"]}
    return lines
