"""Tail probabilities of one value of a Z, T, F or chi-squared statistic, accurate far out in the tail.

All functions take `dof` = (df1, df2): T uses df2, F both, chi-squared (kind "X") df2, Z neither. T and Z are one-sided.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from rsfc_gpu.errors import InputError

Kind = Literal["Z", "T", "F", "X"]
Dof = tuple[float, float]


def upper_tail(kind: Kind, dof: Dof, value: ArrayLike) -> NDArray[np.float64]:
    """P(statistic >= value), the uncorrected p; same shape as `value`. Degrees of freedom may be fractional."""
    df1, df2 = dof
    x = np.asarray(value, dtype=np.float64)
    if kind == "Z":
        tail = special.ndtr(-x)
    elif kind == "T":
        tail = special.stdtr(df2, -x)
    elif kind == "F":
        tail = special.fdtrc(df1, df2, np.maximum(x, 0.0))
    elif kind == "X":
        tail = special.chdtrc(df2, np.maximum(x, 0.0))
    else:
        raise _unknown(kind)
    return np.asarray(tail, dtype=np.float64)


def value_at(kind: Kind, dof: Dof, p: ArrayLike) -> NDArray[np.float64]:
    """The value whose upper tail is `p`, the inverse of `upper_tail`; small `p` keep their precision."""
    df1, df2 = dof
    tail = np.asarray(p, dtype=np.float64)
    if kind == "Z":
        value = -special.ndtri(tail)
    elif kind == "T":
        value = -special.stdtrit(df2, tail)
    elif kind == "F":
        # The upper tail of F is the lower tail of a beta variable: no 1 - p is formed.
        y = special.betaincinv(df2 / 2, df1 / 2, tail)
        with np.errstate(divide="ignore"):
            value = df2 * (1 - y) / (df1 * y)
    elif kind == "X":
        value = special.chdtri(df2, tail)
    else:
        raise _unknown(kind)
    return np.asarray(value, dtype=np.float64)


def equivalent_z(kind: Kind, dof: Dof, value: ArrayLike) -> NDArray[np.float64]:
    """The standard normal value with the same upper tail. A T map becomes a Z map; infinite where p underflows."""
    x = np.asarray(value, dtype=np.float64)
    if kind == "Z":
        return x
    if kind == "T":  # symmetric: stay in the tail that keeps its precision
        return np.asarray(np.sign(x) * -special.ndtri(upper_tail(kind, dof, np.abs(x))), dtype=np.float64)
    return np.asarray(-special.ndtri(upper_tail(kind, dof, x)), dtype=np.float64)


def _unknown(kind: Any) -> InputError:
    return InputError(f"unknown kind of statistic {kind!r}: expected Z, T, F or X")
