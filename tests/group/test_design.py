"""Designs from tables: names, order, coding, what is dropped, and every table that must be refused."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

from rsfc_gpu.errors import InputError
from rsfc_gpu.group import (
    AbsorbedCovariateWarning,
    flexible_factorial,
    one_sample,
    paired,
    regression,
    two_sample,
)


def _people(n: int = 8) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "subject": [f"sub-{i:02d}" for i in range(n)],
            "group": ["MDD", "HC"] * (n // 2),
            "age": rng.normal(40, 9, n),
            "sex": ["M", "F", "F", "M"] * (n // 4),
            "fd": rng.gamma(4, 0.02, n),
        }
    )


def _visits(n: int = 6) -> pd.DataFrame:
    """Two visits of n people, every second one a responder; rows by visit, not by person."""
    rng = np.random.default_rng(1)
    people = pd.DataFrame(
        {
            "subject": [f"sub-{i:02d}" for i in range(n)],
            "group": ["responder", "nonresponder"] * (n // 2),
            "age": rng.normal(40, 9, n),
        }
    )
    table = pd.concat([people.assign(time="baseline"), people.assign(time="Day13")], ignore_index=True)
    return table.assign(fd=rng.gamma(4, 0.02, 2 * n))


def test_two_sample_columns_follow_the_table_not_the_alphabet() -> None:
    table = _people()
    design = two_sample(table, covariates=["age", "sex", "fd"])
    assert design.columns == ("MDD", "HC", "age", "sex[F]", "fd")
    np.testing.assert_array_equal(design.matrix[:, 0], table.group == "MDD")
    np.testing.assert_allclose(design.matrix[:, 2], table.age - table.age.mean())
    coded = (table.sex == "F").astype(float)
    np.testing.assert_allclose(design.matrix[:, 3], coded - coded.mean())
    assert two_sample(table, levels=["HC", "MDD"]).columns == ("HC", "MDD")
    assert two_sample(table.assign(group=table.group.astype("category"))).columns == ("MDD", "HC")
    ordered = pd.Categorical(table.group, categories=["HC", "MDD"], ordered=True)
    assert two_sample(table.assign(group=ordered)).columns == ("HC", "MDD")
    assert not design.subjects.any() and not len(design.dropped) and design.absorbed == ()


def test_unequal_variances_are_the_default() -> None:
    assert len(two_sample(_people()).components) == 2
    assert two_sample(_people(), variances="equal").components == ()
    with pytest.raises(InputError, match="'unequal' or 'equal'"):
        two_sample(_people(), variances="welch")


def test_numbers_and_booleans_enter_as_they_are() -> None:
    table = _people().assign(treated=[True, False, False, True] * 2, site=[1, 1, 2, 2] * 2)
    design = two_sample(table, covariates=["treated", "site"])
    assert design.columns[2:] == ("treated", "site")
    np.testing.assert_array_equal(design.matrix[:, 2], np.where(table.treated, 0.5, -0.5))
    np.testing.assert_array_equal(design.matrix[:, 3], table.site - 1.5)


def test_one_sample_and_regression() -> None:
    table = _people()
    assert one_sample(table, covariates=["age"]).columns == ("mean", "age")
    design = regression(table, regressors=["age"], covariates=["sex"])
    assert design.columns == ("mean", "age", "sex[F]")
    np.testing.assert_allclose(design.matrix[:, 1:].sum(axis=0), 0, atol=1e-12)
    with pytest.raises(InputError, match="'sex' is not numeric"):
        regression(table, regressors=["sex"])
    with pytest.raises(InputError, match="at least one regressor"):
        regression(table, regressors=[])


def test_a_missing_value_drops_its_scan_by_name() -> None:
    table = _people()
    table.loc[3, "age"] = np.nan
    table.loc[5, "group"] = None
    design = two_sample(table, covariates=["age"])
    assert design.dropped.to_dict("records") == [
        {"row": 3, "subject": "sub-03", "reason": "age is missing"},
        {"row": 5, "subject": "sub-05", "reason": "group is missing"},
    ]
    np.testing.assert_array_equal(design.rows, [0, 1, 2, 4, 6, 7])
    assert len(design.matrix) == 6 and design.n_table_rows == 8
    assert design.matrix[:, 2].sum() == pytest.approx(0)  # centred over the scans that are in


def test_other_groups_are_dropped_with_that_reason() -> None:
    table = _people().replace({"group": {"HC": "HC"}})
    table.loc[7, "group"] = "BD"
    design = two_sample(table, levels=["MDD", "HC"])
    assert design.dropped.reason.tolist() == ["group 'BD' is not a level of the model"]
    with pytest.raises(InputError, match=r"two levels of 'group', found \['MDD', 'HC', 'BD'\]"):
        two_sample(table)


def test_factorial_columns_and_components() -> None:
    table = _visits()
    design = flexible_factorial(table, covariates=["fd"])
    assert design.cells == (
        "responder@baseline",
        "responder@Day13",
        "nonresponder@baseline",
        "nonresponder@Day13",
    )
    assert design.columns[4:6] == ("fd", "subject[sub-00]") and len(design.columns) == 11
    np.testing.assert_array_equal(design.matrix[:, :4].sum(axis=1), 1)
    np.testing.assert_array_equal(design.matrix[:, design.subjects].sum(axis=0), 2)
    np.testing.assert_array_equal(design.tests["group:time"][0, :4], [1, -1, -1, 1])
    np.testing.assert_array_equal(design.tests["time"][0, :4], [1, -1, 1, -1])
    assert len(design.components) == 4
    assert flexible_factorial(table, covariance="independent").components == ()
    swapped = flexible_factorial(table, levels={"group": ["nonresponder", "responder"], "time": ["Day13", "baseline"]})
    assert swapped.cells[0] == "nonresponder@Day13"


def test_own_column_names() -> None:
    table = _visits().rename(columns={"subject": "participant_id", "group": "response", "time": "session"})
    design = flexible_factorial(table, subject="participant_id", group="response", time="session")
    assert design.columns[-1] == "participant_id[sub-05]" and "response:session" in design.tests


def test_paired_conditions() -> None:
    design = paired(_visits(), condition="time", covariates=["fd"])
    assert design.columns[:3] == ("baseline", "Day13", "fd") and design.components == ()
    assert design.subjects.sum() == 6
    np.testing.assert_array_equal(design.tests["time"][0, :2], [1, -1])


def test_an_incomplete_pair_is_dropped_whole() -> None:
    table = _visits(10)
    table.loc[3, "fd"] = np.nan  # sub-03 at baseline
    table = table.drop(index=14).reset_index(drop=True)  # sub-04 on Day 13
    design = flexible_factorial(table, covariates=["fd"])
    assert design.dropped.to_dict("records") == [
        {"row": 3, "subject": "sub-03", "reason": "fd is missing"},
        {"row": 4, "subject": "sub-04", "reason": "incomplete: no usable map at time 'Day13'"},
        {"row": 13, "subject": "sub-03", "reason": "incomplete: no usable map at time 'baseline'"},
    ]
    assert design.subjects.sum() == 8 and len(design.rows) == 16


def test_absorbed_covariates_give_one_warning_and_stay_listed() -> None:
    table = _visits().assign(bmi=lambda t: t.age * 2 + t.subject.str[-1].astype(int))
    with pytest.warns(AbsorbedCovariateWarning, match="age, bmi") as caught:
        design = flexible_factorial(table, covariates=["age", "fd", "bmi"])
    assert len(caught) == 1 and caught[0].filename == __file__
    assert design.absorbed == ("age", "bmi") and design.columns[4:7] == ("age", "fd", "bmi")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert flexible_factorial(table, covariates=["fd"]).absorbed == ()


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({"group": "MDD"}, {}, r"two levels of 'group', found \['MDD'\]"),
        ({"group": ["MDD"] * 7 + ["HC"]}, {}, "group 'HC' has 1 usable maps: at least 2"),
        ({"subject": ["sub-00"] * 2 + list("abcdef")}, {}, "subject sub-00 has more than one map"),
        ({"site": [1.0, 0.0] * 4}, {"covariates": ["site"]}, "'site' is collinear with the groups"),
        ({"site": ["b", "a"] * 4}, {"covariates": ["site"]}, r"'site\[a\]' is collinear with the groups"),
        ({}, {"covariates": ["age", "age2"]}, r"no column 'age2' \(did you mean 'age'\?\)"),
        ({"once": range(8), "twice": range(0, 16, 2)}, {"covariates": ["once", "twice"]}, "'twice' is collinear"),
        ({"age": ["31", "n/a"] * 4}, {"covariates": ["age"]}, "'age' is not numeric .found 'n/a'"),
        ({"age": ["31", "32"] * 4}, {"covariates": ["age"]}, "'age' is not numeric .found 'numbers stored as text'"),
        ({"age": [np.inf] + [1.0] * 7}, {"covariates": ["age"]}, r"'age' is infinite in row 0 \(sub-00\)"),
        ({"age": 3.0}, {"covariates": ["age"]}, "'age' has the same value"),
        ({"sex": "F"}, {"covariates": ["sex"]}, "'sex' is 'F' in every scan"),
        ({"MDD": range(8)}, {"covariates": ["MDD"]}, "two columns of the model are called 'MDD'"),
        ({}, {"levels": ["MDD", "HCs"]}, r"no level 'HCs' \(did you mean 'HC'\?\)"),
        ({}, {"levels": ["MDD", "MDD"]}, "not distinct"),
        ({}, {"group": "grp"}, r"no column 'grp' \(did you mean 'group'\?\)"),
    ],
)
def test_two_sample_tables_that_are_refused(change, arguments, message) -> None:
    with pytest.raises(InputError, match=message):
        two_sample(_people().assign(**change), **arguments)


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({"time": "baseline"}, {}, "column 'time' has one level, 'baseline'"),
        ({"group": "responder"}, {}, "with a single group use paired"),
        ({"group": (["responder"] * 5 + ["nonresponder"]) * 2}, {}, "'nonresponder' has 1 usable subjects"),
        ({"time": ["baseline"] * 7 + ["Day13"] * 5}, {}, "sub-00 has two rows at time 'baseline'"),
        ({"group": ["responder"] * 6 + ["nonresponder"] * 6}, {}, "sub-00 is in more than one group"),
        ({"day": [0] * 6 + [13] * 6}, {"covariates": ["day"]}, "'day' is collinear with the groups"),
        ({}, {"levels": {"visit": ["a"]}}, r"levels names \['visit'\]"),
        ({}, {"covariance": "ar1"}, "'spm' or 'independent'"),
        ({"fd": [np.nan] * 6 + [1.0] * 6}, {"covariates": ["fd"]}, "no subject has a usable map at every time"),
        ({}, {"subject": "participant"}, "no column 'participant'"),
    ],
)
def test_factorial_tables_that_are_refused(change, arguments, message) -> None:
    with pytest.raises(InputError, match=message):
        flexible_factorial(_visits().assign(**change), **arguments)


def test_too_few_maps_and_no_table_are_refused() -> None:
    with pytest.raises(InputError, match="no degrees of freedom"):
        one_sample(_people(4).iloc[:2], covariates=["age"])
    with pytest.raises(InputError, match="expected a pandas DataFrame"):
        one_sample([1, 2, 3])
    with pytest.raises(InputError, match="no rows"):
        one_sample(_people().iloc[:0])


def test_the_index_of_the_table_does_not_matter() -> None:
    table = _people()
    expected = two_sample(table, covariates=["age", "sex"])
    found = two_sample(table.set_index(pd.Index([7] * 4 + list("abcd"))), covariates=["age", "sex"])
    np.testing.assert_array_equal(found.matrix, expected.matrix)
    np.testing.assert_array_equal(found.rows, np.arange(8))
