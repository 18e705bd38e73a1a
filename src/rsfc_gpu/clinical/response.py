"""Response to treatment: reduction of a score, responders, and change from before to after."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from rsfc_gpu.clinical.text import mean_sd_text, p_text
from rsfc_gpu.clinical.two_groups import p_from_t
from rsfc_gpu.clinical.values import numbers, require_column, require_same_rows
from rsfc_gpu.errors import InputError


def reduction_rate(before: ArrayLike, after: ArrayLike) -> pd.Series[float]:
    """(n,) reduction of a score in per cent of its first value, (before - after) / before; NaN where one is missing.

    Raises
    ------
    InputError : a first score of 0 or below, of which there is no share.
    """
    require_same_rows(before, after, "the scores before and after")
    first, last = numbers(before, "the score before"), numbers(after, "the score after")
    if (first <= 0).any():
        row = int(np.flatnonzero(first <= 0)[0])
        raise InputError(f"the score before is {first[row]:g} in row {row + 1}; a share of it needs more than 0")
    index = before.index if isinstance(before, pd.Series) else None
    return pd.Series(100 * (first - last) / first, index=index, name="reduction_percent")


def is_responder(
    reduction_percent: ArrayLike,
    *,
    threshold_percent: float = 50,
    comparison: Literal[">=", ">"] = ">=",
) -> pd.Series[bool]:
    """(n,) whether the reduction reaches the threshold (">=") or exceeds it (">"); missing stays missing (<NA>)."""
    values = numbers(reduction_percent, "reduction")
    if comparison not in (">=", ">"):
        raise InputError(f"comparison is '>=' or '>', found {comparison!r}")
    reached = values >= threshold_percent if comparison == ">=" else values > threshold_percent
    index = reduction_percent.index if isinstance(reduction_percent, pd.Series) else None
    answer = pd.Series(reached, index=index, name="responder", dtype="boolean")
    return answer.mask(np.isnan(values))


@dataclass(frozen=True)
class PairedTest:
    """A paired t test of the same participants before and after.

    Attributes
    ----------
    n, n_missing : participants with both values, and those left out.
    mean_before, sd_before, mean_after, sd_after : of the participants used.
    difference, ci_low, ci_high : mean of before minus after, with its 95 % interval.
    t, df, p : the test, two-sided; t has the sign of before minus after.
    effect : Cohen's d of the differences (d_z), their mean over their SD.
    """

    n: int
    n_missing: int
    mean_before: float
    sd_before: float
    mean_after: float
    sd_after: float
    difference: float
    ci_low: float
    ci_high: float
    t: float
    df: int
    p: float
    effect: float

    @property
    def text(self) -> str:
        """As in a paper: "-0.07 ± 0.08 before, 0.01 ± 0.12 after, paired t(19) = -2.66, p = .015, d_z = -0.59"."""
        before, after = mean_sd_text(self.mean_before, self.sd_before), mean_sd_text(self.mean_after, self.sd_after)
        test = f"paired t({self.df}) = {self.t:.2f}, {p_text(self.p)}, d_z = {self.effect:.2f}"
        return f"{before} before, {after} after, {test}"


def paired_t(before: ArrayLike, after: ArrayLike) -> PairedTest:
    """Paired t test of (n,) values before and after; a participant with one of them missing is left out.

    Raises
    ------
    InputError : fewer than two pairs, or every participant changed by exactly the same.

    References
    ----------
    Student 1908, Biometrika 6:1; Lakens 2013, Front. Psychol. 4:863 (d_z).
    """
    require_same_rows(before, after, "the values before and after")
    first, last = numbers(before, "before"), numbers(after, "after")
    both = ~(np.isnan(first) | np.isnan(last))
    n, df = int(both.sum()), int(both.sum()) - 1
    if n < 2:
        raise InputError(f"a paired t test needs at least 2 participants with both values, found {n}")
    first, last = first[both], last[both]
    change = first - last
    mean, sd = float(change.mean()), float(change.std(ddof=1))
    if sd <= 1e-12 * float(np.abs(first).max() + np.abs(last).max()):
        raise InputError(f"all {n} participants changed by the same amount ({mean:g}); a t test needs spread")
    half = float(stats.t.ppf(0.975, df)) * sd / math.sqrt(n)
    t = mean / (sd / math.sqrt(n))
    return PairedTest(
        n=n,
        n_missing=len(both) - n,
        mean_before=float(first.mean()),
        sd_before=float(first.std(ddof=1)),
        mean_after=float(last.mean()),
        sd_after=float(last.std(ddof=1)),
        difference=mean,
        ci_low=mean - half,
        ci_high=mean + half,
        t=t,
        df=df,
        p=p_from_t(t, df),
        effect=mean / sd,
    )


def paired_by_group(table: pd.DataFrame, *, before: str, after: str, group: str) -> dict[str, PairedTest]:
    """The paired t test of two columns within each group, by the group's name, in order of appearance.

    Raises
    ------
    InputError : a missing column; as `paired_t`, naming the group.
    """
    first, last, members = (require_column(table, name) for name in (before, after, group))
    results = {}
    for level in members.dropna().unique():
        inside = (members == level).fillna(False).to_numpy(dtype=bool)
        try:
            results[str(level)] = paired_t(first[inside], last[inside])
        except InputError as error:
            raise InputError(f"{group} = {level}: {error}") from error
    return results
