"""The group models: one sample, two samples, regression, pairs, and group by time with repeated measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.errors import InputError
from rsfc_gpu.group.covariance import factorial_components, group_components
from rsfc_gpu.group.design import Design, assemble
from rsfc_gpu.group.factors import Factor, Scans

if TYPE_CHECKING:
    import pandas as pd

F64 = NDArray[np.float64]


def one_sample(table: pd.DataFrame, *, covariates: Sequence[str] = (), subject: str = "subject") -> Design:
    """The mean map, "mean", with centred covariates.

    Parameters
    ----------
    table : one row per map.
    covariates : columns of the table; numbers as they are, text coded against its first level; all centred over the
        maps of the model. A map without a value is dropped, and named in `Design.dropped`.
    subject : the column that identifies people, if there is one: each may have one map.

    Raises
    ------
    InputError : an unknown or constant column, columns that explain each other, too few maps, a subject seen twice.
    """
    scans = Scans(table, subject)
    scans.require(covariates)
    _check_independent(scans)
    return assemble("one_sample", scans, ("mean",), np.ones((len(scans.kept), 1)), covariates)


def two_sample(
    table: pd.DataFrame,
    *,
    group: str = "group",
    levels: Sequence[Any] | None = None,
    covariates: Sequence[str] = (),
    variances: Literal["unequal", "equal"] = "unequal",
    subject: str = "subject",
) -> Design:
    """Group means, one column per level of `group`, with centred covariates. Named test: `group`.

    Parameters
    ----------
    table, covariates, subject : as in `one_sample`.
    group : the column with the groups.
    levels : the two groups, in the order of the columns; None: as they appear in the table. Others are dropped.
    variances : "unequal" estimates a variance per group by restricted maximum likelihood, SPM12's default.

    Raises
    ------
    InputError : as in `one_sample`; not two groups, fewer than two maps in a group, a covariate that is collinear with
        the groups.
    """
    if variances not in ("unequal", "equal"):
        raise InputError(f"variances is {variances!r}: expected 'unequal' or 'equal'")
    scans = Scans(table, subject)
    groups = scans.factor(group, levels)
    if len(groups.levels) != 2:
        raise InputError(
            f"a two-sample model needs two levels of {group!r}, found {list(groups.levels)}; name two by levels=[...]"
        )
    scans.require(covariates)
    _check_group_sizes(groups, scans.kept, "maps")
    _check_independent(scans)
    cells = groups.indicators(scans.kept)
    components = group_components(groups.codes[scans.kept]) if variances == "unequal" else ()
    return assemble(
        "two_sample", scans, groups.levels, cells, covariates, tests={group: [[1, -1]]}, components=components
    )


def regression(
    table: pd.DataFrame, *, regressors: Sequence[str], covariates: Sequence[str] = (), subject: str = "subject"
) -> Design:
    """Slopes over people: "mean", then the centred regressors (numbers), then the covariates.

    Parameters and errors as in `one_sample`; regressors must be numeric.
    """
    if not regressors:
        raise InputError("a regression needs at least one regressor")
    scans = Scans(table, subject)
    scans.require([*regressors, *covariates])
    _check_independent(scans)
    for name in regressors:
        scans.numbers(name)  # the name of a column of text would be coded as a category below
    return assemble("regression", scans, ("mean",), np.ones((len(scans.kept), 1)), [*regressors, *covariates])


def paired(
    table: pd.DataFrame,
    *,
    subject: str = "subject",
    condition: str = "condition",
    levels: Sequence[Any] | None = None,
    covariates: Sequence[str] = (),
) -> Design:
    """Condition means within people: a column per level of `condition`, one per subject. Named test: `condition`.

    A subject without a map in every condition is dropped whole. Other parameters and errors as in
    `flexible_factorial`; the maps of a subject have equal variances and one covariance, so nothing is estimated.
    """
    scans = Scans(table, subject)
    conditions = scans.factor(condition, levels)
    people = _complete_subjects(scans, conditions, covariates)
    tests = {condition: _differences(len(conditions.levels)).tolist()}
    cells = conditions.indicators(scans.kept)
    return assemble("paired", scans, conditions.levels, cells, covariates, people=people, tests=tests)


def flexible_factorial(
    table: pd.DataFrame,
    *,
    subject: str = "subject",
    group: str = "group",
    time: str = "time",
    levels: Mapping[str, Sequence[Any]] | None = None,
    covariates: Sequence[str] = (),
    covariance: Literal["spm", "independent"] = "spm",
) -> Design:
    """Group by time with repeated measures: a column "group@time" per cell, covariates, and one per subject.

    Named tests: "group:time" (for two by two cells, weights 1 -1 -1 1) and `time` (1 -1 1 -1). The difference between
    groups cannot be tested against the error within subjects: average each subject's maps and use `two_sample`.

    Parameters
    ----------
    table : one row per map; a subject without a map at every time is dropped whole, each row with its reason.
    levels : the order of levels of a column, {group: [...], time: [...]}; None: as they appear in the table.
    covariates : as in `one_sample`. One that is constant within every subject is absorbed by the subject columns; it
        stays in the matrix, is listed in `Design.absorbed`, and one AbsorbedCovariateWarning names them all.
    covariance : "spm" estimates a variance for each group and a covariance between the times of each group's subjects
        by restricted maximum likelihood, as SPM12 does for a dependent factor; "independent" estimates nothing.

    Raises
    ------
    InputError : one level, fewer than two subjects in a group, a subject in two groups, two maps of one subject at one
        time, a covariate that is collinear with the cells, unknown or constant columns.
    """
    if covariance not in ("spm", "independent"):
        raise InputError(f"covariance is {covariance!r}: expected 'spm' or 'independent'")
    if levels is not None and not isinstance(levels, Mapping):
        raise InputError(f"levels of a factorial: expected {{{group!r}: [...], {time!r}: [...]}}, found {levels!r}")
    order = dict(levels or {})
    if set(order) - {group, time}:
        raise InputError(f"levels names {sorted(set(order) - {group, time})}: expected {group!r} and {time!r}")
    scans = Scans(table, subject)
    groups, times = scans.factor(group, order.get(group)), scans.factor(time, order.get(time))
    if len(groups.levels) < 2:
        raise InputError(f"column {group!r} has one level, {groups.levels[0]!r}; with a single group use paired")
    people = _complete_subjects(scans, times, covariates)
    rows = scans.kept
    for person, name in enumerate(people.levels):
        found = {groups.levels[code] for code in groups.codes[rows][people.codes[rows] == person]}
        if len(found) > 1:
            raise InputError(f"subject {name} is in more than one group: {sorted(found)}")
    _check_group_sizes(groups, rows, "subjects", len(times.levels))
    n_groups, n_times = len(groups.levels), len(times.levels)
    cells = Factor(
        "cell", tuple(f"{g}@{t}" for g in groups.levels for t in times.levels), groups.codes * n_times + times.codes
    )
    tests = {
        f"{group}:{time}": np.kron(_differences(n_groups), _differences(n_times)).tolist(),
        f"{time}:{group}": np.kron(_differences(n_groups), _differences(n_times)).tolist(),
        time: np.kron(np.ones(n_groups), _differences(n_times)).tolist(),
        group: np.kron(_differences(n_groups), np.ones(n_times)).tolist(),
    }
    components = factorial_components(groups.codes[rows], people.codes[rows]) if covariance == "spm" else ()
    return assemble(
        "flexible_factorial",
        scans,
        cells.levels,
        cells.indicators(rows),
        covariates,
        people=people,
        tests=tests,
        components=components,
    )


def _complete_subjects(scans: Scans, times: Factor, covariates: Sequence[str]) -> Factor:
    """The subjects with one usable map at every time; all others are dropped whole."""
    if len(times.levels) < 2:
        raise InputError(f"column {times.name!r} has one level, {times.levels[0]!r}; repeated measures need two")
    people = scans.factor(scans.subject)
    usable = scans.kept
    seen: set[tuple[int, int]] = set()
    for row in usable:
        pair = (int(people.codes[row]), int(times.codes[row]))
        if pair in seen:
            raise InputError(f"subject {people.levels[pair[0]]} has two rows at {times.name} {times.levels[pair[1]]!r}")
        seen.add(pair)
    scans.require(covariates)
    inside = np.isin(np.arange(len(people.codes)), scans.kept)
    for person in range(len(people.levels)):
        rows = (people.codes == person) & inside
        lacking = [level for code, level in enumerate(times.levels) if code not in times.codes[rows]]
        if lacking and rows.any():
            scans.drop(rows, f"incomplete: no usable map at {times.name} {', '.join(map(repr, lacking))}")
    rows_left = scans.kept
    if len(rows_left) == 0:
        raise InputError(f"no subject has a usable map at every {times.name} ({', '.join(times.levels)})")
    left = np.unique(people.codes[rows_left], return_index=True)[0]
    codes = np.full(len(people.codes), -1, dtype=np.int64)
    for code, person in enumerate(left):
        codes[people.codes == person] = code
    return Factor(scans.subject, tuple(people.levels[person] for person in left), codes)


def _check_independent(scans: Scans) -> None:
    """A subject may appear once where the model takes maps as independent."""
    if scans.subject not in scans.table.columns:
        return
    kept = scans.table[scans.subject].iloc[scans.kept]
    repeated = kept[kept.duplicated()]
    if len(repeated):
        raise InputError(
            f"subject {repeated.iloc[0]} has more than one map; use paired or flexible_factorial, or keep one map each"
        )


def _check_group_sizes(groups: Factor, rows: NDArray[np.int64], what: str, maps_each: int = 1) -> None:
    for code, level in enumerate(groups.levels):
        count = int((groups.codes[rows] == code).sum()) // maps_each
        if count < 2:
            raise InputError(f"{groups.name} {level!r} has {count} usable {what}: at least 2 are needed in each group")


def _differences(n: int) -> F64:
    """Each level minus the next, (n - 1, n)."""
    return np.eye(n - 1, n) - np.eye(n - 1, n, 1)
