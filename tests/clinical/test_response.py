from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from rsfc_gpu import InputError
from rsfc_gpu.clinical import is_responder, paired_by_group, paired_t, reduction_rate, roc


def test_reduction_and_response() -> None:
    before = pd.Series([20, 24, 22, np.nan, 17], index=list("abcde"))
    after = pd.Series([10, 13, 24, 5, np.nan], index=list("abcde"))
    reduction = reduction_rate(before, after)
    assert reduction.iloc[:3].tolist() == pytest.approx([50, 100 * 11 / 24, -100 / 11])
    assert reduction.isna().tolist() == [False, False, False, True, True]
    assert list(reduction.index) == list("abcde")
    assert is_responder(reduction).tolist()[:3] == [True, False, False]
    assert is_responder(reduction, comparison=">").tolist()[:3] == [False, False, False]
    assert is_responder(reduction, threshold_percent=40).tolist()[:3] == [True, True, False]
    assert is_responder(reduction).isna().tolist() == [False, False, False, True, True]


def test_half_of_any_score_is_exactly_fifty_per_cent() -> None:
    scores = np.arange(1, 53)
    assert is_responder(reduction_rate(2 * scores, scores)).all()
    assert not is_responder(reduction_rate(2 * scores, scores), comparison=">").any()


def test_reduction_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="0 in row 2"):
        reduction_rate([20, 0], [10, 0])
    with pytest.raises(InputError, match="comparison is"):
        is_responder([50.0], comparison="=>")  # type: ignore[arg-type]


def test_paired_t_is_scipys() -> None:
    rng = np.random.default_rng(5)
    before, after = rng.normal(size=(2, 20))
    after[3] = np.nan
    found = paired_t(before, after)
    keep = np.arange(20) != 3
    expected = stats.ttest_rel(before[keep], after[keep])
    interval = expected.confidence_interval(0.95)
    assert (found.t, found.df, found.p) == pytest.approx((expected.statistic, expected.df, expected.pvalue))
    assert (found.ci_low, found.ci_high) == pytest.approx((interval.low, interval.high))
    assert (found.n, found.n_missing) == (19, 1)
    assert found.effect == pytest.approx(found.t / np.sqrt(19))


def test_printed_post_hoc_test_comes_back_from_raw_values() -> None:
    """Values with the printed means, SDs and t: -0.07 +- 0.08 before, 0.01 +- 0.12 after, t(19) = -2.660, p .015."""
    rng = np.random.default_rng(5)
    first, second = np.linalg.qr(np.column_stack([np.ones(20), rng.normal(size=(20, 2))]))[0].T[1:] * np.sqrt(19)
    sd_of_change = 0.08 / (2.660 / np.sqrt(20))
    r = (0.08**2 + 0.12**2 - sd_of_change**2) / (2 * 0.08 * 0.12)
    table = pd.DataFrame(
        {"before": -0.07 + 0.08 * first, "after": 0.01 + 0.12 * (r * first + np.sqrt(1 - r * r) * second)}
    )
    found = paired_by_group(table.assign(group="nonresponder"), before="before", after="after", group="group")
    assert (
        found["nonresponder"].text
        == "-0.07 ± 0.08 before, 0.01 ± 0.12 after, paired t(19) = -2.66, p = .015, d_z = -0.59"
    )


def test_paired_by_group_keeps_groups_apart() -> None:
    rng = np.random.default_rng(6)
    table = pd.DataFrame(rng.normal(size=(12, 2)), columns=["b", "a"]).assign(g=["x", "y", None] * 4)
    found = paired_by_group(table, before="b", after="a", group="g")
    assert list(found) == ["x", "y"]
    assert found["y"] == paired_t(table.b[table.g == "y"], table.a[table.g == "y"])
    with pytest.raises(InputError, match="no column 'grp'"):
        paired_by_group(table, before="b", after="a", group="grp")
    table.loc[table.g == "y", "a"] = table.b + 1
    with pytest.raises(InputError, match="g = y: all 4 participants changed by the same amount"):
        paired_by_group(table, before="b", after="a", group="g")
    with pytest.raises(InputError, match="at least 2 participants with both"):
        paired_t([1.0, np.nan], [2.0, 3.0])


def test_response_feeds_a_roc_curve() -> None:
    response = is_responder(reduction_rate([20, 20, 20, 20, np.nan], [5, 9, 15, 18, 3]))
    found = roc(response, [0.4, 0.3, 0.1, 0.2, 0.9])
    assert (found.auc, found.n_positive, found.n_missing) == (1, 2, 1)
