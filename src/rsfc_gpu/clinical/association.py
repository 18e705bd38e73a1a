"""Association of two measures, with or without covariates held constant, and correction over a family of tests."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from rsfc_gpu.clinical.text import p_text, unit_text
from rsfc_gpu.clinical.two_groups import p_from_t
from rsfc_gpu.clinical.values import Vector, numbers, require_column, require_same_rows
from rsfc_gpu.errors import InputError

_NORMAL_ALPHA = 0.05
_NO_SPREAD = 1e-10  # of the spread before the covariates are removed


@dataclass(frozen=True)
class Association:
    """A correlation and how it was found.

    Attributes
    ----------
    method : "Pearson", "Spearman", "partial Pearson" or "partial Spearman".
    n, n_missing : participants used, and left out because a value is missing (pairwise).
    r, ci_low, ci_high, confidence : the coefficient (it is the effect size) and its confidence interval.
    p, dof : two-sided p of t = r sqrt(dof / (1 - r^2)), dof = n - 2 - number of independent covariates.
    normality_p_x, normality_p_y : Shapiro-Wilk, which chose the method; NaN where the method was given.
    """

    method: str
    n: int
    n_missing: int
    r: float
    ci_low: float
    ci_high: float
    confidence: float
    p: float
    dof: int
    normality_p_x: float
    normality_p_y: float

    @property
    def text(self) -> str:
        """As in a paper: "Pearson r = .49, 95 % CI [.18, .71], p = .003, n = 34"."""
        interval = f"{100 * self.confidence:g} % CI [{unit_text(self.ci_low)}, {unit_text(self.ci_high)}]"
        return f"{self.method} r = {unit_text(self.r)}, {interval}, {p_text(self.p)}, n = {self.n}"


def associate(
    x: ArrayLike,
    y: ArrayLike,
    covariates: ArrayLike | pd.DataFrame | None = None,
    *,
    method: Literal["auto", "pearson", "spearman"] = "auto",
    confidence: float = 0.95,
) -> Association:
    """Correlation of x and y, partial where there are covariates, over the participants who have every value.

    Parameters
    ----------
    x, y : (n,) one value per participant, NaN where missing.
    covariates : (n,) or (n, k) to hold constant; columns of text are coded 0/1 against their first value.
    method : "auto" takes Pearson's r where Shapiro-Wilk rejects normality of neither x nor y (p >= 0.05), else
        Spearman's.
    confidence : of the interval.

    Notes
    -----
    Partial correlation is the correlation of what least squares on the covariates and a constant leaves of x and of y;
    for Spearman's, of the ranks of all. Interval: Fisher's z with variance 1/(n - 3 - k) for k covariates,
    for Spearman's (1 + r^2/2)/(n - 3 - k). p of either by the t approximation.

    Raises
    ------
    InputError : fewer than 4 participants (4 + k with covariates), no spread in x or y or in what the covariates leave
        of them, rows that do not match, text in x or y.

    References
    ----------
    Fisher 1924, Metron 3:329 (partial correlation); Bonett and Wright 2000, Psychometrika 65:23 (Spearman's interval);
    Shapiro and Wilk 1965, Biometrika 52:591.
    """
    require_same_rows(x, y, "x and y")
    all_x, all_y = numbers(x, "x"), numbers(y, "y")
    all_held = covariate_columns(covariates, like=x)
    complete = ~np.isnan(np.column_stack([all_x, all_y, all_held])).any(axis=1)
    used_x, used_y, held = all_x[complete], all_y[complete], all_held[complete]
    n = used_x.size
    if n < 4:
        raise InputError(f"a correlation with an interval needs at least 4 participants with every value, found {n}")
    for values, name in ((used_x, "x"), (used_y, "y")):
        if np.ptp(values) == 0:
            raise InputError(f"{name} is {values[0]:g} for all {n} participants; a correlation needs spread")
    p_x = p_y = math.nan
    if method == "auto":
        p_x, p_y = (float(stats.shapiro(values)[1]) for values in (used_x, used_y))
        method = "pearson" if min(p_x, p_y) >= _NORMAL_ALPHA else "spearman"
    if method == "spearman":
        used_x, used_y, held = (stats.rankdata(values, axis=0) for values in (used_x, used_y, held))
    design = independent_columns(held)
    k = design.shape[1] - 1
    if n < 4 + k:
        raise InputError(f"with {k} covariates at least {4 + k} participants with every value are needed, found {n}")
    r = correlation(residual(used_x, design, "x"), residual(used_y, design, "y"))
    name = method.capitalize() if covariates is None else f"partial {method.capitalize()}"
    low, high = _interval(r, n - 3 - k, confidence, ranks=method == "spearman")
    p, dof = p_from_r(r, n, covariates=k), n - 2 - k
    return Association(name, n, all_x.size - n, r, low, high, confidence, p, dof, p_x, p_y)


def correlation(x: Vector, y: Vector) -> float:
    """Pearson's r of two vectors with spread, kept within -1 and 1 against rounding."""
    x, y = x - x.mean(), y - y.mean()
    return float(np.clip(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)), -1, 1))


def p_from_r(r: float, n: int, *, covariates: int = 0) -> float:
    """Two-sided p of a correlation over n participants with this many covariates held constant.

    Raises
    ------
    InputError : an absolute r above 1, or no degrees of freedom.
    """
    dof = n - 2 - covariates
    if not abs(r) <= 1 or dof < 1:
        raise InputError(f"r from -1 to 1 and at least one degree of freedom are needed, found r = {r}, dof = {dof}")
    return p_from_t(math.inf if abs(r) == 1 else r * math.sqrt(dof / (1 - r * r)), dof)


def benjamini_hochberg(p: ArrayLike) -> Vector:
    """(m,) q values of a family of p values; NaN (no test was possible) stays NaN and does not count.

    Raises
    ------
    InputError : a p outside 0 to 1.

    References
    ----------
    Benjamini and Hochberg 1995, J. R. Stat. Soc. B 57:289.
    """
    values = np.asarray(p, dtype=np.float64)
    tested = ~np.isnan(values)
    if ((values[tested] < 0) | (values[tested] > 1)).any():
        raise InputError("p values lie between 0 and 1")
    q = np.full(values.shape, np.nan)
    if tested.any():
        q[tested] = stats.false_discovery_control(values[tested], method="bh")
    return q


def association_table(associations: Mapping[str, Association]) -> pd.DataFrame:
    """A family of associations, one line each: name, method, n, r, ci_low, ci_high, p, dof, q, family_size, text.

    q is Benjamini-Hochberg's over all lines of the table, `family_size` their number.
    """
    names = ["name", "method", "n", "n_missing", "r", "ci_low", "ci_high", "p", "dof"]
    lines = [{"name": name} | {field: getattr(one, field) for field in names[1:]} for name, one in associations.items()]
    table = pd.DataFrame(lines, columns=names)
    table["q"] = benjamini_hochberg(table["p"].to_numpy(dtype=np.float64))
    table["family_size"] = len(table)
    table["text"] = [f"{one.text}, {p_text(q, 'q')}" for one, q in zip(associations.values(), table["q"], strict=True)]
    return table


def covariate_columns(covariates: ArrayLike | pd.DataFrame | None, like: object) -> NDArray[np.float64]:
    """(n, k) numbers; a column of text becomes one 0/1 column per value but its first, missing values kept."""
    if covariates is None:
        return np.empty((len(like), 0))  # type: ignore[arg-type]
    require_same_rows(like, covariates, "x and the covariates")
    if isinstance(covariates, pd.Series):
        covariates = covariates.to_frame()
    frame = covariates if isinstance(covariates, pd.DataFrame) else pd.DataFrame(np.asarray(covariates))
    columns: list[Vector] = []
    for name in frame.columns:
        column = require_column(frame, name)
        if pd.api.types.is_numeric_dtype(column) or pd.to_numeric(column, errors="coerce").notna().any():
            columns.append(numbers(column, f"covariate {name}"))
            continue
        for value in list(column.dropna().unique())[1:]:
            columns.append(np.where(column.isna(), np.nan, (column == value).fillna(False)).astype(np.float64))
    return np.column_stack(columns) if columns else np.empty((len(frame), 0))


def independent_columns(columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 1 + k) a constant and those columns that the ones before do not give: only they cost a degree of freedom."""
    design = np.ones((len(columns), 1))
    for column in columns.T:
        wider = np.column_stack([design, _standardised(column)])
        if np.linalg.matrix_rank(wider) > design.shape[1]:
            design = wider
    return design


def _standardised(column: Vector) -> Vector:
    centred = column - column.mean()
    scale = np.abs(centred).max(initial=0.0)
    return np.asarray(centred / scale if scale > 0 else centred)


def residual(values: Vector, design: NDArray[np.float64], name: str) -> Vector:
    centred = values - values.mean()
    residual = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    if np.linalg.norm(residual) <= _NO_SPREAD * np.linalg.norm(centred):
        raise InputError(f"the covariates determine {name} wholly, so nothing of it is left to correlate")
    return np.asarray(residual)


def _interval(r: float, information: int, confidence: float, *, ranks: bool) -> tuple[float, float]:
    if not 0 < confidence < 1:
        raise InputError(f"confidence lies between 0 and 1, found {confidence}")
    if abs(r) == 1:
        return r, r
    half = float(stats.norm.ppf(0.5 + confidence / 2)) * math.sqrt((1 + r * r / 2 if ranks else 1) / information)
    return math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)
