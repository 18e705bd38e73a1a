"""How strong each connection is in each scan."""

from __future__ import annotations

import numpy as np
import pytest

from rsfc_gpu.errors import InputError
from rsfc_gpu.simulate import Cohort, CohortSettings, plan_cohort, planted_effects, planted_truth
from rsfc_gpu.simulate.bold import observed_sd

SD = observed_sd(110)


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return plan_cohort(CohortSettings(effects="paper"))


def group(cohort: Cohort, response: str, session: int, kind: str) -> np.ndarray:
    """(people, effects of the kind) true z."""
    table = cohort.people.table
    rows = [
        i
        for i, scan in enumerate(cohort.scans)
        if table.loc[scan.row, "response"] == response
        and table.loc[scan.row, "fate"] == "analysed"
        and scan.session == session
    ]
    return cohort.true_z[rows][:, [effect.kind == kind for effect in planted_effects()]]


def sizes(kind: str) -> np.ndarray:
    return np.array([effect.d("paper") for effect in planted_effects() if effect.kind == kind])


def test_scans_of_the_analysed_are_those_of_the_study(cohort: Cohort) -> None:
    fates = [cohort.people.table.loc[scan.row, "fate"] for scan in cohort.scans]
    assert fates.count("analysed") == 2 * 39 + 45
    assert len(cohort.scans) == 123 + 2 * 5 + 2 + 2
    assert sum(scan.excursion_mm > 2 for scan in cohort.scans) == 5


def test_differences_of_means_are_d_times_the_sd(cohort: Cohort) -> None:
    before, after = (
        {name: group(cohort, name, session, "interaction") for name in ("responder", "nonresponder")}
        for session in (0, 1)
    )
    change = {name: (after[name] - before[name]).mean(axis=0) for name in after}
    np.testing.assert_allclose(change["responder"] - change["nonresponder"], sizes("interaction") * SD * np.sqrt(2))
    np.testing.assert_allclose(change["responder"] + change["nonresponder"], 0, atol=1e-12)  # no main effect of time
    time = [group(cohort, "responder", session, "time").mean(axis=0) for session in (0, 1)]
    np.testing.assert_allclose(time[1] - time[0], sizes("time") * SD * np.sqrt(2))
    kind = "responders-nonresponders"
    for session in (0, 1):
        difference = group(cohort, "responder", session, kind) - group(cohort, "nonresponder", session, kind).mean(0)
        np.testing.assert_allclose(difference.mean(axis=0), sizes(kind) * SD)


def test_patients_differ_from_controls_by_d(cohort: Cohort) -> None:
    kind = "patients-controls"
    patients = np.vstack([group(cohort, name, 0, kind) for name in ("responder", "nonresponder")])
    controls = group(cohort, "control", 0, kind)
    assert not controls.any()
    pooled = np.sqrt((39 * (SD**2 + patients.var(axis=0)) + 45 * SD**2) / 84)
    np.testing.assert_allclose(patients.mean(axis=0) / pooled, sizes(kind), rtol=1e-6)


def test_connectivity_follows_the_clinical_course(cohort: Cohort) -> None:
    table = planted_truth(cohort).effects
    rows = table[table["kind"].str.startswith("association")].set_index("name")
    r = rows.filter(like="patients-controls", axis=0)["r"].tolist()
    assert r == [0.37, 0.49]
    # Medication load hides part of the association; taking it out makes the correlation larger, as in the study.
    assert rows["r_given_medication"].iloc[-2] > 0.42
    assert rows.filter(like="responders-nonresponders", axis=0)["r"].between(0.45, 0.7).all()
    implied = table[table["role"] == "implied"]
    assert implied["kind"].tolist() == ["responders-nonresponders"]
    assert 0.3 < implied["d"].item() < 1.5


def test_nothing_is_planted_at_none() -> None:
    cohort = plan_cohort(CohortSettings(effects="none", participants=12))
    assert not cohort.true_z.any()
    assert planted_truth(cohort).effects.empty


def test_settings_are_checked() -> None:
    for change in ({"effects": "huge"}, {"grid_mm": 9.0}, {"n_volumes": 20}, {"seed": -1}):
        with pytest.raises(InputError, match="expected|negative"):
            CohortSettings(**change)
    with pytest.raises(InputError, match="no scanner strips"):
        CohortSettings(level="raw", skull_stripped=True)
