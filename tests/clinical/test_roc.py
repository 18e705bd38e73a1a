from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics

from rsfc_gpu import InputError
from rsfc_gpu.clinical import compare_rocs, roc


def slow_delong(outcome: np.ndarray, *scores: np.ndarray) -> tuple[list[float], np.ndarray]:
    """Areas and covariance as DeLong et al. write them, pair by pair."""
    areas, by_positive, by_negative = [], [], []
    for score in scores:
        psi = [[1.0 if x > y else 0.5 if x == y else 0.0 for y in score[~outcome]] for x in score[outcome]]
        areas.append(sum(map(sum, psi)) / (len(psi) * len(psi[0])))
        by_positive.append([sum(row) / len(row) for row in psi])
        by_negative.append([sum(column) / len(column) for column in zip(*psi, strict=True)])
    k = len(scores)
    covariance = np.zeros((k, k))
    for values in (by_positive, by_negative):
        n = len(values[0])
        for i in range(k):
            for j in range(k):
                products = [(a - areas[i]) * (b - areas[j]) for a, b in zip(values[i], values[j], strict=True)]
                covariance[i, j] += sum(products) / (n - 1) / n
    return areas, covariance


@pytest.fixture(params=["continuous", "tied"])
def synthetic(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(19)
    outcome = np.arange(39) < 19
    common = rng.normal(size=39) + outcome
    a, b = common + rng.normal(size=39), common + 1.5 * rng.normal(size=39)
    return (outcome, a, b) if request.param == "continuous" else (outcome, np.round(a), np.round(b))


def test_area_and_variance_pair_by_pair(synthetic: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    outcome, a, b = synthetic
    areas, covariance = slow_delong(outcome, a, b)
    found = roc(outcome, a)
    assert found.auc == pytest.approx(areas[0], abs=1e-14)
    assert found.auc == pytest.approx(metrics.roc_auc_score(outcome, a), abs=1e-14)
    assert found.variance == pytest.approx(covariance[0, 0], rel=1e-12)
    half = 1.959963984540054 * math.sqrt(covariance[0, 0])
    assert (found.ci_low, found.ci_high) == pytest.approx((max(0, areas[0] - half), min(1, areas[0] + half)), abs=1e-12)
    both = compare_rocs(outcome, a, b)
    z = (areas[0] - areas[1]) / math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert both.z == pytest.approx(z, rel=1e-10)
    assert both.p == pytest.approx(2 * stats.norm.sf(abs(z)), rel=1e-10)
    assert compare_rocs(outcome, b, a).z == pytest.approx(-z, rel=1e-10)


def test_published_subarachnoid_data(reference_root: Path) -> None:
    """The numbers of the R package pROC for its example data."""
    data = pd.read_csv(reference_root / "realdata/06_small/roc/aSAH.csv")
    curves = {name: roc(data.outcome, data[name], positive="Poor") for name in ("ndka", "s100b", "wfns")}
    ndka = curves["ndka"]
    assert (ndka.auc, ndka.ci_low, ndka.ci_high) == pytest.approx(
        (0.611957994579946, 0.501244999271703, 0.722670989888189), abs=1e-8
    )
    for name, auc, variance in [
        ("ndka", 0.611957994579946, 0.0031908105493913),
        ("s100b", 0.73136856, 0.00266868245717244),
        ("wfns", 0.82367886, 0.00146991470882363),
    ]:
        assert curves[name].auc == pytest.approx(auc, abs=1e-8)
        assert curves[name].variance == pytest.approx(variance, abs=1e-8)
    for a, b, z, p in [
        ("wfns", "s100b", 2.20898359144091, 0.0271757822291882),
        ("wfns", "ndka", 2.79777591868904, 0.00514557970691098),
        ("ndka", "s100b", -1.39077002573558, 0.164295175223054),
    ]:
        found = compare_rocs(data.outcome, data[a], data[b], positive="Poor")
        assert (found.z, found.p) == pytest.approx((z, p), abs=1e-8)
    assert ndka.n_positive + ndka.n_negative == 113


def test_printed_roc_of_responders_can_exist() -> None:
    """Printed: AUC .918, CI .832-1.000, sensitivity 89.5 %, specificity 85.0 %: 19 and 20 scores can give it."""
    rng = np.random.default_rng(0)
    outcome = np.arange(39) < 19
    above = np.concatenate([np.arange(19) < 17, np.arange(20) < 3])  # 17/19 and 3/20 lie above the cut-off
    seen = set()
    for _ in range(3000):
        score = rng.normal(size=39) + 0.6 * outcome
        score += np.where(above, 10.0, 0.0)
        found = roc(outcome, score)
        if round(found.auc, 3) == 0.918 and (found.sensitivity, found.specificity) == (17 / 19, 17 / 20):
            seen.add((round(found.ci_low, 3), round(found.ci_high, 3)))
            if (0.832, 1.0) in seen:
                assert (
                    found.text == "AUC = .918, 95 % CI [.832, 1.000], p < .001, sensitivity 89.5 %, specificity 85.0 %"
                )
                break
    assert (0.832, 1.0) in seen
    assert round(349 / 380, 3) == 0.918  # the area is a whole number of the 19 x 20 pairs


def test_curve_and_cutoff_against_every_threshold(synthetic: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    outcome, score, _ = synthetic
    found = roc(outcome, score)
    for row in found.curve.itertuples():
        called = score >= row.threshold
        assert row.sensitivity == pytest.approx(called[outcome].mean())
        assert row.specificity == pytest.approx((~called)[~outcome].mean())
        assert row.false_positive_rate == pytest.approx(1 - row.specificity)
    assert len(found.curve) == len(np.unique(score)) + 1
    false_positive_rate, sensitivity, _ = metrics.roc_curve(outcome, score, drop_intermediate=False)
    assert found.curve["sensitivity"].to_numpy() == pytest.approx(sensitivity)
    assert found.curve["false_positive_rate"].to_numpy() == pytest.approx(false_positive_rate)
    called = score >= found.cutoff
    assert (called[outcome].mean(), (~called)[~outcome].mean()) == pytest.approx((found.sensitivity, found.specificity))
    assert found.sensitivity + found.specificity == pytest.approx(
        (found.curve.sensitivity + found.curve.specificity).max()
    )
    assert metrics.auc(found.curve["false_positive_rate"], found.curve["sensitivity"]) == pytest.approx(found.auc)


def test_equal_youden_indices_take_the_balanced_then_the_sensitive_cutoff() -> None:
    clear = roc([1, 1, 0, 1, 1, 0, 0, 0], [8, 7, 6, 5, 4, 3, 2, 1])  # (1/2, 1) after two scores, (1, 3/4) after five
    assert (clear.sensitivity, clear.specificity, clear.cutoff) == (1, 0.75, 3.5)
    mirrored = roc([1, 0, 1, 0], [4, 3, 2, 1])  # (1/2, 1) and (1, 1/2) are equally good and equally balanced
    assert (mirrored.sensitivity, mirrored.specificity, mirrored.cutoff) == (1, 0.5, 1.5)
    balanced = roc([1, 0, 1, 0, 1, 0], [6, 5, 4, 3, 2, 1])  # after 1, 3 and 5 scores: the middle one
    assert (balanced.sensitivity, balanced.specificity, balanced.cutoff) == (2 / 3, 2 / 3, 3.5)


def test_direction_is_reported_as_it_is(synthetic: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    outcome, score, _ = synthetic
    forward, backward = roc(outcome, score), roc(outcome, -score)
    assert forward.auc > 0.5 > backward.auc
    assert backward.auc == pytest.approx(1 - forward.auc)
    assert backward.variance == pytest.approx(forward.variance)
    assert backward.p == pytest.approx(forward.p)
    assert roc(~outcome, score).auc == pytest.approx(backward.auc)


def test_p_is_of_the_mann_whitney_null() -> None:
    rng = np.random.default_rng(2)
    outcome, score = np.arange(39) < 19, rng.normal(size=39)
    assert roc(outcome, score).p == pytest.approx(stats.mannwhitneyu(score[:19], score[19:]).pvalue)
    assert "normal" in roc(outcome, score).p_method
    small = roc([1, 1, 1, 0, 0, 0, 0], [7, 6, 5, 4, 3, 2, 1])
    assert small.p == pytest.approx(2 / math.comb(7, 3))  # the most extreme of 35 orders, either way
    assert small.p_method == "Mann-Whitney, exact"
    assert (small.auc, small.ci_low, small.ci_high, small.variance) == (1, 1, 1, 0)
    assert "normal" in roc([1, 1, 1, 0, 0, 0, 0], [7, 6, 5, 5, 3, 2, 1]).p_method


def test_score_without_spread_knows_nothing() -> None:
    found = roc([1, 1, 0, 0], [3, 3, 3, 3])
    assert (found.auc, found.p, len(found.curve)) == (0.5, 1.0, 2)


def test_same_ranks_do_not_differ() -> None:
    rng = np.random.default_rng(4)
    outcome, score = rng.random(30) < 0.5, rng.normal(size=30)
    found = compare_rocs(outcome, score, np.exp(score))
    assert (found.z, found.p, found.difference) == (0, 1, 0)
    opposite = compare_rocs([1, 1, 0, 0], [4, 3, 2, 1], [1, 2, 3, 4])
    assert (opposite.z, opposite.p) == (math.inf, 0)


def test_missing_values_leave_and_are_counted() -> None:
    outcome = pd.Series(["Poor", "Good", None, "Poor", "Good", "Poor", "Good"])
    score = pd.Series([5, 1, 3, np.nan, 2, 4, 4.5])
    found = roc(outcome, score, positive="Poor")
    assert (found.n_positive, found.n_negative, found.n_missing) == (2, 3, 2)
    assert found.auc == pytest.approx(5 / 6)
    assert compare_rocs(outcome, score, score.mask(score == 1), positive="Poor").n_missing == 3


@pytest.mark.parametrize(
    ("outcome", "positive", "message"),
    [
        ([1, 1, 1, 1], None, "found 4 positive, 0 negative"),
        ([1, 0, 0, 0], None, "found 1 positive, 3 negative"),
        (["a", "b", "a", "b"], None, "which of .* is the outcome to detect"),
        (["a", "b", "a", "b"], "c", "nobody has the outcome 'c'"),
        (["a", "b", "c", "b"], "a", "two values, found 3"),
        ([1, 0, 1], None, "3 and 4 rows"),
    ],
)
def test_unusable_outcomes_are_named(outcome: list[object], positive: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        roc(pd.Series(outcome).tolist(), [1.0, 2.0, 3.0, 4.0], positive=positive)  # type: ignore[arg-type]


def test_interval_covers_the_truth() -> None:
    rng = np.random.default_rng(8)
    truth, covered = stats.norm.cdf(1 / math.sqrt(2)), 0
    outcome = np.arange(60) < 30
    for _ in range(600):
        found = roc(outcome, rng.normal(size=60) + outcome)
        covered += found.ci_low < truth < found.ci_high
    assert 0.92 < covered / 600 < 0.98
