"""Checks a printed table: the p values that printed means, SDs and counts allow."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd

from rsfc_gpu.clinical import two_groups
from rsfc_gpu.clinical.two_groups import GroupTest, Moments
from rsfc_gpu.errors import InputError

_NUMBER = r"-?\d*\.?\d+"
_MEAN = re.compile(rf"^\s*({_NUMBER})\s*(?:±|\+-|\+/-)\s*({_NUMBER})\s*\(\s*(?:n\s*=\s*)?(\d+)\s*\)\s*$")
_COUNT = re.compile(r"^\s*(-?\d+)\s*/\s*(\d+)\s*$")
_P = re.compile(r"^\s*(<?)\s*(\d*\.\d+|[01])\s*$")


@dataclass(frozen=True)
class PrintedMean:
    """A printed mean and SD of n participants, each rounded to `decimals` places."""

    mean: float
    sd: float
    n: int
    decimals: int = 2

    def __post_init__(self) -> None:
        Moments(self.mean, self.sd, self.n)  # refuses a negative SD and fewer than two participants


@dataclass(frozen=True)
class PrintedCount:
    """A printed count: this many of n participants."""

    count: int
    n: int

    def __post_init__(self) -> None:
        if self.n < 1 or not 0 <= self.count <= self.n:
            raise InputError(f"a count lies between 0 and the size of its group, found {self.count} of {self.n}")


Printed = PrintedMean | PrintedCount


@dataclass(frozen=True)
class PrintedRow:
    """A printed row: its name, the two groups, and the printed p where there is one.

    A group is a PrintedMean or PrintedCount, or the text that stands for one: "40.58 +- 11.11 (19)" (also with "±"; the
    decimals tell the rounding) or "11/19". p is a number, or text such as ".037" or "< .001".
    """

    name: str
    a: Printed | str
    b: Printed | str
    p: float | str | None = None


def compare_printed(rows: Iterable[PrintedRow | Sequence[object]], *, tolerance: float = 0.001) -> pd.DataFrame:
    """Every p that the printed numbers allow: one line per row and test, with the interval that their rounding leaves.

    Parameters
    ----------
    rows : PrintedRow, or plain tuples (name, a, b) or (name, a, b, p).
    tolerance : how far beyond its interval a printed p may lie and still agree (its own rounding included).

    Returns
    -------
    Table with the columns row, test, statistic, df, p, p_low, p_high, effect_name, effect, n_a, n_b, printed_p, agrees.
    Means: Student's and Welch's t test (Levene's test, which would choose between them, needs raw values). Counts:
    chi-square, continuity-corrected chi-square, Fisher's exact test. `agrees` is None without a printed p. A printed
    row is consistent where one of its tests agrees.

    Notes
    -----
    p_low and p_high are the extremes of p over the corners of the box that rounding leaves to the difference of the
    means and to both SDs; counts are exact, so both equal p.

    Examples
    --------
    >>> rows = [("age", "40.58 +- 11.11 (19)", "32.55 +- 11.96 (20)", ".037"), ("female", "11/19", "13/20", ".648")]
    >>> compare_printed(rows)["agrees"].tolist()  # Student, Welch; chi-square, corrected, Fisher
    [True, True, True, False, False]

    Raises
    ------
    InputError : text that is neither form, a negative SD, a count above n, a mean against a count.
    """
    lines = []
    for given in rows:
        row = given if isinstance(given, PrintedRow) else _row_from_tuple(given)
        try:
            limits = None if row.p is None else _printed_limits(row.p)
            tests = _tests(row)
        except InputError as error:
            raise InputError(f"{row.name}: {error}") from error
        for test, p_low, p_high in tests:
            agrees = None
            if limits is not None:
                agrees = p_low - tolerance <= limits[1] and limits[0] <= p_high + tolerance
            lines.append(
                {"row": row.name, "test": test.test, "statistic": test.statistic, "df": test.df, "p": test.p}
                | {"p_low": p_low, "p_high": p_high, "effect_name": test.effect_name, "effect": test.effect}
                | {"n_a": test.n_a, "n_b": test.n_b, "printed_p": row.p, "agrees": agrees}
            )
    return pd.DataFrame(lines)


def _row_from_tuple(given: Sequence[object]) -> PrintedRow:
    if isinstance(given, str) or not 3 <= len(given) <= 4:
        raise InputError(f"a printed row is (name, a, b) or (name, a, b, p), found {given!r}")
    return PrintedRow(str(given[0]), *given[1:])  # type: ignore[arg-type]


def _tests(row: PrintedRow) -> list[tuple[GroupTest, float, float]]:
    a, b = _parsed(row.a), _parsed(row.b)
    if isinstance(a, PrintedMean) and isinstance(b, PrintedMean):
        corners = _corners(a, b)
        exact = Moments(a.mean, a.sd, a.n), Moments(b.mean, b.sd, b.n)
        results = []
        for test in (two_groups.student, two_groups.welch):
            p = [test(*corner).p for corner in corners]
            results.append((test(*exact), min(p), max(p)))
        return results
    if isinstance(a, PrintedCount) and isinstance(b, PrintedCount):
        counts = np.array([[a.count, b.count], [a.n - a.count, b.n - b.count]])
        found = [
            two_groups.chi_square(counts),
            two_groups.chi_square(counts, corrected=True),
            two_groups.fisher(counts),
        ]
        return [(test, test.p, test.p) for test in found]
    raise InputError(f"a mean cannot be compared with a count ({row.a!r}, {row.b!r})")


def _corners(a: PrintedMean, b: PrintedMean) -> list[tuple[Moments, Moments]]:
    """The extreme pairs of groups that print as `a` and `b`."""
    half_a, half_b = 0.5 * 10.0**-a.decimals, 0.5 * 10.0**-b.decimals
    difference, half = abs(a.mean - b.mean), half_a + half_b
    return [
        (Moments(d, sd_a, a.n), Moments(0.0, sd_b, b.n))
        for d, sd_a, sd_b in product(
            (max(0.0, difference - half), difference + half),
            (max(0.0, a.sd - half_a), a.sd + half_a),
            (max(0.0, b.sd - half_b), b.sd + half_b),
        )
        if sd_a > 0 or sd_b > 0
    ]


def _parsed(given: Printed | str) -> Printed:
    if not isinstance(given, str):
        return given
    if mean := _MEAN.match(given):
        decimals = min(len(text.partition(".")[2]) for text in mean.groups()[:2])
        return PrintedMean(float(mean[1]), float(mean[2]), int(mean[3]), decimals)
    if count := _COUNT.match(given):
        return PrintedCount(int(count[1]), int(count[2]))
    raise InputError(f"cannot read {given!r}; write '40.58 +- 11.11 (19)' (mean, SD, n) or '11/19' (count, n)")


def _printed_limits(p: float | str) -> tuple[float, float]:
    """The values that the printed p stands for: itself, or all below it."""
    found = _P.match(str(p))
    if not found or not 0 <= float(found[2]) <= 1:
        raise InputError(f"cannot read the printed p {p!r}; write '.037' or '< .001'")
    value = float(found[2])
    return (0.0 if found[1] else value), value
