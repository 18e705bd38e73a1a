"""Design of a group model: its matrix, what the columns are, and which maps are in."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.errors import InputError
from rsfc_gpu.group.covariance import Components
from rsfc_gpu.group.factors import Factor, Scans

if TYPE_CHECKING:
    import pandas as pd

F64 = NDArray[np.float64]
Kind = Literal["one_sample", "two_sample", "paired", "regression", "flexible_factorial"]


class AbsorbedCovariateWarning(UserWarning):
    """Covariates that do not change within a subject have no effect beside a column for each subject."""


@dataclass(frozen=True, eq=False)
class Design:
    """A linear model of N maps.

    Attributes
    ----------
    kind : which function of `models` built it.
    matrix : (N, P) columns in the order cells or mean, covariates (centred over the N maps), subjects.
    columns : (P,) names; cells carry the table's levels ("MDD", ``responder@baseline``), subjects "subject[sub-01]".
    cells : the leading columns that mark groups of maps; each map belongs to one.
    subjects : (P,) True for the subject columns.
    rows : (N,) positions in the table of the maps that are in.
    n_table_rows : rows of the table.
    dropped : the other rows: row, subject, reason.
    absorbed : covariates that are constant within every subject and so have no effect here.
    tests : weights of the named tests, (rows, P) each, such as "group:time".
    components : of the covariance of the maps, for restricted maximum likelihood; none: independent, equal variances.
    """

    kind: Kind
    matrix: F64
    columns: tuple[str, ...]
    cells: tuple[str, ...]
    subjects: NDArray[np.bool_]
    rows: NDArray[np.int64]
    n_table_rows: int
    dropped: pd.DataFrame
    absorbed: tuple[str, ...] = ()
    tests: Mapping[str, F64] = field(default_factory=dict)
    components: Components = ()


def assemble(
    kind: Kind,
    scans: Scans,
    cell_names: tuple[str, ...],
    cells: F64,
    covariates: Sequence[str],
    *,
    people: Factor | None = None,
    tests: Mapping[str, Sequence[Sequence[float]]] | None = None,
    components: Components = (),
) -> Design:
    """A design from cells, covariates and people: puts the columns together and checks what they can tell apart.

    `tests` are weights over the cells. Covariates that the subject columns absorb raise one warning.
    """
    rows = scans.kept
    names, values = scans.covariates(covariates)
    subjects = np.zeros((len(rows), 0)) if people is None else people.indicators(rows)
    subject_names = () if people is None else tuple(f"{people.name}[{name}]" for name in people.levels)
    columns = (*cell_names, *names, *subject_names)
    if len(set(columns)) != len(columns):
        twice = next(name for name in columns if columns.count(name) > 1)
        raise InputError(f"two columns of the model are called {twice!r}; rename the level or the covariate")
    absorbed = tuple(name for name, column in zip(names, values.T, strict=True) if _explained(column, subjects))
    _check_collinear(names, values, np.hstack([cells, subjects]), absorbed)
    matrix = np.hstack([cells, values, subjects])
    if len(rows) <= np.linalg.matrix_rank(matrix):
        raise InputError(f"{len(rows)} usable maps leave no degrees of freedom for {len(columns)} columns")
    if absorbed:
        warnings.warn(
            f"constant within subjects, and so without effect beside the subject columns: {', '.join(absorbed)}",
            AbsorbedCovariateWarning,
            stacklevel=3,
        )
    width = len(columns)
    padded = {
        name: np.pad(np.asarray(weights, dtype=np.float64), ((0, 0), (0, width - len(cell_names))))
        for name, weights in (tests or {}).items()
    }
    return Design(
        kind=kind,
        matrix=matrix,
        columns=columns,
        cells=cell_names,
        subjects=np.arange(width) >= width - len(subject_names),
        rows=rows,
        n_table_rows=len(scans.table),
        dropped=scans.dropped(),
        absorbed=absorbed,
        tests=padded,
        components=components,
    )


def _explained(column: F64, others: F64) -> bool:
    """Whether `column` is a sum of the `others`."""
    if others.shape[1] == 0:
        return False
    residual = column - others @ np.linalg.lstsq(others, column, rcond=None)[0]
    return bool(np.linalg.norm(residual) <= 1e-8 * np.linalg.norm(column))


def _check_collinear(names: Sequence[str], values: F64, basis: F64, absorbed: Sequence[str]) -> None:
    for position, name in enumerate(names):
        if name in absorbed:
            continue
        if _explained(values[:, position], basis):
            raise InputError(
                f"covariate {name!r} is collinear with the groups or the covariates before it; leave it out"
            )
        basis = np.column_stack([basis, values[:, position]])
