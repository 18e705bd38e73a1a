from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.multitest import multipletests

from rsfc_gpu import InputError
from rsfc_gpu.clinical import associate, association_table, benjamini_hochberg, p_from_r


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


def test_pearson_is_scipys_with_its_interval(rng: np.random.Generator) -> None:
    scores = stats.norm.ppf((np.arange(34) + 0.5) / 34)
    x, y = rng.permutation(scores), rng.permutation(scores) + 0.1
    found, expected = associate(x, y), stats.pearsonr(x, y)
    assert found.method == "Pearson"
    assert (found.r, found.p) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-10)
    assert (found.ci_low, found.ci_high) == pytest.approx(tuple(expected.confidence_interval()), rel=1e-10)
    assert (found.n, found.dof, found.n_missing) == (34, 32, 0)
    assert min(found.normality_p_x, found.normality_p_y) >= 0.05


def test_one_skewed_measure_asks_for_spearman(rng: np.random.Generator) -> None:
    x = rng.normal(size=40)
    y = np.exp(2 * x + rng.normal(size=40))
    found, expected = associate(x, y), stats.spearmanr(x, y)
    assert found.method == "Spearman"
    assert (found.r, found.p) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-9)
    half = stats.norm.ppf(0.975) * np.sqrt((1 + found.r**2 / 2) / 37)
    assert (found.ci_low, found.ci_high) == pytest.approx(tuple(np.tanh(np.arctanh(found.r) + np.array([-half, half]))))
    assert associate(x, y, method="pearson").method == "Pearson"
    assert np.isnan(associate(x, y, method="pearson").normality_p_x)


def test_partial_correlation_is_the_regression_t(rng: np.random.Generator) -> None:
    """The t of x in a regression of y on x and the covariates is that of the partial correlation."""
    covariates = rng.normal(size=(30, 2))
    x = covariates @ [1.0, -0.5] + rng.normal(size=30)
    y = covariates @ [0.7, 0.3] + 0.4 * x + rng.normal(size=30)
    found = associate(x, y, covariates, method="pearson")
    model = sm.OLS(y, sm.add_constant(np.column_stack([x, covariates]))).fit()
    assert found.method == "partial Pearson"
    assert found.dof == model.df_resid == 26
    assert found.p == pytest.approx(model.pvalues[1], rel=1e-9)
    t = model.tvalues[1]
    assert found.r == pytest.approx(t / np.sqrt(t**2 + 26), rel=1e-10)
    half = stats.norm.ppf(0.975) / np.sqrt(30 - 3 - 2)
    assert (found.ci_low, found.ci_high) == pytest.approx(tuple(np.tanh(np.arctanh(found.r) + np.array([-half, half]))))


def test_partial_spearman_by_the_inverse_of_the_rank_correlations(rng: np.random.Generator) -> None:
    values = np.exp(rng.normal(size=(25, 3)) @ rng.normal(size=(3, 3)))
    precision = np.linalg.inv(stats.spearmanr(values).statistic)
    found = associate(values[:, 0], values[:, 1], values[:, 2], method="spearman")
    assert found.method == "partial Spearman"
    assert found.r == pytest.approx(-precision[0, 1] / np.sqrt(precision[0, 0] * precision[1, 1]), rel=1e-9)
    assert found.p == pytest.approx(p_from_r(found.r, 25, covariates=1))


def test_missing_scores_leave_pairwise(rng: np.random.Generator) -> None:
    x, y, load = rng.normal(size=(3, 39))
    y[:5], load[7] = np.nan, np.nan
    found = associate(x, y, method="pearson")
    assert (found.n, found.n_missing) == (34, 5)
    assert found.r == pytest.approx(np.corrcoef(x[5:], y[5:])[0, 1])
    assert (associate(x, y, load).n, associate(x, y, load).n_missing) == (33, 6)


def test_redundant_covariates_cost_no_degree_of_freedom(rng: np.random.Generator) -> None:
    x, y, age = rng.normal(size=(3, 20))
    once = associate(x, y, age, method="pearson")
    twice = associate(x, y, np.column_stack([age, 3 * age + 1, np.ones(20)]), method="pearson")
    assert (twice.r, twice.dof, twice.p) == pytest.approx((once.r, once.dof, once.p))


def test_covariates_of_the_same_ranks_are_one_for_spearman(rng: np.random.Generator) -> None:
    x, y, age = rng.normal(size=(3, 20))
    once = associate(x, y, age, method="spearman")
    assert associate(x, y, np.column_stack([age, np.exp(age)]), method="spearman") == once


def test_text_covariates_are_coded(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(2, 20))
    sex = pd.Series(["female", "male"] * 10, name="sex")
    as_number = (sex == "male").to_numpy(dtype=float)
    assert associate(x, y, sex).r == pytest.approx(associate(x, y, as_number).r)
    assert associate(x, y, pd.DataFrame({"sex": sex.mask(sex.index == 2)})).n == 19


def test_text_reads_as_in_a_paper() -> None:
    x = np.arange(10.0)
    y = x + np.array([3, -3, 2, -1, 0, 1, -2, 3, -3, 0.0])
    assert associate(x, y).text == "Pearson r = .76, 95 % CI [.25, .94], p = .011, n = 10"
    assert "99 % CI" in associate(x, y, confidence=0.99).text


def test_perfect_correlation_has_a_point_interval() -> None:
    found = associate([1.0, 2.0, 3.0, 4.0], [2.0, 4.0, 6.0, 8.0])
    assert (found.r, found.ci_low, found.ci_high) == pytest.approx((1, 1, 1))
    assert found.p < 1e-6


@pytest.mark.parametrize(
    ("x", "y", "covariates", "message"),
    [
        ([1, 2, 3], [1, 3, 2], None, "at least 4 participants with every value, found 3"),
        ([1, 2, 3, np.nan], [1, 3, 2, 4], None, "found 3"),
        ([2, 2, 2, 2, 2], [1, 3, 2, 4, 5], None, "x is 2 for all 5"),
        ([1, 3, 2, 4, 5], [0, 0, 0, 0, 0], None, "y is 0 for all 5"),
        ([1, 3, 2, 4, 5], [1, 3, 2, 4], None, "5 and 4 rows"),
        ([1, 3, 2, 4, 5], [5, 1, 4, 2, 3], [2, 6, 4, 8, 10], "determine x wholly"),
        ([1, 3, 2, 4], [4, 1, 2, 3], [1, 4, 2, 9], "with 1 covariates at least 5"),
        ([1, 3, 2, 4, 5], [5, 1, "4,5", 2, 3], None, "y: '4,5' in row 3 is not a number"),
        ([1, 3, 2, 4, np.inf], [5, 1, 4, 2, 3], None, "row 5 is infinite"),
        ([[1, 3], [2, 4]], [5, 1], None, "found shape"),
    ],
)
def test_unusable_input_is_named(x: list[float], y: list[float], covariates: list[float] | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        associate(np.array(x), pd.Series(y, dtype=object), None if covariates is None else np.array(covariates))


def test_rows_in_another_order_are_refused() -> None:
    x = pd.Series([1.0, 2, 3, 5, 4], index=list("abcde"))
    with pytest.raises(InputError, match="indexed differently"):
        associate(x, x.sort_values())


def test_null_p_values_are_uniform(rng: np.random.Generator) -> None:
    p = [associate(*rng.normal(size=(2, 12)), rng.normal(size=(12, 2)), method="pearson").p for _ in range(500)]
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_interval_covers_the_truth(rng: np.random.Generator) -> None:
    truth, covered = 0.5, 0
    for _ in range(1000):
        x, noise = rng.normal(size=(2, 25))
        found = associate(x, truth * x + np.sqrt(1 - truth**2) * noise, method="pearson")
        covered += found.ci_low < truth < found.ci_high
    assert 0.93 < covered / 1000 < 0.97


def test_q_values_are_those_of_statsmodels(rng: np.random.Generator) -> None:
    p = rng.random(12) ** 3
    assert benjamini_hochberg(p) == pytest.approx(multipletests(p, method="fdr_bh")[1])
    with_gap = benjamini_hochberg(np.insert(p, 4, np.nan))
    assert np.isnan(with_gap[4])
    assert np.delete(with_gap, 4) == pytest.approx(benjamini_hochberg(p))
    assert benjamini_hochberg([]).size == 0
    with pytest.raises(InputError, match="between 0 and 1"):
        benjamini_hochberg([0.5, 1.2])


def test_table_of_a_family(rng: np.random.Generator) -> None:
    family = {f"cluster {k}": associate(*rng.normal(size=(2, 20))) for k in range(5)}
    table = association_table(family)
    assert table["q"].tolist() == pytest.approx(multipletests(table["p"], method="fdr_bh")[1].tolist())
    assert set(table["family_size"]) == {5}
    assert table.loc[2, "text"].startswith(family["cluster 2"].text)
    assert association_table({}).empty
