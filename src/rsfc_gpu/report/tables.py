"""Tables for people and for programs: tab-separated files that no spreadsheet runs, and rows of text for the page."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rsfc_gpu.clinical.text import p_value_text
from rsfc_gpu.files import write_text

MISSING = "n/a"
_FORMULA_STARTS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # the wide forms too
_NOTHING = ("", "-")
_BREAKS = re.compile(r"[\t\r\n\v\f\x85\u2028\u2029]+")


def safe_cell(value: object) -> object:
    """A cell for a file: text that a spreadsheet would run as a formula gets an apostrophe before it.

    Numbers, and text that is a number, stay as they are. Tabs and line ends become spaces, as BIDS tables need.
    """
    if not isinstance(value, str):
        return value
    flat = _BREAKS.sub(" ", value)
    bare = flat.strip()
    if bare in _NOTHING:
        return MISSING
    return "'" + flat if bare.startswith(_FORMULA_STARTS) and not _is_number(bare) else flat


def counted(count: int, noun: str) -> str:
    """A number and what it counts: "1 run", "2 runs"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def tsv_text(frame: pd.DataFrame) -> str:
    """The table as tab-separated text: full precision, missing cells "n/a", no cell that starts a formula."""
    safe = frame.copy()
    safe.columns = pd.Index([str(safe_cell(str(name))) for name in frame.columns])
    for position in range(safe.shape[1]):
        column = frame.iloc[:, position]
        if not pd.api.types.is_numeric_dtype(column):
            safe.isetitem(position, column.astype(object).map(safe_cell, na_action="ignore").to_numpy(dtype=object))
    lines = StringIO()
    safe.to_csv(lines, sep="\t", index=False, na_rep=MISSING, lineterminator="\n")
    return lines.getvalue()


def write_tsv(frame: pd.DataFrame, path: Path) -> Path:
    """Write the table as UTF-8, whole or not at all; returns `path`.

    Raises
    ------
    ResourceError : the folder cannot be written or the disk is full.
    """
    write_text(path, tsv_text(frame))
    return path


def read_tsv(path: Path, *, as_text: bool = False) -> pd.DataFrame:
    """A table that `write_tsv` wrote, or any BIDS table: only "n/a" and an empty cell are missing.

    `as_text` leaves numbers as they are spelled.
    """
    frame = pd.read_csv(
        path,
        sep="\t",
        na_values=[MISSING, ""],
        keep_default_na=False,
        encoding="utf-8-sig",
        dtype=str if as_text else None,
    )
    for position in range(frame.shape[1]):
        if not pd.api.types.is_numeric_dtype(frame.iloc[:, position]):
            frame.isetitem(
                position, frame.iloc[:, position].map(_as_written, na_action="ignore").to_numpy(dtype=object)
            )
    return frame


def _as_written(value: object) -> object:
    guarded = isinstance(value, str) and value[:1] == "'" and value[1:].strip().startswith(_FORMULA_STARTS)
    return value[1:] if isinstance(value, str) and guarded else value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text  # Python reads 1_000, a spreadsheet does not


@dataclass(frozen=True)
class ShownTable:
    """A table for the page: text only, with the columns that hold numbers marked, so that they line up."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    is_number: tuple[bool, ...]
    notes: tuple[str, ...] = ()


Format = Callable[[float], str]


def fixed(decimals: int) -> Format:
    """A format with this many decimals and a true minus sign."""
    return lambda value: f"{value:.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def unbroken(text: str) -> str:
    """The text with spaces at which no line breaks, for a short cell."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def shown_table(
    frame: pd.DataFrame,
    *,
    title: str,
    headings: Mapping[str, str] | None = None,
    formats: Mapping[str, Format] | None = None,
    notes: Sequence[str] = (),
) -> ShownTable:
    """The table as text for the page.

    Parameters
    ----------
    headings : what to call a column; where given, only these columns are shown, in this order.
    formats : how to print the numbers of a column; "p" and "q" columns need none.
    """
    names = dict(headings) if headings is not None else {str(name): str(name) for name in frame.columns}
    present = [name for name in names if name in frame.columns]
    is_number = [pd.api.types.is_numeric_dtype(frame[name]) for name in present]
    columns = [_texts(frame[name], (formats or {}).get(name) or _usual_format(name)) for name in present]
    rows = tuple(zip(*columns, strict=True))
    return ShownTable(title, tuple(names[name] for name in present), rows, tuple(is_number), tuple(notes))


def _texts(column: pd.Series[Any], form: Format) -> list[str]:
    return ["" if pd.isna(value) else _text(value, form) for value in column]


def _text(value: object, form: Format) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return str(value).replace("-", "\N{MINUS SIGN}")
    if isinstance(value, float | np.floating):
        return form(float(value))
    return str(value)


def _usual_format(name: str) -> Format:
    """Probabilities as in a paper, other numbers with three significant digits."""
    if name in ("p", "q") or name.startswith(("p_", "q_")) or name.endswith(("_p", "_q")) or "_p_" in name:
        return p_value_text
    return lambda value: f"{value:.3g}".replace("-", "\N{MINUS SIGN}")
