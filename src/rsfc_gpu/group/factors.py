"""Factors and covariates read from a table of scans, and the account of the scans that a model cannot use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

F64 = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Factor:
    """A grouping of the scans.

    Attributes
    ----------
    name : the column of the table.
    levels : in the order of the design's columns.
    codes : (rows of the table,) position of each row's level; -1 where it has none.
    """

    name: str
    levels: tuple[str, ...]
    codes: NDArray[np.int64]

    def indicators(self, rows: NDArray[np.int64]) -> F64:
        """One 0/1 column per level, (len(rows), levels)."""
        return np.asarray(self.codes[rows, None] == np.arange(len(self.levels)), dtype=np.float64)


@dataclass
class Scans:
    """The rows of a table, one per map, and why some of them were left out.

    `subject` names the column that identifies people; without such a column the table's index does.
    """

    table: pd.DataFrame
    subject: str = "subject"
    reasons: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        import pandas as pd

        if not isinstance(self.table, pd.DataFrame):
            raise InputError(f"the table of scans is a {type(self.table).__name__}: expected a pandas DataFrame")
        if not len(self.table):
            raise InputError("the table of scans has no rows")

    @property
    def kept(self) -> NDArray[np.int64]:
        """Positions of the rows that are still in, ascending."""
        return np.array([row for row in range(len(self.table)) if row not in self.reasons], dtype=np.int64)

    def drop(self, rows: NDArray[np.bool_], reason: str) -> None:
        """Leave out the rows where `rows` holds; a row keeps the first reason it was given."""
        for row in np.flatnonzero(rows):
            self.reasons.setdefault(int(row), reason)

    def labels(self) -> list[str]:
        """Who each row is, for messages and for the account of dropped scans."""
        named = self.table[self.subject] if self.subject in self.table.columns else self.table.index
        return [str(label) for label in named]

    def dropped(self) -> pd.DataFrame:
        """One row per scan left out: row (position in the table, from 0), subject, reason."""
        import pandas as pd

        labels = self.labels()
        rows = sorted(self.reasons)
        return pd.DataFrame(
            {
                "row": np.array(rows, dtype=np.int64),
                "subject": pd.Series([labels[row] for row in rows], dtype=object),
                "reason": pd.Series([self.reasons[row] for row in rows], dtype=object),
            }
        )

    def column(self, name: str) -> pd.Series:
        """A column by name; an unknown name is an error that offers the nearest."""
        if name not in self.table.columns:
            columns = [str(column) for column in self.table.columns]
            raise InputError(f"the table has no column {name!r}{nearest(str(name), columns)}; it has {columns}")
        found = self.table[name]
        if found.ndim != 1:
            raise InputError(f"the table has {found.shape[1]} columns called {name!r}")
        return found

    def factor(self, name: str, levels: Sequence[Any] | None = None) -> Factor:
        """The levels of a column: those given, in that order; else its own, in the order of appearance.

        An ordered categorical column brings its order along. Rows without a value, and rows of a level that is not
        among `levels`, are dropped with that reason.
        """
        import pandas as pd

        values = self.column(name)
        missing = values.isna().to_numpy(dtype=bool)
        present = list(pd.unique(values[~missing]))
        if levels is None:
            kind = values.dtype
            ordered = isinstance(kind, pd.CategoricalDtype) and kind.ordered
            levels = [level for level in values.cat.categories if level in present] if ordered else present
        for level in levels:
            if level not in present:
                known = [str(value) for value in present]
                raise InputError(f"column {name!r} has no level {level!r}{nearest(str(level), known)}; it has {known}")
        names = tuple(str(level) for level in levels)
        if len(set(names)) != len(names):
            raise InputError(f"levels of {name!r} are not distinct: {list(names)}")
        place = {level: code for code, level in enumerate(levels)}
        code_of = np.array([place.get(level, -1) for level in present] + [-1], dtype=np.int64)
        seen = pd.factorize(values)[0]  # positions in `present`, -1 where missing
        codes = code_of[seen]
        self.drop(missing, f"{name} is missing")
        for number in np.flatnonzero(code_of[:-1] < 0):
            self.drop(seen == number, f"{name} {str(present[number])!r} is not a level of the model")
        return Factor(name, names, codes)

    def require(self, names: Sequence[str]) -> None:
        """Drop the rows in which one of these columns has no value."""
        for name in names:
            self.drop(self.column(name).isna().to_numpy(dtype=bool), f"{name} is missing")

    def numbers(self, name: str) -> F64:
        """A numeric column over the kept rows, centred."""
        import pandas as pd

        values = self.column(name)
        if not pd.api.types.is_numeric_dtype(values):
            text = next((value for value in values.dropna() if not _is_number(value)), "numbers stored as text")
            raise InputError(f"column {name!r} is not numeric (found {text!r}); convert it to numbers")
        found = values.iloc[self.kept].to_numpy(dtype=np.float64)
        if not np.isfinite(found).all():
            row = int(self.kept[np.flatnonzero(~np.isfinite(found))[0]])
            raise InputError(f"column {name!r} is infinite in row {row} ({self.labels()[row]})")
        if np.ptp(found) == 0:
            raise InputError(f"{name!r} has the same value ({found[0]:g}) in every scan of the model; leave it out")
        return np.asarray(found - found.mean())

    def covariates(self, names: Sequence[str]) -> tuple[tuple[str, ...], F64]:
        """Centred columns: a number as it is; text coded against its first level, as "sex[M]"."""
        import pandas as pd

        given: object = names
        if isinstance(given, str):
            raise InputError(f"covariates = {given!r}: expected a list of columns, such as [{given!r}]")
        rows = self.kept
        titles: list[str] = []
        columns: list[F64] = []
        for name in names:
            values = self.column(name)
            categorical = isinstance(values.dtype, pd.CategoricalDtype)
            if not categorical and (pd.api.types.is_numeric_dtype(values) or values.map(_is_number).any()):
                titles.append(str(name))
                columns.append(self.numbers(name))
                continue
            factor = Scans(self.table.iloc[rows], self.subject).factor(name)
            if len(factor.levels) < 2:
                raise InputError(f"{name!r} is {factor.levels[0]!r} in every scan of the model; leave it out")
            coded = factor.indicators(np.arange(len(rows)))[:, 1:]
            titles.extend(f"{name}[{level}]" for level in factor.levels[1:])
            columns.extend((coded - coded.mean(axis=0)).T)
        return tuple(titles), np.array(columns).reshape(len(titles), len(rows)).T


def nearest(name: str, known: Sequence[str]) -> str:
    """ " (did you mean 'age'?)" where a known name is close, else nothing."""
    close = get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _is_number(value: Any) -> bool:
    try:
        return bool(np.isfinite(float(value)))
    except (TypeError, ValueError):
        return False
