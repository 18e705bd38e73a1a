"""The tests between two independent groups, each from means and standard deviations or from counts alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.special import gammaln

from rsfc_gpu.errors import InputError

_SMALL_EXPECTED = 5
_MOST_TABLES = 2_000_000  # exact enumeration beyond this would take seconds and gigabytes


@dataclass(frozen=True)
class Moments:
    """Mean, standard deviation (n - 1 in the denominator) and size of one group."""

    mean: float
    sd: float
    n: int

    def __post_init__(self) -> None:
        if not self.sd >= 0:
            raise InputError(f"a standard deviation must be 0 or more, found {self.sd}")
        if self.n < 2:
            raise InputError(f"a t test needs at least 2 values in each group, found {self.n}")


@dataclass(frozen=True)
class GroupTest:
    """One test between two groups.

    Attributes
    ----------
    test : "Student t", "Welch t", "chi-square", "chi-square, continuity corrected" or "Fisher exact".
    statistic, df : t or chi-square and its degrees of freedom; NaN for Fisher's test, which has none.
    p : two-sided.
    effect_name, effect : "Cohen d" (first minus second group, pooled SD) or "Cramer V" (phi in a 2 x 2 table).
    n_a, n_b : participants with a value in either group.
    """

    test: str
    statistic: float
    df: float
    p: float
    effect_name: str
    effect: float
    n_a: int
    n_b: int

    @property
    def text(self) -> str:
        """The test, its statistic and the effect size: "Welch t(36.9) = 2.17, Cohen d = 0.69"."""
        head = self.test
        if not math.isnan(self.statistic):
            df = f"{self.df:.0f}" if self.df == round(self.df) else f"{self.df:.1f}"
            head = f"{self.test}({df}) = {self.statistic:.2f}"
        return f"{head}, {self.effect_name} = {self.effect:.2f}"


def p_from_t(t: float, df: float) -> float:
    """Two-sided p of a t statistic on `df` degrees of freedom (a fraction is allowed)."""
    if not df > 0:
        raise InputError(f"a t statistic needs more than 0 degrees of freedom, found {df}")
    return float(2 * stats.t.sf(abs(t), df))


def student(a: Moments, b: Moments) -> GroupTest:
    """Student's t test of two independent groups, equal variances assumed.

    Raises
    ------
    InputError : neither group has any spread.

    References
    ----------
    Student 1908, Biometrika 6:1; Cohen 1988, Statistical Power Analysis, 2nd ed., section 2.5 (d with the pooled SD).
    """
    df = a.n + b.n - 2
    return _t_test("Student t", a, b, _pooled_sd(a, b) * math.sqrt(1 / a.n + 1 / b.n), df)


def welch(a: Moments, b: Moments) -> GroupTest:
    """Welch's t test of two independent groups, with Satterthwaite's degrees of freedom.

    The effect size is Cohen's d with the pooled SD, as for Student's test.

    Raises
    ------
    InputError : neither group has any spread.

    References
    ----------
    Welch 1947, Biometrika 34:28.
    """
    share_a, share_b = a.sd**2 / a.n, b.sd**2 / b.n
    total = share_a + share_b
    df = total**2 / (share_a**2 / (a.n - 1) + share_b**2 / (b.n - 1)) if total else math.nan
    return _t_test("Welch t", a, b, math.sqrt(total), df)


def _pooled_sd(a: Moments, b: Moments) -> float:
    return math.sqrt(((a.n - 1) * a.sd**2 + (b.n - 1) * b.sd**2) / (a.n + b.n - 2))


def _t_test(name: str, a: Moments, b: Moments, standard_error: float, df: float) -> GroupTest:
    if standard_error == 0:
        raise InputError("neither group has any spread, so there is nothing to test a difference of means against")
    t = (a.mean - b.mean) / standard_error
    cohen_d = (a.mean - b.mean) / _pooled_sd(a, b)
    return GroupTest(name, t, df, p_from_t(t, df), "Cohen d", cohen_d, a.n, b.n)


def chi_square(counts: ArrayLike, *, corrected: bool = False) -> GroupTest:
    """Pearson's chi-square test of (levels, 2) counts; `corrected` subtracts 1/2 (Yates), in 2 x 2 tables only.

    Raises
    ------
    InputError : counts that are no counts, an empty group, fewer than two levels in use.

    References
    ----------
    Pearson 1900, Phil. Mag. 50:157; Yates 1934, Suppl. J. R. Stat. Soc. 1:217.
    """
    table = _count_table(counts)
    if corrected and len(table) != 2:
        raise InputError(f"the continuity correction is for 2 x 2 tables, found {len(table)} levels")
    statistic, p, df, _ = stats.chi2_contingency(table, correction=corrected)
    name = "chi-square, continuity corrected" if corrected else "chi-square"
    return _count_test(name, table, float(statistic), float(df), float(p))


def fisher(counts: ArrayLike) -> GroupTest:
    """Fisher's exact test of (levels, 2) counts, two-sided: tables as probable as the observed one or less.

    More than two levels are enumerated too (Freeman and Halton).

    Raises
    ------
    InputError : as `chi_square`; or so many tables of the same margins that they cannot be enumerated.

    References
    ----------
    Fisher 1922, J. R. Stat. Soc. 85:87; Freeman and Halton 1951, Biometrika 38:141.
    """
    table = _count_table(counts)
    p = float(stats.fisher_exact(table)[1]) if len(table) == 2 else _freeman_halton(table)
    return _count_test("Fisher exact", table, math.nan, math.nan, p)


def wants_exact(counts: ArrayLike) -> bool:
    """Whether Fisher's test is to be preferred: an expected count below 5, and not too many tables to enumerate.

    References
    ----------
    Cochran 1954, Biometrics 10:417.
    """
    table = _count_table(counts)
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    return bool((expected < _SMALL_EXPECTED).any()) and _table_number(table) <= _MOST_TABLES


def _table_number(table: NDArray[np.int64]) -> int:
    return math.prod(int(total) + 1 for total in table.sum(axis=1)[:-1])


def _freeman_halton(table: NDArray[np.int64]) -> float:
    if _table_number(table) > _MOST_TABLES:
        raise InputError("too many tables have the same margins for an exact test; use the chi-square test")
    totals, n_a = table.sum(axis=1), int(table[:, 0].sum())
    # Every split of every level but the last; the last one is what the first group still lacks.
    first_group, log_ways = np.zeros(1, dtype=np.int64), np.zeros(1)
    for total in totals[:-1]:
        split = np.arange(total + 1)
        first_group = np.add.outer(first_group, split).ravel()
        log_ways = np.add.outer(log_ways, _log_choose(total, split)).ravel()
    last = n_a - first_group
    possible = (last >= 0) & (last <= totals[-1])
    log_ways = log_ways[possible] + _log_choose(totals[-1], last[possible])
    observed = float(_log_choose(totals, table[:, 0]).sum())
    weights = np.exp(log_ways - log_ways.max())
    return float(weights[log_ways <= observed + 1e-7].sum() / weights.sum())


def _log_choose(n: ArrayLike, k: ArrayLike) -> NDArray[np.float64]:
    n, k = np.asarray(n), np.asarray(k)
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))


def _count_table(counts: ArrayLike) -> NDArray[np.int64]:
    table = np.asarray(counts)
    if table.ndim != 2 or table.shape[1] != 2:
        raise InputError(f"counts of two groups are needed, one row per level: (levels, 2), found shape {table.shape}")
    if (table < 0).any() or (table != np.round(table)).any():
        raise InputError(f"counts must be whole numbers of 0 or more, found {table.tolist()}")
    table = np.asarray(table[table.sum(axis=1) > 0], dtype=np.int64)
    if len(table) < 2:
        raise InputError("everybody is in the same level, so there is nothing to test")
    if not table.sum(axis=0).all():
        raise InputError("a group without participants cannot be tested")
    return table


def _count_test(name: str, table: NDArray[np.int64], statistic: float, df: float, p: float) -> GroupTest:
    plain = float(stats.chi2_contingency(table, correction=False)[0])
    cramer_v = math.sqrt(plain / table.sum())  # min(levels, groups) - 1 is 1, as there are two groups
    n_a, n_b = (int(n) for n in table.sum(axis=0))
    return GroupTest(name, statistic, df, p, "Cramer V", cramer_v, n_a, n_b)
