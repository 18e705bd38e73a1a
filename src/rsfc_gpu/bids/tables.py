"""The tables of a dataset, read strictly: what is wrong is refused by file, line and column, never guessed around."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rsfc_gpu.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

MISSING = ("n/a", "")


def read_participants(root: Path) -> pd.DataFrame:
    """participants.tsv: one row per participant, ids with "sub-"; columns of numbers as numbers, others as text.

    Raises
    ------
    InputError : no such file, no participant_id, two rows of one participant; as `read_strict`.
    """
    path = root / "participants.tsv"
    if not path.exists():
        raise InputError(
            f"{path}: no such file; a dataset has a table of its people there, separated by tabs, one row each: "
            "participant_id and the columns that the study names (groups, covariates)"
        )
    table = read_strict(path)
    _require(table, "participant_id", path)
    table["participant_id"] = _with_prefix(table["participant_id"], "sub-", path)
    _refuse_doubles(table, ["participant_id"], path)
    return table


def read_visits(root: Path, measure: str, participants: Sequence[str]) -> pd.DataFrame:
    """A measure taken at several visits: columns participant_id, session_id (without "ses-"), and the measure.

    Looked for in phenotype/*.tsv with a session_id, then in sub-*/sub-*_sessions.tsv. A missing score is NaN.

    Raises
    ------
    InputError : nowhere, or in more than one phenotype file; two rows of one visit; text where numbers are needed.
    """
    import pandas as pd

    found = []
    for path in sorted((root / "phenotype").glob("*.tsv")):
        header = _lines(path)[0].split("\t")
        if measure in header and "session_id" in header:
            found.append(path)
    if len(found) > 1:
        raise InputError(f"{measure} is in {found[0].name} and {found[1].name} of phenotype/; keep one")
    if found:
        return _visits_of(read_strict(found[0], numeric=[measure]), measure, found[0])
    parts = []
    for person in participants:
        path = root / person / f"{person}_sessions.tsv"
        if path.is_file():
            table = read_strict(path)
            if measure in table.columns:
                table = read_strict(path, numeric=[measure])
                parts.append(_visits_of(table.assign(participant_id=person), measure, path))
    if not parts:
        raise InputError(
            f"{root}: no column {measure} with a session_id, neither in phenotype/*.tsv nor in sub-*_sessions.tsv"
        )
    return pd.concat(parts, ignore_index=True)


def _visits_of(table: pd.DataFrame, measure: str, path: Path) -> pd.DataFrame:
    for column in ("participant_id", "session_id", measure):
        _require(table, column, path)
    table["participant_id"] = _with_prefix(table["participant_id"], "sub-", path)
    table["session_id"] = table["session_id"].astype(str).str.removeprefix("ses-")
    _refuse_doubles(table, ["participant_id", "session_id"], path)
    return table[["participant_id", "session_id", measure]]


def read_strict(path: Path, *, numeric: Sequence[str] = ()) -> pd.DataFrame:
    """A tab-separated table. "n/a" and an empty cell are missing; a byte order mark and Windows line ends are fine.

    A column whose every value is a number becomes float64 (ids and sessions never do); all else stays text.

    Parameters
    ----------
    numeric : columns that must hold numbers.

    Raises
    ------
    InputError : no such file, other encodings, commas or semicolons for tabs, a column name twice or empty, a row of
        another length, a value in `numeric` that is no number (a decimal comma is named as such).
    """
    import pandas as pd

    lines = _lines(path)
    header = [name.strip() for name in lines[0].split("\t")]
    if len(lines) > 1:
        refuse_other_separators(path, header)
    for name in header:
        if not name:
            raise InputError(f"{path}: a column without a name")
        if header.count(name) > 1:
            raise InputError(f"{path}: two columns named {name!r}")
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) != len(header):
            raise InputError(f"{path}, line {number}: {len(cells)} cells, the header has {len(header)}")
        rows.append(cells)
    table = pd.DataFrame(rows, columns=header, dtype=object)
    table = table.mask(table.isin(MISSING))
    for name in header:
        must = name in numeric
        if must or name not in ("participant_id", "session_id"):
            table[name] = _numbers(table[name], name, path, must=must)
    for name in numeric:
        _require(table, name, path)
    return table


def refuse_other_separators(source: object, header: Sequence[str]) -> None:
    """Commas or semicolons in the only column name mean that they stand for tabs.

    Raises
    ------
    InputError : they do.
    """
    for sign, words in ((",", "commas"), (";", "semicolons")):
        if len(header) == 1 and sign in header[0]:
            raise InputError(f"{source}: separated by {words}; BIDS tables have tabs")


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8 text") from error
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if not lines[0].strip():
        raise InputError(f"{path}: empty, or without a header")
    return lines


def _numbers(column: pd.Series[str], name: str, path: Path, *, must: bool) -> pd.Series[str] | pd.Series[float]:
    import pandas as pd

    given = column.dropna()
    values = pd.to_numeric(given, errors="coerce")
    # Python reads 1_000 and infinity as numbers; a table of people has no such.
    bad = given[values.isna() | values.abs().eq(float("inf")) | given.str.contains("_")]
    if not len(bad):
        return values.reindex(column.index).astype("float64")
    comma = given[given.str.fullmatch(r"[+-]?\d+,\d+")]
    mostly = len(given) - len(bad) + len(comma) == len(given)
    if not must and not (len(comma) and mostly):
        return column
    first = comma.index[0] if len(comma) else bad.index[0]
    hint = "; write decimal points, not commas" if len(comma) else "; write n/a where a value is missing"
    raise InputError(f"{path}: column {name}, row {int(str(first)) + 1}: {column[first]!r} is not a number{hint}")


def _require(table: pd.DataFrame, column: str, path: Path) -> None:
    if column in table.columns:
        return
    near = difflib.get_close_matches(column, list(table.columns), n=1)
    known = f"; did you mean {near[0]}?" if near else f"; it has {', '.join(table.columns)}"
    raise InputError(f"{path}: no column {column}{known}")


def _with_prefix(ids: pd.Series[str], prefix: str, path: Path) -> pd.Series[str]:
    if ids.isna().any():
        raise InputError(f"{path}: row {int(ids.isna().to_numpy().argmax()) + 1} has no participant_id")
    return ids.astype(str).map(lambda label: label if label.startswith(prefix) else prefix + label)


def _refuse_doubles(table: pd.DataFrame, key: list[str], path: Path) -> None:
    twice = table[table.duplicated(key)]
    if len(twice):
        raise InputError(f"{path}: two rows for {' '.join(str(value) for value in twice.iloc[0][key])}")
