from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rsfc_gpu import InputError
from rsfc_gpu.clinical import (
    associate,
    cross_validated_auc,
    cross_validated_correlation,
    held_out_scores,
    roc,
    stratified_folds,
)

OUTCOME = np.arange(39) < 19
SPLITS = list(stratified_folds(OUTCOME))


def test_every_participant_is_held_out_once_per_repeat_in_his_stratum() -> None:
    splits = list(stratified_folds(OUTCOME))
    assert [(split.repeat, split.fold) for split in splits] == [(r, f) for r in range(20) for f in range(5)]
    for repeat in range(20):
        held_out = np.concatenate([split.held_out for split in splits if split.repeat == repeat])
        assert sorted(held_out) == list(range(39))
    for split in splits:
        assert not set(split.training) & set(split.held_out)
        assert len(split.training) + len(split.held_out) == 39
        assert OUTCOME[split.held_out].sum() in (3, 4)
    again, other = list(stratified_folds(OUTCOME)), list(stratified_folds(OUTCOME, seed=1))
    assert all((a.held_out == b.held_out).all() for a, b in zip(splits, again, strict=True))
    assert any(
        len(a.held_out) != len(b.held_out) or (a.held_out != b.held_out).any()
        for a, b in zip(splits, other, strict=True)
    )


def test_bookkeeping_against_a_plain_loop() -> None:
    features = np.random.default_rng(1).normal(size=(39, 6)) + OUTCOME[:, None] * 0.5
    calls = []

    def score(training: np.ndarray) -> np.ndarray | None:
        calls.append(training)
        if len(calls) % 7 == 0:
            return None
        return features[:, len(calls) % 6]

    found = held_out_scores(OUTCOME, score, stratified_folds(OUTCOME, seed=3))
    expected, without = np.zeros((20, 39)), 0
    for call, split in enumerate(stratified_folds(OUTCOME, seed=3), start=1):
        assert (calls[call - 1] == split.training).all()
        if call % 7 == 0:
            without += 1
            continue
        for person in split.held_out:
            expected[split.repeat, person] = features[person, call % 6] - features[split.training, call % 6].mean()
    assert found.scores == pytest.approx(expected)
    assert found.folds_without == without == 14
    auc = cross_validated_auc(found)
    each = [roc(OUTCOME, row).auc for row in expected]
    assert auc.per_repeat == pytest.approx(each)
    assert (auc.mean, auc.low, auc.high) == pytest.approx((np.mean(each), min(each), max(each)))
    assert (auc.folds, auc.repeats, auc.folds_without, auc.n) == (5, 20, 14, 39)
    assert auc.text.endswith("over 20 repeats of 5 folds; none in 14 of 100)")


def select_best(features: np.ndarray, outcome: np.ndarray, among: np.ndarray) -> np.ndarray:
    """The feature that differs most between the outcomes, signed so that higher means positive."""
    difference = features[among][outcome[among]].mean(axis=0) - features[among][~outcome[among]].mean(axis=0)
    best = np.abs(difference).argmax()
    return features[:, best] * np.sign(difference[best])


def test_selection_from_noise_is_unmasked() -> None:
    """The best of 300 noise features tells outcomes apart where it was chosen, not in held-out participants."""
    circular, honest = [], []
    for seed in range(12):
        features = np.random.default_rng(seed).normal(size=(39, 300))
        circular.append(roc(OUTCOME, select_best(features, OUTCOME, np.arange(39))).auc)
        scores = held_out_scores(OUTCOME, lambda training, f=features: select_best(f, OUTCOME, training), SPLITS[:20])
        honest.append(cross_validated_auc(scores).mean)
    assert np.mean(circular) > 0.75
    assert 0.4 < np.mean(honest) < 0.6


def test_a_real_effect_survives() -> None:
    features = np.random.default_rng(0).normal(size=(39, 50))
    features[:, 7] += 2.5 * OUTCOME
    scores = held_out_scores(OUTCOME, lambda training: select_best(features, OUTCOME, training), SPLITS[:25])
    assert cross_validated_auc(scores).low > 0.85
    reduction = 30 * OUTCOME + np.random.default_rng(1).normal(30, 8, size=39)
    assert cross_validated_correlation(scores, reduction).mean > 0.5
    assert cross_validated_correlation(scores, -reduction, method="spearman").mean < -0.5


def test_correlation_is_that_of_each_repeat() -> None:
    rng = np.random.default_rng(5)
    features, y = rng.normal(size=(39, 1)), rng.normal(size=39)
    scores = held_out_scores(OUTCOME, lambda _: features[:, 0], SPLITS[:15])
    r = cross_validated_correlation(scores, y)
    assert r.per_repeat == pytest.approx([np.corrcoef(row, y)[0, 1] for row in scores.scores])
    spearman = cross_validated_correlation(scores, y, method="spearman")
    assert spearman.per_repeat == pytest.approx(
        [pd.Series(row).corr(pd.Series(y), method="spearman") for row in scores.scores]
    )
    assert (r.figure, spearman.figure) == ("Pearson r", "Spearman r")


@pytest.mark.parametrize("method", ["pearson", "spearman"])
def test_partial_correlation_is_that_of_each_repeat(method) -> None:
    rng = np.random.default_rng(8)
    held = pd.DataFrame({"load": rng.normal(size=39), "sex": rng.choice(["F", "M"], 39)})
    x, y = rng.normal(size=39) + held["load"], pd.Series(np.round(rng.normal(size=39) + 2 * held["load"], 1))
    x[3], y[5], held.loc[30, "load"] = np.nan, np.nan, np.nan
    scores = held_out_scores(OUTCOME, lambda _: x, SPLITS[:10])
    found = cross_validated_correlation(scores, y, held, method=method)
    each = [associate(pd.Series(row), y, held, method=method) for row in scores.scores]
    assert found.per_repeat == pytest.approx([one.r for one in each], abs=1e-12)
    assert found.n == each[0].n == 36 and found.figure == f"partial {method.capitalize()} r"
    # The covariate made x and y go together; without it little is left.
    without = cross_validated_correlation(scores, y, method=method)
    assert without.n == 37 and without.mean > found.mean + 0.3


def test_correlations_of_a_selection_from_noise_are_unmasked() -> None:
    """The feature that differs most between outcomes goes with what defines them only where it was chosen."""
    circular, honest, partial = [], [], []
    for seed in range(15):
        rng = np.random.default_rng(seed)
        features, held = rng.normal(size=(39, 300)), rng.normal(size=39)
        y = 30 * OUTCOME + rng.normal(30, 6, size=39) + 5 * held
        circular.append(np.corrcoef(select_best(features, OUTCOME, np.arange(39)), y)[0, 1])  # chosen by all

        def score(training: np.ndarray, of: np.ndarray = features) -> np.ndarray:
            return select_best(of, OUTCOME, training)

        honest.append(cross_validated_correlation(held_out_scores(OUTCOME, score, SPLITS[:20]), y).mean)
        partial.append(cross_validated_correlation(held_out_scores(OUTCOME, score, SPLITS[:20]), y, held).mean)
    error = 2.6 * np.std([honest, partial], axis=1, ddof=1) / np.sqrt(15)  # 99 % of the mean of 15
    assert np.mean(circular) > 0.35
    assert (np.abs([np.mean(honest), np.mean(partial)]) < error).all() and (error < 0.15).all()


def test_nothing_found_is_no_information() -> None:
    scores = held_out_scores(OUTCOME, lambda _: None, SPLITS)
    assert scores.folds_without == 100
    assert set(cross_validated_auc(scores).per_repeat) == {0.5}
    assert set(cross_validated_correlation(scores, np.arange(39.0)).per_repeat) == {0.0}


def test_unusable_input_is_named() -> None:
    with pytest.raises(InputError, match="at least 5 participants of either outcome, found 4"):
        list(stratified_folds(np.arange(20) < 4))
    with pytest.raises(InputError, match="have no outcome"):
        list(stratified_folds(pd.Series([1.0, 0.0, np.nan] * 10)))
    with pytest.raises(InputError, match="at least 2 folds"):
        list(stratified_folds(OUTCOME, folds=1))
    with pytest.raises(InputError, match="each of 39 participants is needed, found 31"):
        held_out_scores(OUTCOME, lambda _: np.zeros(31), SPLITS)
    with pytest.raises(InputError, match="none of the training participants has a score"):
        held_out_scores(OUTCOME, lambda _: np.full(39, np.nan), SPLITS)
    scores = held_out_scores(OUTCOME, lambda _: np.arange(39.0), SPLITS[:5])
    with pytest.raises(InputError, match="y is 1 for all 39"):
        cross_validated_correlation(scores, np.ones(39))
    with pytest.raises(InputError, match="a value of each of 39"):
        cross_validated_correlation(scores, np.arange(38.0))
    with pytest.raises(InputError, match="at least 4 participants with every value are needed"):
        cross_validated_correlation(scores, np.where(np.arange(39) < 3, np.arange(39.0), np.nan))
