from __future__ import annotations

from itertools import combinations
from math import comb, prod

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from rsfc_gpu import InputError
from rsfc_gpu.clinical import CategoricalRow, Column, ContinuousRow, TableOne, table_one
from rsfc_gpu.clinical.rows import levene_p
from rsfc_gpu.clinical.two_groups import chi_square, fisher

GROUPS = ["MDD", "responder", "nonresponder", "HC"]
PAIRS = [("MDD", "HC"), ("responder", "nonresponder")]


def exact_scores(mean: float, sd: float, n: int, rng: np.random.Generator) -> np.ndarray:
    """n values with exactly this mean and SD."""
    values = rng.normal(size=n)
    return mean + sd * (values - values.mean()) / values.std(ddof=1)


def yes(count: int, n: int) -> list[int]:
    return [1] * count + [0] * (n - count)


@pytest.fixture(scope="module")
def cohort() -> pd.DataFrame:
    rng = np.random.default_rng(7)
    age = np.concatenate(
        [exact_scores(40.58, 11.11, 19, rng), exact_scores(32.55, 11.96, 20, rng), exact_scores(31.40, 7.98, 45, rng)]
    )
    return pd.DataFrame(
        {
            "group": ["MDD"] * 39 + ["HC"] * 45,
            "response": ["responder"] * 19 + ["nonresponder"] * 20 + [None] * 45,
            "age": age,
            "sex": ["female" if one else "male" for one in yes(11, 19) + yes(13, 20) + yes(27, 45)],
            "comorbidity": yes(2, 19) + yes(4, 20) + [np.nan] * 45,
            "ssri": [bool(one) for one in yes(12, 19) + yes(14, 20) + yes(0, 45)],
            "hamd": np.concatenate(
                [exact_scores(22.37, 1.0, 19, rng), exact_scores(24.05, 6.0, 20, rng), [np.nan] * 45]
            ),
            "site": list("abc") * 28,
        }
    )


@pytest.fixture(scope="module")
def made(cohort: pd.DataFrame) -> TableOne:
    rows = ["age", CategoricalRow("sex", "female", label="Female"), "comorbidity", "hamd", "site"]
    drugs = [CategoricalRow("ssri", True, label="SSRI", test="none")]
    return table_one(cohort, rows=[*rows, *drugs], columns=GROUPS, comparisons=PAIRS)


def test_printed_study_comes_back_from_raw_rows(made: TableOne) -> None:
    printed = made.printed.set_index("row")
    assert list(printed.columns[:4]) == ["MDD (n = 39)", "responder (n = 19)", "nonresponder (n = 20)", "HC (n = 45)"]
    assert printed.loc["age", "responder (n = 19)"] == "40.58 ± 11.11"
    assert printed.loc["age", "MDD (n = 39)"].startswith("36.46 ± ")
    assert printed.loc["age", "responder vs nonresponder: p"] == ".037"
    assert printed.loc["Female", "MDD (n = 39)"] == "24 (61.5 %)"
    assert printed.loc["Female", "MDD vs HC: p"] == ".886"
    assert printed.loc["Female", "responder vs nonresponder: p"] == ".648"
    assert printed.loc["comorbidity", "responder vs nonresponder: p"] == ".661"
    assert "Fisher exact, Cramer V" in printed.loc["comorbidity", "responder vs nonresponder: test"]
    assert printed.loc["SSRI", "MDD (n = 39)"] == "26 (66.7 %)"
    assert printed.loc["SSRI", "MDD vs HC: p"] == ""
    assert str(made) == made.printed.to_string()


def test_tests_are_those_of_scipy(made: TableOne, cohort: pd.DataFrame) -> None:
    tests = made.tests.set_index(["row", "group_a"])
    responders, others = (cohort[cohort.response == name] for name in ("responder", "nonresponder"))
    for row in ("age", "hamd"):
        equal = stats.levene(responders[row], others[row], center="mean")[1] >= 0.05
        assert equal == (row == "age")
        expected = stats.ttest_ind(responders[row], others[row], equal_var=equal)
        found = tests.loc[(row, "responder")]
        assert found["test"] == ("Student t" if equal else "Welch t")
        assert found[["statistic", "df", "p"]].tolist() == pytest.approx(
            [expected.statistic, expected.df, expected.pvalue]
        )
    site = tests.loc[("site", "MDD")]
    expected = stats.chi2_contingency(pd.crosstab(cohort.site, cohort.group))
    assert site[["statistic", "p", "df"]].tolist() == pytest.approx(list(expected[:3]))
    assert (tests.loc[("comorbidity", "responder")][["n_a", "n_b"]] == [19, 20]).all()


def test_missing_values_are_counted_and_untestable_rows_say_why(made: TableOne) -> None:
    summary = made.summary.set_index(["row", "group"])
    assert summary.loc[("hamd", "HC"), ["n", "missing"]].tolist() == [0, 0]  # the row is not about them
    assert made.printed.set_index("row").loc["hamd", ["HC (n = 45)", "missing"]].tolist() == ["-", "0"]
    untested = made.tests.set_index(["row", "group_a"]).loc[("hamd", "MDD")]
    assert np.isnan(untested["p"])
    assert "at least 2 in each group" in untested["why_not"]
    assert made.printed.set_index("row").loc["hamd", "MDD vs HC: p"] == "-"


def test_partly_missing_group_prints_its_n(cohort: pd.DataFrame) -> None:
    cohort = cohort.assign(age=cohort.age.mask(cohort.index == 3))
    printed = table_one(cohort, rows=["age"], columns=["responder", "HC"]).printed
    assert printed.loc[0, "responder (n = 19)"].endswith(" [n = 18]")
    assert "[" not in printed.loc[0, "HC (n = 45)"]
    assert printed.loc[0, "missing"] == "1"


def test_missing_counts_those_whom_a_row_is_about(cohort: pd.DataFrame) -> None:
    """Controls have no score; three patients of either response lack theirs, one of them in both patient columns."""
    responders, others = (cohort.index[cohort.response == name] for name in ("responder", "nonresponder"))
    cohort = cohort.assign(hamd=cohort.hamd.mask(cohort.index.isin([*responders[:2], others[0]])))
    made = table_one(cohort, rows=["hamd", "sex"], columns=GROUPS, comparisons=PAIRS)
    assert made.printed["missing"].tolist() == ["3", "0", ""]  # of sex, once for its two lines
    counted = made.summary[made.summary.row == "hamd"].set_index("group")["missing"]
    assert counted.to_dict() == {"MDD": 3, "responder": 2, "nonresponder": 1, "HC": 0}
    one_known = cohort.assign(hamd=cohort.hamd.where(cohort.index != cohort.index[cohort.group == "HC"][0], 5.0))
    made = table_one(one_known, rows=["hamd"], columns=GROUPS)
    assert made.printed["missing"].tolist() == ["47"]  # 44 controls of 45: the row is about them now


def test_groups_by_several_values_and_columns(cohort: pd.DataFrame) -> None:
    columns = [
        Column("all", {"group": ("MDD", "HC")}),
        Column("women with MDD", {"group": "MDD", "sex": "female"}),
    ]
    summary = table_one(cohort, rows=["age"], columns=columns).summary
    assert summary["n"].tolist() == [84, 24]
    assert summary["mean"].tolist() == pytest.approx(
        [cohort.age.mean(), cohort.age[(cohort.group == "MDD") & (cohort.sex == "female")].mean()]
    )


def test_kind_of_a_plain_name_is_inferred(cohort: pd.DataFrame) -> None:
    printed = table_one(cohort, rows=["ssri", "comorbidity", "sex", "age"], columns=["MDD"]).printed
    assert printed["row"].tolist() == ["ssri", "comorbidity", "sex: female", "sex: male", "age"]


def test_named_tests_are_used(cohort: pd.DataFrame) -> None:
    rows = [
        ContinuousRow("age", test="welch"),
        CategoricalRow("sex", "female", test="fisher"),
        ContinuousRow("hamd", test="student"),
    ]
    tests = table_one(cohort, rows=rows, columns=GROUPS, comparisons=PAIRS[1:]).tests
    assert tests["test"].tolist() == ["Welch t", "Fisher exact", "Student t"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": ["agee"]}, "no column 'agee'. Did you mean 'age'"),
        ({"rows": [CategoricalRow("sex", "femal")]}, "no level 'femal'. Did you mean 'female'"),
        ({"rows": [ContinuousRow("site")]}, "site: 'a' in row 1 is not a number"),
        ({"columns": ["MDD", "controls"]}, "no column of text has the value 'controls'"),
        ({"columns": [Column("MDD", {"group": "MD"})]}, "nobody has group = 'MD'. Did you mean 'MDD'"),
        ({"columns": [Column("none", {"group": "HC", "response": "responder"})]}, "has no participants"),
        ({"columns": ["MDD", "MDD"]}, "two groups are named 'MDD'"),
        ({"comparisons": [("MDD", "responder")]}, "19 participants are in both"),
        ({"comparisons": [("MDD", "hc")]}, "no group is named 'hc'"),
    ],
)
def test_wrong_names_are_named(cohort: pd.DataFrame, change: dict[str, object], message: str) -> None:
    given = {"rows": ["age"], "columns": GROUPS, "comparisons": []} | change
    with pytest.raises(InputError, match=message):
        table_one(cohort, **given)  # type: ignore[arg-type]


def test_value_of_two_columns_must_be_said(cohort: pd.DataFrame) -> None:
    with pytest.raises(InputError, match="is a value of group and arm"):
        table_one(cohort.assign(arm=cohort.group), rows=["age"], columns=["MDD"])


def test_two_columns_of_one_name_are_refused(cohort: pd.DataFrame) -> None:
    with pytest.raises(InputError, match="2 columns named 'age'"):
        table_one(pd.concat([cohort, cohort[["age"]]], axis=1), rows=["age"], columns=["MDD"])


def test_exact_test_of_several_levels_by_enumeration() -> None:
    """Freeman and Halton's p is the share of all shuffles of the group labels that are as improbable or more."""
    counts = np.array([[5, 1], [2, 3], [0, 4]])
    levels, group = np.repeat([0, 1, 2], counts.sum(axis=1)), np.array([0] * 5 + [1] + [0] * 2 + [1] * 3 + [1] * 4)

    def probability(table: np.ndarray) -> int:
        return prod(comb(int(a + b), int(a)) for a, b in table)

    observed, as_extreme, total = probability(counts), 0, 0
    for chosen in combinations(range(len(levels)), int((group == 0).sum())):
        first = np.bincount(levels[list(chosen)], minlength=3)
        total += 1
        as_extreme += probability(np.column_stack([first, counts.sum(axis=1) - first])) <= observed
    assert fisher(counts).p == pytest.approx(as_extreme / total, rel=1e-9)
    assert fisher(counts[:2]).p == pytest.approx(stats.fisher_exact(counts[:2])[1])
    assert fisher(np.vstack([counts, [0, 0]])).p == fisher(counts).p


def test_chi_square_refuses_what_it_cannot_test() -> None:
    with pytest.raises(InputError, match="whole numbers"):
        chi_square([[1.5, 2], [3, 4]])
    with pytest.raises(InputError, match="group without participants"):
        chi_square([[1, 0], [3, 0]])
    with pytest.raises(InputError, match="2 x 2"):
        chi_square([[1, 2], [3, 4], [5, 6]], corrected=True)
    with pytest.raises(InputError, match="too many tables"):
        fisher(np.full((8, 2), 60))


def test_null_p_values_of_the_automatic_t_test_are_uniform() -> None:
    rng = np.random.default_rng(3)
    row = ContinuousRow("x")
    p = [row.compare(rng.normal(size=15), rng.normal(size=20)).p for _ in range(500)]
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_any_way_pandas_keeps_a_column(cohort: pd.DataFrame) -> None:
    """Text, nullable text, categories and nullable booleans of the same values make the same table."""
    plain = table_one(cohort, rows=["sex", "ssri", "age"], columns=["MDD", "HC"], comparisons=[("MDD", "HC")])
    kept = cohort.assign(
        sex=cohort.sex.astype("category").cat.reorder_categories(["female", "male"]),
        group=cohort.group.astype("string"),
        ssri=cohort.ssri.astype("boolean"),
        age=cohort.age.astype("Float64"),
    )
    other = table_one(kept, rows=["sex", "ssri", "age"], columns=["MDD", "HC"], comparisons=[("MDD", "HC")])
    pd.testing.assert_frame_equal(plain.printed, other.printed)
    pd.testing.assert_frame_equal(plain.tests, other.tests)


def test_dates_and_empty_input_are_refused(cohort: pd.DataFrame) -> None:
    dated = cohort.assign(visit=pd.Timestamp("2020-01-01"), nothing=np.nan)
    with pytest.raises(InputError, match="visit: these are dates"):
        table_one(dated, rows=[ContinuousRow("visit")], columns=["MDD"])
    with pytest.raises(InputError, match="column 'nothing' has no values"):
        table_one(dated, rows=["nothing"], columns=["MDD"])
    with pytest.raises(InputError, match="at least one group"):
        table_one(dated, rows=["age"], columns=[])


def test_levene_is_an_analysis_of_variance_of_the_distances_from_the_means() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.exponential(size=19), 2 * rng.exponential(size=20)  # skewed: centring on the medians would differ
    assert levene_p(a, b) == pytest.approx(stats.f_oneway(np.abs(a - a.mean()), np.abs(b - b.mean())).pvalue)
    assert levene_p(np.array([1.0, 2.0]), np.array([3.0, 4.0])) == 1
