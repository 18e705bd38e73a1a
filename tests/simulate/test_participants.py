"""The tables come out as the published ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rsfc_gpu.clinical import is_responder, reduction_rate
from rsfc_gpu.errors import InputError
from rsfc_gpu.simulate.participants import People, draw_people


@pytest.fixture(scope="module", params=[0, 1, 2])
def people(request: pytest.FixtureRequest) -> People:
    return draw_people(np.random.default_rng(request.param), None, faults=True)


def analysed(people: People, response: str) -> pd.DataFrame:
    table = people.table
    return table[(table["fate"] == "analysed") & (table["response"] == response)]


def test_flow(people: People) -> None:
    patients = people.table[people.table["response"] != "control"]
    assert len(patients) == 103
    assert patients["reason_for_leaving"].value_counts().to_dict() == {
        "no MRI": 45,
        "did not complete six infusions": 13,
    }
    assert patients["fate"].value_counts().to_dict() == {"left": 58, "analysed": 39, "moved": 5, "damaged": 1}
    assert [len(analysed(people, name)) for name in ("responder", "nonresponder", "control")] == [19, 20, 45]


@pytest.mark.parametrize(
    ("column", "responders", "nonresponders"),
    [
        ("age", (40.58, 11.11), (32.55, 11.96)),
        ("education_years", (11.63, 2.99), (12.00, 3.60)),
        ("bmi", (23.68, 2.62), (22.30, 3.58)),
        ("illness_months", (103.21, 84.50), (65.90, 72.97)),
        ("medication_load", (4.05, 1.68), (4.10, 1.86)),
        ("hamd17", (22.37, 2.67), (24.05, 5.76)),
    ],
)
def test_table_one(
    people: People, column: str, responders: tuple[float, float], nonresponders: tuple[float, float]
) -> None:
    for group, (mean, sd) in (("responder", responders), ("nonresponder", nonresponders)):
        values = analysed(people, group)[column]
        assert values.mean() == pytest.approx(mean, abs=0.006)
        assert values.std() == pytest.approx(sd, rel=0.02, abs=0.25)


def test_counts(people: People) -> None:
    for group, female, first, ssri in (("responder", 11, 6, 12), ("nonresponder", 13, 9, 14)):
        table = analysed(people, group)
        assert (table["sex"] == "F").sum() == female
        assert (table["first_episode"] == "yes").sum() == first
        assert (table["ssri"] == "yes").sum() == ssri
    assert (analysed(people, "control")["sex"] == "F").sum() == 27
    assert analysed(people, "control")["ssri"].isna().all()


def test_scores_agree_with_response_and_some_are_missing(people: People) -> None:
    inside = ((people.table["fate"] == "analysed") & (people.table["response"] != "control")).to_numpy()
    before, day13, day19 = people.scores[inside].T
    responds = is_responder(reduction_rate(before, day13)).to_numpy(dtype=bool)
    np.testing.assert_array_equal(responds, people.table.loc[inside, "response"] == "responder")
    assert np.isfinite(day19).sum() == 34
    shown = np.isfinite(day19)
    np.testing.assert_allclose(reduction_rate(before, day19)[shown], people.reduction[inside, 1][shown])
    assert before.min() >= 17
    assert np.nanmin(people.scores) >= 0
    assert np.isnan(people.scores[~inside & (people.table["response"] == "control").to_numpy()]).all()


def test_small_cohorts_keep_every_part() -> None:
    people = draw_people(np.random.default_rng(0), 12, faults=True)
    assert (people.table["fate"] == "analysed").sum() == 12
    assert set(people.table["fate"]) == {"analysed", "left", "moved", "damaged", "no-age", "no-seed"}
    without = draw_people(np.random.default_rng(0), 12, faults=False)
    assert set(without.table["fate"]) == {"analysed", "left"}
    with pytest.raises(InputError, match="at least 12"):
        draw_people(np.random.default_rng(0), 8, faults=True)
