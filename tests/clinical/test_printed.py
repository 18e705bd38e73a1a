"""The printed tables of a ketamine study of depression (39 patients, 45 controls): do p and inputs fit together?"""

from __future__ import annotations

import math

import pytest
from scipy import stats

from rsfc_gpu import InputError
from rsfc_gpu.clinical import PrintedCount, PrintedMean, PrintedRow, compare_printed, p_from_r, p_from_t

# Name, group, group, printed p, and the test of which p lies within rounding.
PRINTED = [
    ("age, R vs NR", "40.58+-11.11 (19)", "32.55+-11.96 (20)", ".037", "Student t"),
    ("age, MDD vs HC", "36.46+-12.11 (39)", "31.40+-7.98 (45)", ".031", "Welch t"),
    ("education", "11.63+-2.99 (19)", "12.00+-3.60 (20)", ".731", "Student t"),
    ("BMI", "23.68+-2.62 (19)", "22.30+-3.58 (20)", ".180", "Student t"),
    ("months of illness", "103.21+-84.50 (19)", "65.90+-72.97 (20)", ".148", "Student t"),
    ("age of onset", "31.68+-11.01 (19)", "26.50+-11.51 (20)", ".160", "Student t"),
    ("HAMD-17", "22.37+-2.67 (19)", "24.05+-5.76 (20)", ".249", "Welch t"),
    ("medication load", "4.05+-1.68 (19)", "4.10+-1.86 (20)", ".934", "Student t"),
    ("female, R vs NR", "11/19", "13/20", ".648", "chi-square"),
    ("female, MDD vs HC", "24/39", "27/45", ".886", "chi-square"),
    ("first episode", "6/19", "9/20", ".389", "chi-square"),
    ("comorbidity", "2/19", "4/20", ".661", "Fisher exact"),
]


@pytest.mark.parametrize(("name", "a", "b", "p", "test"), PRINTED, ids=[row[0] for row in PRINTED])
def test_printed_p_lies_within_what_rounding_allows(name: str, a: str, b: str, p: str, test: str) -> None:
    table = compare_printed([(name, a, b, p)]).set_index("test")
    assert table.loc[test, "agrees"]
    assert table.loc[test, "p_low"] - 0.001 <= float(p) <= table.loc[test, "p_high"] + 0.001


def test_tests_that_printed_inputs_tell_apart() -> None:
    table = compare_printed(PrintedRow(*row[:4]) for row in PRINTED).set_index(["row", "test"])
    assert table.loc[("age, MDD vs HC", "Welch t"), "p"] == pytest.approx(0.030, abs=5e-4)
    assert table.loc[("age, MDD vs HC", "Student t"), "p"] == pytest.approx(0.025, abs=5e-4)
    assert not table.loc[("age, MDD vs HC", "Student t"), "agrees"]
    assert table.loc[("HAMD-17", "Student t"), "p"] == pytest.approx(0.254, abs=5e-4)
    assert table.loc[("comorbidity", "Fisher exact"), "p"] == pytest.approx(0.661, abs=5e-4)
    assert table.loc[("comorbidity", "chi-square, continuity corrected"), "p"] == pytest.approx(0.707, abs=5e-4)
    assert not table.loc[("comorbidity", "chi-square"), "agrees"]


def test_t_tests_are_those_of_scipy() -> None:
    table = compare_printed([("age", PrintedMean(36.46, 12.11, 39), PrintedMean(31.40, 7.98, 45))]).set_index("test")
    for test, equal in (("Student t", True), ("Welch t", False)):
        expected = stats.ttest_ind_from_stats(36.46, 12.11, 39, 31.40, 7.98, 45, equal_var=equal)
        assert table.loc[test, "statistic"] == pytest.approx(expected[0], rel=1e-12)
        assert table.loc[test, "p"] == pytest.approx(expected[1], rel=1e-12)
    assert table["agrees"].isna().all()
    pooled = math.sqrt((38 * 12.11**2 + 44 * 7.98**2) / 82)
    assert table["effect"].tolist() == pytest.approx([(36.46 - 31.40) / pooled] * 2)


def test_interval_holds_every_p_that_prints_the_same() -> None:
    table = compare_printed([("few decimals", "4.1 +- 1.7 (19)", "5.0 ± 1.9 (n = 20)")]).set_index("test")
    for mean_a, sd_a, mean_b, sd_b in [(4.06, 1.66, 5.04, 1.86), (4.14, 1.74, 4.96, 1.94), (4.1, 1.66, 5.0, 1.94)]:
        for test, equal in (("Student t", True), ("Welch t", False)):
            p = stats.ttest_ind_from_stats(mean_a, sd_a, 19, mean_b, sd_b, 20, equal_var=equal)[1]
            assert table.loc[test, "p_low"] < p < table.loc[test, "p_high"]
    wide = table.loc["Student t", "p_high"] - table.loc["Student t", "p_low"]
    narrow = compare_printed([("more", "4.10 +- 1.70 (19)", "5.00 +- 1.90 (20)")]).iloc[0]
    assert narrow["p_high"] - narrow["p_low"] < wide / 5


def test_equal_printed_means_allow_p_of_one() -> None:
    assert compare_printed([("same", "4.10 +- 1.70 (19)", "4.10 +- 1.90 (20)")])["p_high"].tolist() == [1.0, 1.0]


def test_p_printed_as_a_bound() -> None:
    rows = [
        ("clear", "9.00 +- 1.00 (19)", "5.00 +- 1.00 (20)", "< .001"),
        ("not", "4.1 +- 2.0 (19)", "5.0 +- 2.0 (20)", "<.001"),
    ]
    assert compare_printed(rows)["agrees"].tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("x", "4.1 +- -1.7 (19)", "5.0 +- 1.9 (20)"), "standard deviation must be 0 or more, found -1.7"),
        (("x", "20/19", "1/20"), "20 of 19"),
        (("x", "4.1 +- 1.7 (19)", "1/20"), "mean cannot be compared with a count"),
        (("x", "4.1 (19)", "5.0 +- 1.9 (20)"), "cannot read '4.1 \\(19\\)'"),
        (("x", "4.1 +- 1.7 (1)", "5.0 +- 1.9 (20)"), "at least 2 values"),
        (("x", "1/19", "1/20", "n.s."), "cannot read the printed p 'n.s.'"),
        (("x", "0/19", "0/20"), "same level"),
        (("x", "1/19"), "a printed row is"),
    ],
)
def test_unusable_rows_are_named(row: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        compare_printed([row])


def test_negative_count_is_refused() -> None:
    with pytest.raises(InputError, match="-1 of 3"):
        PrintedCount(-1, 3)


def test_printed_paired_t_of_nonresponders() -> None:
    assert round(p_from_t(-2.660, 19), 3) == 0.015
    # The printed SDs, .08 before and .12 after, and this t imply a possible correlation between the visits.
    sd_of_change = 0.08 / (2.660 / math.sqrt(20))
    assert -1 < (0.08**2 + 0.12**2 - sd_of_change**2) / (2 * 0.08 * 0.12) < 1


@pytest.mark.parametrize(("r", "p", "n"), [(0.37, 0.022, 39), (0.49, 0.003, 34), (0.54, 0.001, 34), (0.51, 0.002, 34)])
def test_printed_correlations(r: float, p: float, n: int) -> None:
    """p as printed lies between those of the extreme r that print the same; 34 participants on Day 19, not 39."""
    covariates = 1 if r in (0.54, 0.51) else 0
    assert (
        p_from_r(r + 0.005, n, covariates=covariates) - 0.001
        <= p
        <= p_from_r(r - 0.005, n, covariates=covariates) + 0.001
    )


def test_day_19_correlation_needs_missing_scores() -> None:
    assert p_from_r(0.495, 39) < p_from_r(0.485, 39) < 0.0025
    assert p_from_r(0.57, 39) < 0.001
