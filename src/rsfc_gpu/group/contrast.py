"""Contrasts: weights over the columns of a design, from numbers or text, and whether the model can estimate them."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rsfc_gpu.errors import InputError
from rsfc_gpu.group.design import Design
from rsfc_gpu.group.factors import nearest

F64 = NDArray[np.float64]

_SIGN = re.compile(r"\s*([+-]?)\s*")
_FACTOR = re.compile(r"(\d+\.?\d*|\.\d+)\s*\*\s*")


def contrast_weights(design: Design, contrast: str | ArrayLike) -> tuple[F64, str]:
    """Weights (rows, P) of a contrast and its name.

    Parameters
    ----------
    contrast : weights over `design.columns`, one row or several, padded with zeros on the right; or text: a named test
        of the design ("group:time"), or a sum of columns such as "MDD - HC" or "0.5*a + 0.5*b - c".

    Raises
    ------
    InputError : an unknown column, no weight that is not zero, or a contrast that the model cannot estimate.
    """
    if isinstance(contrast, str):
        name = contrast.strip()
        weights = design.tests[name] if name in design.tests else _parse(design, name)[None, :]
    else:
        weights = _padded(design, contrast)
        name = "; ".join(_spelled(design, row) for row in weights)
    if not np.isfinite(weights).all() or not weights.any(axis=1).all():
        raise InputError(f"contrast {name or contrast!r}: every row needs finite weights that are not all zero")
    _check_estimable(design, weights, name)
    return weights, name


def _padded(design: Design, contrast: ArrayLike) -> F64:
    width = len(design.columns)
    rows = list(contrast) if isinstance(contrast, (list, tuple, np.ndarray)) else [contrast]
    rows = rows if rows and np.ndim(rows[0]) else [rows]
    weights = np.zeros((len(rows), width))
    for row, given in zip(weights, rows, strict=True):
        values = np.asarray(given)
        if values.ndim != 1 or not 0 < values.size <= width or values.dtype.kind not in "iuf":
            raise InputError(f"contrast row {given!r}: expected at most {width} numbers, for columns {_tested(design)}")
        row[: values.size] = values
    return weights


def _tested(design: Design) -> list[str]:
    """The columns that contrasts are about: all but the subjects'."""
    return [column for column, subject in zip(design.columns, design.subjects, strict=True) if not subject]


def _parse(design: Design, text: str) -> F64:
    """One row of weights from a sum of columns. Names may hold signs and blanks: the longest that fits is taken."""
    weights = np.zeros(len(design.columns))
    names = sorted(design.columns, key=len, reverse=True)
    position = 0
    while position < len(text) or position == 0:
        sign = _SIGN.match(text, position)
        assert sign is not None  # it may be empty
        if position > 0 and not sign.group(1):
            raise InputError(f"contrast {text!r}: expected + or - before {text[position:].strip()!r}")
        position = sign.end()
        size = 1.0
        name = _name_at(text, position, names)
        if name is None and (factor := _FACTOR.match(text, position)):
            size, position = float(factor.group(1)), factor.end()
            name = _name_at(text, position, names)
        if name is None:
            known = [*design.tests, *_tested(design)]
            word = re.split(r"\s[+-]\s", text[position:])[0].strip()
            raise InputError(f"contrast {text!r} names {word!r}{nearest(word, known)}; the design has {known}")
        weights[design.columns.index(name)] += -size if sign.group(1) == "-" else size
        position += len(name)
        position += len(text[position:]) - len(text[position:].lstrip())
    return weights


def _name_at(text: str, position: int, names: list[str]) -> str | None:
    """The longest name that stands at `position` and ends there: before a blank, a sign, or the end."""
    for name in names:
        end = position + len(name)
        if text.startswith(name, position) and (end == len(text) or text[end] in " \t+-"):
            return name
    return None


def _spelled(design: Design, weights: F64) -> str:
    """Weights as text: "MDD - HC"."""
    parts = []
    for name, weight in zip(design.columns, weights, strict=True):
        if weight:
            size = "" if abs(weight) == 1 else f"{abs(weight):g}*"
            parts.append(f"{'-' if weight < 0 else '+'} {size}{name}")
    text = " ".join(parts)
    return text.removeprefix("+ ").replace("- ", "-", 1) if text.startswith("- ") else text.removeprefix("+ ")


def _check_estimable(design: Design, weights: F64, name: str) -> None:
    """A contrast is estimable where it is a sum of rows of the design matrix."""
    matrix = design.matrix
    unseen = weights - weights @ np.linalg.pinv(matrix) @ matrix
    if np.abs(unseen).max() < 1e-8 * np.abs(weights).max():
        return
    used = np.abs(weights).max(axis=0) > 0
    absorbed = [column for column, use in zip(design.columns, used, strict=True) if use and column in design.absorbed]
    if absorbed:
        raise InputError(
            f"contrast {name!r} cannot be estimated: {', '.join(absorbed)} does not change within subjects "
            "and is absorbed by the subject columns. Average each subject's maps and use two_sample or regression."
        )
    if design.subjects.any():
        cells = [column for column, use in zip(design.columns, used, strict=True) if use and column in design.cells]
        raise InputError(
            f"contrast {name!r} cannot be estimated: {', '.join(cells) or 'its columns'} is compared between "
            f"subjects, which the subject columns absorb. {_BETWEEN_SUBJECTS[design.kind]}"
        )
    raise InputError(f"contrast {name!r} cannot be estimated: its columns cannot be told apart in this design")


_BETWEEN_SUBJECTS = {
    "paired": "Compare conditions by weights that sum to zero; for the mean use one_sample on each subject's mean map.",
    "flexible_factorial": "A difference between groups must not be judged by the error within subjects: average each "
    "subject's maps over time and use two_sample. Comparing times within groups is what this model is for.",
}
