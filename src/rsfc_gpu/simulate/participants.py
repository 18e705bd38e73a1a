"""Who takes part: the flow of the study, Table 1's distributions, and HAMD-17 at three visits.

Numbers are those of a published study (103 patients treated, 39 analysed, 45 controls). Means and SDs of each group are
met exactly before rounding, counts exactly, so that tables and tests come out as printed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rsfc_gpu.errors import InputError
from rsfc_gpu.simulate.effects import N_CONTROLS, N_NONRESPONDERS, N_PATIENTS, N_RESPONDERS

VISITS = ("baseline", "day13", "day19")
RESPONDER, NONRESPONDER, CONTROL = "responder", "nonresponder", "control"
#: Reasons for leaving, as participants.tsv spells them, and how many patients of 103 left for each.
INCOMPLETE, NO_MRI = "did not complete six infusions", "no MRI"
_LEFT = {INCOMPLETE: 13, NO_MRI: 45}
N_DAMAGED, N_MOVED = 1, 5  # scanned twice, but one visit cannot be used
_MISSING_DAY19 = 5

#: mean, SD, lowest, highest, digits; responders, nonresponders, controls.
_CONTINUOUS: dict[str, dict[str, tuple[float, float, float, float, int]]] = {
    "age": {
        RESPONDER: (40.58, 11.11, 18, 65, 0),
        NONRESPONDER: (32.55, 11.96, 18, 65, 0),
        CONTROL: (31.40, 7.98, 18, 65, 0),
    },
    "education_years": {RESPONDER: (11.63, 2.99, 5, 20, 0), NONRESPONDER: (12.00, 3.60, 5, 20, 0)},
    "bmi": {RESPONDER: (23.68, 2.62, 17, 35, 1), NONRESPONDER: (22.30, 3.58, 16, 35, 1)},
    "illness_months": {RESPONDER: (103.21, 84.50, 3, 400, 0), NONRESPONDER: (65.90, 72.97, 3, 400, 0)},
    "medication_load": {RESPONDER: (4.05, 1.68, 1, 9, 0), NONRESPONDER: (4.10, 1.86, 1, 9, 0)},
    "hamd17": {RESPONDER: (22.37, 2.67, 17, 40, 0), NONRESPONDER: (24.05, 5.76, 17, 40, 0)},
}
#: Yes, of 19 responders and of 20 nonresponders.
_YES_NO = {
    "first_episode": (6, 9),
    "psychiatric_comorbidity": (2, 4),
    "ssri": (12, 14),
    "snri": (5, 8),
    "nassa": (3, 3),
    "tricyclic": (1, 1),
    "other_antidepressant": (2, 0),
    "two_antidepressants": (6, 6),
    "lithium": (1, 1),
    "antipsychotics": (11, 14),
    "benzodiazepines": (11, 10),
}
_FEMALE = {RESPONDER: 11 / 19, NONRESPONDER: 13 / 20, CONTROL: 27 / 45}
#: Reduction of HAMD-17 on Day 13, per cent: mean, SD, lowest, highest. A responder reaches 50.
_REDUCTION = {RESPONDER: (68.0, 12.0, 50.0, 96.0), NONRESPONDER: (24.0, 13.0, -8.0, 48.0)}
_REDUCTION_DAY19 = (0.8, 13.0)  # slope on the reduction of Day 13 around its group's mean, and SD around the line
_MEDICATION_SLOPE = -0.55  # correlation of medication load with the reduction on Day 13, within each group
#: Mean framewise displacement, mm: mean, SD, lowest, highest.
_MOTION = {
    RESPONDER: (0.06, 0.03, 0.02, 0.14),
    NONRESPONDER: (0.04, 0.01, 0.02, 0.07),
    CONTROL: (0.05, 0.02, 0.02, 0.11),
}


@dataclass(frozen=True, eq=False)
class People:
    """All participants of a dataset.

    Attributes
    ----------
    table : one row per participant, index 0..n-1 in order of recruitment, with the columns of participants.tsv and
        `response` (responder, nonresponder, control), `fate` ("analysed", "left", "moved", "damaged", "no-age",
        "no-seed") and `fd_mm`, wanted mean displacement.
    scores : (n, 3) HAMD-17 at the visits, NaN for controls and missing scores.
    reduction : (n, 2) true reduction rate on Day 13 and Day 19, per cent; also where the score is missing.
    """

    table: pd.DataFrame
    scores: NDArray[np.float64]
    reduction: NDArray[np.float64]


def draw_people(rng: np.random.Generator, n_analysed: int | None, faults: bool) -> People:
    """The participants of a cohort.

    Parameters
    ----------
    n_analysed : patients and controls that are analysed, together; None is the study's 84. Every count shrinks
        with it.
    faults : add those whose images or data cannot be used.

    Raises
    ------
    InputError : fewer than 12 participants.
    """
    counts = _counts(n_analysed, faults)
    rows = pd.DataFrame(
        [{"response": response, "fate": fate} for (response, fate), n in counts.items() for _ in range(n)]
    )
    for column, groups in _CONTINUOUS.items():
        rows[column] = np.nan
        for response, (mean, sd, low, high, digits) in groups.items():
            for analysed in (True, False):
                at = rows.index[(rows["response"] == response) & ((rows["fate"] == "analysed") == analysed)]
                skewed = column == "illness_months"
                rows.loc[at, column] = _rounded(_draw(rng, len(at), (mean, sd, low, high), skewed), digits)
    _draw_categories(rng, rows)
    patient = rows["response"] != CONTROL
    rows["onset_age"] = (rows["age"] - rows["illness_months"] / 12).round().clip(lower=8)
    rows["fd_mm"] = np.nan
    for response, distribution in _MOTION.items():
        at = rows.index[rows["response"] == response]
        rows.loc[at, "fd_mm"] = _draw(rng, len(at), distribution)
    scores, reduction = _draw_scores(rng, rows)
    order = np.concatenate([rng.permutation(np.flatnonzero(patient)), rng.permutation(np.flatnonzero(~patient))])
    return People(rows.iloc[order].reset_index(drop=True), scores[order], reduction[order])


def _counts(n_analysed: int | None, faults: bool) -> dict[tuple[str, str], int]:
    """How many participants of each response and fate."""
    whole = N_PATIENTS + N_CONTROLS
    total = whole if n_analysed is None else n_analysed
    share = total / whole
    patients = round(N_PATIENTS * share)
    responders = round(patients * N_RESPONDERS / N_PATIENTS)
    counts = {
        (RESPONDER, "analysed"): responders,
        (NONRESPONDER, "analysed"): patients - responders,
        (CONTROL, "analysed"): total - patients,
    }
    if min(counts.values()) < 3:
        raise InputError(f"{n_analysed} participants: at least 12 are needed, so that each group has three")
    for n in _LEFT.values():
        scaled = max(1, round(n * share))
        counts[RESPONDER, "left"] = counts.get((RESPONDER, "left"), 0) + scaled // 2
        counts[NONRESPONDER, "left"] = counts.get((NONRESPONDER, "left"), 0) + scaled - scaled // 2
    if faults:
        moved = max(1, round(N_MOVED * share))
        counts[RESPONDER, "moved"] = moved // 2
        counts[NONRESPONDER, "moved"] = moved - moved // 2
        counts[RESPONDER, "damaged"] = N_DAMAGED
        counts[CONTROL, "no-age"] = counts[CONTROL, "no-seed"] = 1
    return counts


def _draw_categories(rng: np.random.Generator, rows: pd.DataFrame) -> None:
    """Adds sex, reasons for leaving, and the columns that hold yes or no."""
    rows["sex"] = "M"
    rows["reason_for_leaving"] = None
    for response, share in _FEMALE.items():
        for at in _by_fate(rows, response):
            rows.loc[rng.permutation(at)[: round(share * len(at))], "sex"] = "F"
    left = rng.permutation(rows.index[rows["fate"] == "left"])
    n_incomplete = max(1, round(len(left) * _LEFT[INCOMPLETE] / sum(_LEFT.values())))
    rows.loc[left[:n_incomplete], "reason_for_leaving"] = INCOMPLETE
    rows.loc[left[n_incomplete:], "reason_for_leaving"] = NO_MRI
    of = {RESPONDER: N_RESPONDERS, NONRESPONDER: N_NONRESPONDERS}
    for column, yes in _YES_NO.items():
        rows[column] = None
        for (response, n), count in zip(of.items(), yes, strict=True):
            for at in _by_fate(rows, response):
                rows.loc[at, column] = "no"
                rows.loc[rng.permutation(at)[: round(count / n * len(at))], column] = "yes"


def _by_fate(rows: pd.DataFrame, response: str) -> list[pd.Index[int]]:
    """The analysed of a group, and the others, so that the analysed meet the printed counts."""
    inside, analysed = rows["response"] == response, rows["fate"] == "analysed"
    return [rows.index[inside & analysed], rows.index[inside & ~analysed]]


def _draw_scores(rng: np.random.Generator, rows: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """HAMD-17 (n, 3) as recorded, and the reduction rates (n, 2) of the scores before any went missing."""
    before = rows["hamd17"].to_numpy()
    load = rows["medication_load"].to_numpy()
    scores = np.full((len(rows), 3), np.nan)
    scores[:, 0] = before
    for response, (mean, sd, low, high) in _REDUCTION.items():
        at = np.flatnonzero(rows["response"] == response)
        score = load[at] - load[at].mean()
        mixed = _MEDICATION_SLOPE * score / score.std() + np.sqrt(1 - _MEDICATION_SLOPE**2) * _standard(rng, len(at))
        rate = np.clip(mean + sd * mixed, low, high)
        slope, around = _REDUCTION_DAY19
        later = np.clip(mean + slope * (rate - mean) + around * _standard(rng, len(at)), -20, 100)
        after = before[at] * (1 - rate / 100)
        # Whole points must not carry anybody across the threshold of 50 per cent.
        half = before[at] / 2
        scores[at, 1] = (
            np.floor(np.minimum(after, half))
            if response == RESPONDER
            else np.maximum(np.round(after), np.floor(half) + 1)
        )
        scores[at, 2] = np.round(before[at] * (1 - later / 100))
    reduction = 100 * (scores[:, :1] - scores[:, 1:]) / scores[:, :1]
    incomplete = rows["reason_for_leaving"].to_numpy() == INCOMPLETE
    scores[incomplete, 1:] = np.nan
    analysed = np.flatnonzero((rows["fate"] == "analysed") & (rows["response"] != CONTROL))
    n_missing = round(_MISSING_DAY19 * len(analysed) / N_PATIENTS)
    scores[rng.permutation(analysed)[:n_missing], 2] = np.nan
    return scores, reduction


def _draw(
    rng: np.random.Generator, n: int, distribution: tuple[float, float, float, float], skewed: bool = False
) -> NDArray[np.float64]:
    """n values with the given mean and sample SD, within bounds: (mean, SD, lowest, highest)."""
    mean, sd, low, high = distribution
    values = rng.gamma((mean / sd) ** 2, sd**2 / mean, n) if skewed else mean + sd * rng.standard_normal(n)
    if n < 3:
        return np.clip(values, low, high)
    for _ in range(50):  # clipping moves mean and SD, so both steps are repeated until they agree
        values = np.clip(mean + sd * (values - values.mean()) / values.std(ddof=1), low, high)
    return np.asarray(values)


def _rounded(values: NDArray[np.float64], digits: int) -> NDArray[np.float64]:
    """Values to some digits, the nearest ones to a half moved so that their sum is kept."""
    unit = 10.0**-digits
    rounded = np.round(values, digits)
    surplus = round(float((values - rounded).sum()) / unit)
    moved = np.argsort(np.sign(surplus) * (rounded - values), kind="stable")[: abs(surplus)]
    rounded[moved] += np.sign(surplus) * unit
    return np.round(rounded, digits)


def _standard(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """n values of mean 0 and SD 1."""
    values = rng.standard_normal(n)
    return np.asarray((values - values.mean()) / values.std()) if n > 1 else values
