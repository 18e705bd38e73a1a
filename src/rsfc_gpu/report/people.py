"""From the table of runs to the flow chart: who entered, who left and why, who was analysed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from rsfc_gpu.report.exhibits import Exhibits
from rsfc_gpu.report.flow_chart import FlowArm, FlowStep, flow_chart
from rsfc_gpu.report.outputs import Outputs
from rsfc_gpu.report.page import Block, Text
from rsfc_gpu.report.tables import counted

# What those who stand in a box have come through, and the stages at which they may leave it.
_STEPS = (
    ("in the dataset", ("enrolment",)),
    ("with images", ("images", "realignment", "motion", "normalisation", "denoise", "coverage", "participant")),
)
# Reasons are counted by stage: the words of each run name its own numbers.
_REASONS = {
    "images": "image missing or damaged",
    "realignment": "realignment failed",
    "motion": "head motion beyond the limit",
    "normalisation": "normalisation failed",
    "denoise": "too few degrees of freedom",
    "coverage": "seed not covered",
    "participant": "another visit left out",
}
_ORDER = ("enrolment", "images", "realignment", "motion", "normalisation", "denoise", "coverage", "participant")


def people_blocks(outputs: Outputs, exhibits: Exhibits) -> Iterator[Block]:
    """The flow chart and Table 1."""
    flow = in_order_of_the_study(outputs.flow, outputs.study)
    people = outputs.table("clinical/participants.tsv")
    kept = flow[flow["status"] == "kept"]
    yield Text(
        f"{counted(flow['participant_id'].nunique(), 'participant')} in the dataset, "
        f"{kept['participant_id'].nunique()} analysed, with {counted(len(kept), 'run')}."
    )
    caption = "Flow of the participants. A participant counts as left out where no run of theirs was analysed."
    yield exhibits.picture("flow_chart", flow_chart(flow_arms(flow, people)), caption)
    printed = outputs.table("clinical/table_one.tsv", as_text=True)
    if len(printed):
        notes = ["Mean ± SD or n (%). Each p has its test beside it; they are not corrected for their number."]
        headings = {str(name): " " if name == "row" else str(name) for name in printed.columns}
        source = outputs.folder / "clinical/table_one.tsv"
        yield exhibits.table("table_one", printed, title="Participants.", headings=headings, notes=notes, source=source)


def flow_arms(flow: pd.DataFrame, people: pd.DataFrame | None = None) -> tuple[FlowArm, ...]:
    """One arm per group, counted in participants; those without any run that was kept are lost, at their first stage.

    Parameters
    ----------
    flow : one row per run: participant_id, group, stage, status, reason.
    people : participant_id and response, for the groups that the analysed fall into.
    """
    rows = flow.assign(arm=flow["group"].astype(object).fillna("no group").astype(str))
    kept = set(rows.loc[rows["status"] == "kept", "participant_id"])
    lost = rows[~rows["participant_id"].isin(kept)]
    place = {stage: number for number, stage in enumerate(_ORDER)}
    # A visit left out for the sake of another one says nothing about why, so it comes last.
    lost = lost.assign(place=lost["stage"].map(place).fillna(len(place))).sort_values("place", kind="stable")
    lost = lost.drop_duplicates("participant_id")
    arms = []
    for name, members in rows.groupby("arm", sort=False):
        analysed = kept & set(members["participant_id"])
        groups = _responses(people, analysed)
        arms.append(_arm(str(name), members["participant_id"].nunique(), lost[lost["arm"] == name], groups))
    return tuple(arms)


def _arm(name: str, n: int, lost: pd.DataFrame, groups: tuple[tuple[str, int], ...]) -> FlowArm:
    steps: list[FlowStep] = []
    for words, stages in _STEPS:
        here = lost[lost["stage"].isin(stages)]
        if len(here) or not steps:
            said = here["stage"].map(_REASONS).fillna(here["reason"].fillna("no reason given").astype(str))
            left = tuple((str(reason), int(count)) for reason, count in said.value_counts(sort=True).items())
            steps.append(FlowStep(f"{name}: {words}", n, left))
            n -= len(here)
    return FlowArm((*steps, FlowStep(f"{name}: analysed", n)), groups)


def _responses(people: pd.DataFrame | None, analysed: set[str]) -> tuple[tuple[str, int], ...]:
    if people is None or "response" not in people:
        return ()
    counts = people.loc[people["participant_id"].isin(analysed), "response"].dropna().value_counts(sort=False)
    return tuple((str(name), int(n)) for name, n in counts.items()) if len(counts) > 1 else ()


def in_order_of_the_study(flow: pd.DataFrame, study: Mapping[str, Any]) -> pd.DataFrame:
    """The rows with groups and then visits in the order in which the study names them, others after these."""
    models, chosen = study.get("models", ()), study.get("participants", {})
    groups = [level for model in models for level in model.get("levels", ())]
    visits = [chosen.get("baseline"), *chosen.get("follow_up", ())]
    visits += [visit for model in models for visit in model.get("sessions", ())]
    return (
        flow.assign(group_place=_places(flow["group"], groups), visit_place=_places(flow["session_id"], visits))
        .sort_values(["group_place", "visit_place"], kind="stable", ignore_index=True)
        .drop(columns=["group_place", "visit_place"])
    )


def _places(names: pd.Series[Any], known: Sequence[object]) -> pd.Series[int]:
    """Where each name stands in the list; after it where it does not."""
    place = {name: number for number, name in reversed(list(enumerate(known)))}
    return names.map(place).fillna(len(known)).astype(int)


def left_out(flow: pd.DataFrame, status: str) -> pd.DataFrame:
    """The rows of runs with this status ("excluded" or "failed"): who, which run, at which stage and why."""
    columns = [name for name in ("participant_id", "session_id", "run", "group", "stage", "reason") if name in flow]
    return flow.loc[flow["status"] == status, columns].dropna(axis="columns", how="all")
