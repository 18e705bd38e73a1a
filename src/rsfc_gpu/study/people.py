"""The participants of a study: their table with scores, reduction rates and response."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rsfc_gpu.bids import Dataset, read_participants, read_visits
from rsfc_gpu.clinical import is_responder, reduction_rate
from rsfc_gpu.errors import InputError
from rsfc_gpu.study.config import Model, Participants, Study

if TYPE_CHECKING:
    import pandas as pd

_MEANS_MISSING = ("na", "n.a.", "nan", "null", "#n/a")
# Known only once the runs are processed; the second of raw runs only, whose own geometry is at hand.
SCAN_COLUMNS = "mean_fd_power_mm", "mean_fd_jenkinson_mm"


def read_people(dataset: Dataset, study: Study) -> pd.DataFrame:
    """One row per participant: participants.tsv, SCORE_VISIT, reduction_VISIT (per cent) and response.

    `response` is "responder" or "nonresponder", missing without both scores.

    Raises
    ------
    InputError : images of somebody who is not in the table, columns or levels that the study names and the table lacks;
        as the readers of the tables.
    """
    choice = study.participants
    people = read_participants(dataset.root)
    with_images = {run.participant_id for run in dataset.runs}
    strangers = sorted(with_images - set(people["participant_id"]))
    if strangers:
        raise InputError(
            f"{dataset.root / 'participants.tsv'}: no row for {', '.join(strangers[:5])}"
            f"{' and others' if len(strangers) > 5 else ''}, who {'have' if len(strangers) > 1 else 'has'} images"
        )
    source = str(dataset.root / "participants.tsv")
    for column in choice.treated:
        if column not in people.columns:
            raise InputError(f"{source}: no column {column!r}, which participants.treated of the study names")
    people = _codes_as_text(people, study)
    if choice.score is not None:
        people = _with_scores(people, dataset, choice)
    if "response" not in people.columns:
        people["response"] = None
    _check_columns(people, study, source)
    if choice.group not in people.columns:
        people[choice.group] = None
    _check_table_one(people, study, source)
    return people


def _codes_as_text(people: pd.DataFrame, study: Study) -> pd.DataFrame:
    """Columns of numbers that the study takes as levels, as text: 1 is "1", as it stands in a study file."""
    numbers = {column for model in study.models for column in (*model.covariates, *model.regressors)}
    levels = {study.participants.group, *study.participants.treated}
    levels |= {column for model in study.models for column in (*model.who, *([model.group] if model.group else []))}
    levels |= {column for shown in study.report.columns for column in shown.where}
    for column in (levels - numbers) & set(people.columns):
        if people[column].dtype.kind == "f" and people[column].notna().any():
            people[column] = people[column].map("{:g}".format, na_action="ignore").astype(object)
    return people


def _with_scores(people: pd.DataFrame, dataset: Dataset, choice: Participants) -> pd.DataFrame:
    assert choice.score is not None
    visits = read_visits(dataset.root, choice.score, dataset.participants)
    strangers = sorted(set(visits["participant_id"]) - set(people["participant_id"]))
    if strangers:
        raise InputError(
            f"{choice.score}: scores of {', '.join(strangers[:5])}{' and others' if len(strangers) > 5 else ''}, "
            "with no row in participants.tsv"
        )
    wide = visits.pivot(index="participant_id", columns="session_id", values=choice.score)
    for visit in (choice.baseline, *choice.follow_up):
        if visit not in wide.columns:
            raise InputError(f"{choice.score}: no visit {visit!r}; there are {', '.join(map(str, wide.columns))}")
        people[f"{choice.score}_{visit}"] = people["participant_id"].map(wide[visit]).astype("float64")
    before = people[f"{choice.score}_{choice.baseline}"].where(chosen(people, choice.treated))
    wrong = people.assign(before=before)[before <= 0]
    if len(wrong):
        raise InputError(
            f"{choice.score}: {wrong['participant_id'].iloc[0]} has {wrong['before'].iloc[0]:g} at {choice.baseline}; "
            "the reduction is a share of the first score, which must be above 0 (whose scores are followed: "
            "participants.treated)"
        )
    for visit in choice.follow_up:
        people[f"reduction_{visit}"] = reduction_rate(before, people[f"{choice.score}_{visit}"])
    if choice.response_visit is not None:
        reached = is_responder(
            people[f"reduction_{choice.response_visit}"],
            threshold_percent=choice.response_percent,
            comparison=choice.response_comparison,
        )
        response = reached.map({True: "responder", False: "nonresponder"}).astype(object)
        people["response"] = response.where(response.notna(), None)
    return people


def chosen(people: pd.DataFrame, who: Mapping[str, Iterable[str]]) -> pd.Series[bool]:
    """Which rows have one of the given values in every named column."""
    import pandas as pd

    inside = pd.Series(True, index=people.index)
    for column, values in who.items():
        inside &= people[column].isin(list(values))
    return inside


def _check_columns(people: pd.DataFrame, study: Study, source: str) -> None:
    """Every column and level that the study names is there."""
    known = [*people.columns, *SCAN_COLUMNS]
    wanted: list[tuple[str, str]] = []
    # The default column only labels tables and figures: a dataset of one group need not have it.
    if study.participants.group != Participants.model_fields["group"].default:
        wanted.append(("participants.group", study.participants.group))
    if study.participants.reason_column is not None:
        wanted.append(("participants.reason_column", study.participants.reason_column))
    wanted += [(f"models.{model.name}", column) for model in study.models for column in _columns_of(model)]
    wanted += [("associations.partial", column) for column in study.associations.partial]
    wanted += [("report.rows", row.column) for row in study.report.rows]
    wanted += [("report.columns", column) for group in study.report.columns for column in group.where]
    if study.roc.models:
        wanted.append(("roc", "response"))
    for where, column in wanted:
        if column not in known:
            near = difflib.get_close_matches(column, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known)}"
            raise InputError(f"{source}: no column {column!r}, which {where} of the study names; {hint}")
    known_response = [str(value) for value in people["response"].dropna().unique()]
    if study.roc.models and known_response and study.roc.positive not in known_response:
        raise InputError(f"roc.positive = {study.roc.positive!r}: response is {' or '.join(known_response)}")
    in_models = [name for where, name in wanted if where.startswith(("models.", "associations.", "report.columns"))]
    for column in dict.fromkeys(name for name in in_models if name in people.columns):
        _check_spelling(people, column, source)
    for model in study.models:
        levels: dict[str, Any] = dict(model.who)
        if model.group is not None:
            levels[model.group] = (*levels.get(model.group, ()), *model.levels)
        for column, values in levels.items():
            there = [str(value) for value in people[column].dropna().unique()]
            for value in values:
                if value not in there:
                    near = difflib.get_close_matches(value, there, n=1)
                    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(there[:8])}"
                    raise InputError(f"{source}: nobody has {column} = {value!r} (models.{model.name}); {hint}")


def _check_spelling(people: pd.DataFrame, column: str, source: str) -> None:
    """Text that means a missing value, or a level in two spellings, would become levels of a model without a word."""
    spelled: dict[str, str] = {}
    for person, value in people[["participant_id", column]].dropna().itertuples(index=False):
        if not isinstance(value, str):
            continue
        plain = value.casefold()
        if plain in _MEANS_MISSING:
            raise InputError(f"{source}: column {column!r} holds {value!r} ({person}); write n/a for a missing value")
        if spelled.setdefault(plain, value) != value:
            raise InputError(
                f"{source}: column {column!r} holds {spelled[plain]!r} and {value!r} ({person}); write one of them"
            )


def _check_table_one(people: pd.DataFrame, study: Study, source: str) -> None:
    """Rows have the kind of their column and a level that it may have; columns have people; comparisons, columns.

    A level that nobody has is an error only where the column has two others: few people may lack the rarer of two.
    """
    import pandas as pd

    for row in study.report.rows:
        if row.column in SCAN_COLUMNS or not people[row.column].notna().any():
            continue
        there = people[row.column].dropna().unique()
        is_number = pd.api.types.is_numeric_dtype(people[row.column])
        if row.kind == "continuous" and not is_number:
            raise InputError(
                f"{source}: column {row.column!r} is text (such as {there[0]!r}), and report.rows takes it as "
                'continuous; set kind = "categorical"'
            )
        values = [f"{value:g}" if is_number else str(value) for value in there]
        if row.level is None or row.level in values:
            continue
        if len(values) > 1 or (is_number and not row.level.replace(".", "", 1).isdigit()):
            raise InputError(
                f"{source}: nobody has {row.column} = {row.level!r} (report.rows); there are {', '.join(values[:8])}"
            )
    for column in study.report.columns:
        for name, value in column.where.items():
            values = [str(one) for one in people[name].dropna().unique()]
            for one in [value] if isinstance(value, str) else value:
                if values and one not in values and name != "response":
                    raise InputError(
                        f"{source}: nobody has {name} = {one!r} (report.columns {column.name}); there are "
                        f"{', '.join(values[:8])}"
                    )
    names = [column.name for column in study.report.columns]
    for name in (one for pair in study.report.comparisons for one in pair):
        if name not in names:
            raise InputError(f"report.comparisons names {name!r}: report.columns has {', '.join(names)}")


def _columns_of(model: Model) -> list[str]:
    return [*model.who, *((model.group,) if model.group else ()), *model.covariates, *model.regressors]
