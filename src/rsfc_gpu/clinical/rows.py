"""The two kinds of row of a participant table: how each describes a group, and how it compares two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import stats

from rsfc_gpu.clinical import two_groups
from rsfc_gpu.clinical.text import count_text, mean_sd_text
from rsfc_gpu.clinical.two_groups import GroupTest, Moments
from rsfc_gpu.clinical.values import Vector, nearest, numbers, require_column
from rsfc_gpu.errors import InputError

_LEVENE_ALPHA = 0.05


@dataclass(frozen=True)
class ContinuousRow:
    """A row with mean and SD, compared by a t test.

    `test` "auto" takes Student's, or Welch's where Levene's test rejects equal variances; "none" compares nothing.
    """

    column: str
    label: str | None = None
    decimals: int = 2
    test: Literal["auto", "student", "welch", "none"] = "auto"

    def read(self, table: pd.DataFrame) -> tuple[Vector, list[str]]:
        """The (n,) values of every participant, NaN where missing, and the one name of this row."""
        return numbers(require_column(table, self.column), self.column), [self.label or self.column]

    def describe(self, values: Vector, lines: Sequence[str]) -> list[dict[str, Any]]:
        """One line: its name, n, mean, sd and text, of the participants given."""
        found = values[~np.isnan(values)]
        mean = float(found.mean()) if found.size else np.nan
        sd = float(found.std(ddof=1)) if found.size > 1 else np.nan
        text = mean_sd_text(mean, sd, self.decimals)
        return [{"row": lines[0], "n": found.size, "mean": mean, "sd": sd, "text": text}]

    def compare(self, a: Vector, b: Vector) -> GroupTest:
        """The t test of two groups.

        Raises
        ------
        InputError : fewer than two values in a group, or no spread in either.
        """
        a, b = a[~np.isnan(a)], b[~np.isnan(b)]
        if min(a.size, b.size) < 2:
            raise InputError(f"{a.size} and {b.size} values; a t test needs at least 2 in each group")
        unequal = self.test == "welch" or (self.test == "auto" and levene_p(a, b) < _LEVENE_ALPHA)
        test = two_groups.welch if unequal else two_groups.student
        return test(*(Moments(float(x.mean()), float(x.std(ddof=1)), x.size) for x in (a, b)))


@dataclass(frozen=True)
class CategoricalRow:
    """A row with count and share: of one `level`, or of every level of the column where `level` is None.

    `test` "auto" takes chi-square, or Fisher's exact test where an expected count is below 5; "none" compares nothing.
    """

    column: str
    level: object = None
    label: str | None = None
    test: Literal["auto", "chi-square", "fisher", "none"] = "auto"

    def read(self, table: pd.DataFrame) -> tuple[Vector, list[str]]:
        """The (n,) number of each participant's level, NaN where missing, and the names of the lines."""
        column = require_column(table, self.column)
        levels = self._levels(column)
        codes = np.full(len(column), np.nan)
        codes[column.notna().to_numpy()] = len(levels)  # any other level, where one was asked for
        for code, level in enumerate(levels):
            codes[(column == level).fillna(False).to_numpy(dtype=bool)] = code
        if self.level is None:
            return codes, [f"{self.label or self.column}: {level}" for level in levels]
        is_yes = self.level in (1, True)
        return codes, [self.label or (self.column if is_yes else f"{self.column}: {self.level}")]

    def _levels(self, column: pd.Series[Any]) -> list[object]:
        if isinstance(column.dtype, pd.CategoricalDtype):
            known = list(column.cat.categories)
        else:
            known = list(column.dropna().unique())
            known = sorted(known) if is_number(column) else known
        if not known:
            raise InputError(f"column {self.column!r} has no values, so it makes no row")
        if self.level is None:
            return known
        if self.level not in known and not set(known) <= {0, 1}:
            raise InputError(f"column {self.column!r} has no level {self.level!r}. {nearest(self.level, known)}")
        return [self.level]

    def describe(self, values: Vector, lines: Sequence[str]) -> list[dict[str, Any]]:
        """Line by line: its name, n, count, percent and text, of the participants given."""
        n = int((~np.isnan(values)).sum())
        counts = [int((values == code).sum()) for code in range(len(lines))]
        return [
            {"row": line, "n": n, "count": count, "percent": 100 * count / n if n else np.nan}
            | {"text": count_text(count, n)}
            for line, count in zip(lines, counts, strict=True)
        ]

    def compare(self, a: Vector, b: Vector) -> GroupTest:
        """The test of two groups over all levels, or over the one level and the rest.

        Raises
        ------
        InputError : no values in a group, or everybody in the same level.
        """
        codes = np.unique(np.concatenate([a, b]))
        counts = np.array([[(a == code).sum(), (b == code).sum()] for code in codes[~np.isnan(codes)]]).reshape(-1, 2)
        if not counts.sum(axis=0).all():
            raise InputError("a group without values cannot be tested")
        if self.test == "fisher" or (self.test == "auto" and two_groups.wants_exact(counts)):
            return two_groups.fisher(counts)
        return two_groups.chi_square(counts)


def levene_p(a: Vector, b: Vector) -> float:
    """p of Levene's test of equal variances, centred on the means; 1 where deviations have no spread to test with.

    References
    ----------
    Levene 1960, in Contributions to Probability and Statistics, 278-292 (the form that SPSS prints).
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        p = float(stats.levene(a, b, center="mean")[1])
    return 1.0 if np.isnan(p) else p


Row = ContinuousRow | CategoricalRow


def inferred_row(table: pd.DataFrame, column: str) -> Row:
    """The row for a plain column name: of 0/1 and true/false the share of 1, else by the kind and number of values."""
    values = require_column(table, column)
    distinct = list(values.dropna().unique())
    if not distinct:
        raise InputError(f"column {column!r} has no values, so it makes no row")
    if set(distinct) <= {0, 1}:  # True and False equal 1 and 0
        return CategoricalRow(column, level=1)
    return ContinuousRow(column) if is_number(values) and len(distinct) > 2 else CategoricalRow(column)


def is_number(column: pd.Series[Any]) -> bool:
    """Whether a column holds numbers (true/false are none)."""
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
