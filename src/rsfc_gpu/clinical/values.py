"""Reading columns of numbers strictly: a wrong name or a wrong value is named, never guessed around."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from rsfc_gpu.errors import InputError

Vector = NDArray[np.float64]


def nearest(name: object, known: Iterable[object]) -> str:
    """The end of an error message about an unknown name: the nearest known one, or the list of all."""
    names = [str(one) for one in known]
    close = get_close_matches(str(name), names, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(names) or 'none'}."


def require_column(table: pd.DataFrame, name: str) -> pd.Series[Any]:
    """Column `name` of `table`.

    Raises
    ------
    InputError : no such column, or more than one of that name.
    """
    if name not in table.columns:
        raise InputError(f"the table has no column {name!r}. {nearest(name, table.columns)}")
    found = int((table.columns == name).sum())
    if found > 1:
        raise InputError(f"the table has {found} columns named {name!r}; a column name must be unique")
    return table[name]


def numbers(values: ArrayLike, name: str) -> Vector:
    """(n,) float64; a missing value is NaN.

    Raises
    ------
    InputError : more than one dimension, text that is not a number, an infinite value; the message names the first.
    """
    series = values if isinstance(values, pd.Series) else pd.Series(one_dimensional(values, name))
    if pd.api.types.is_datetime64_any_dtype(series):
        raise InputError(f"{name}: these are dates; a number per participant is needed, such as an age in years")
    converted = pd.to_numeric(series, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    unreadable = np.flatnonzero(np.isnan(converted) & series.notna().to_numpy())
    if unreadable.size:
        first = unreadable[0]
        raise InputError(f"{name}: {series.iloc[first]!r} in row {first + 1} is not a number")
    infinite = np.flatnonzero(np.isinf(converted))
    if infinite.size:
        raise InputError(f"{name}: the value in row {infinite[0] + 1} is infinite; leave it empty if it is missing")
    return np.asarray(converted, dtype=np.float64)


def one_dimensional(values: ArrayLike, name: str) -> NDArray[Any]:
    """`values` as an array (n,).

    Raises
    ------
    InputError : any other number of dimensions.
    """
    array = np.asarray(values)
    if array.ndim != 1:
        raise InputError(f"{name}: one value per participant is needed, found shape {array.shape}")
    return array


def require_same_rows(a: object, b: object, names: str) -> None:
    """Nothing, where `a` and `b` have one row per participant in the same order.

    Two pandas objects are compared by their index too: a silent shift of rows would void every result.

    Raises
    ------
    InputError : different lengths, or two indexes that differ.
    """
    length_a, length_b = len(a), len(b)  # type: ignore[arg-type]
    if length_a != length_b:
        raise InputError(f"{names}: {length_a} and {length_b} rows; one row per participant is needed in both")
    labelled = (pd.Series, pd.DataFrame)
    if isinstance(a, labelled) and isinstance(b, labelled) and not a.index.equals(b.index):
        raise InputError(f"{names}: the two are indexed differently; bring the rows into one order first")
