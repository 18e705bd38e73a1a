"""How well a score tells two outcomes apart: ROC curve, its area with DeLong's interval, and two areas compared."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from rsfc_gpu.clinical.text import p_text, unit_text
from rsfc_gpu.clinical.values import Vector, numbers, one_dimensional, require_same_rows
from rsfc_gpu.errors import InputError

Outcome = NDArray[np.bool_]
_EXACT_UP_TO = 8  # scipy.stats.mannwhitneyu's own rule: exact where the smaller sample has at most 8 values


@dataclass(frozen=True, eq=False)
class Roc:
    """The ROC curve of a score for an outcome.

    Attributes
    ----------
    auc : area under the curve: P(score of a positive > score of a negative), ties counting half.
    ci_low, ci_high, confidence, variance : DeLong's variance of the area and its normal interval, cut at 0 and 1. Where
        the score separates the outcomes wholly the variance is 0 and the interval a point.
    p, p_method : two-sided against an area of 0.5, from the null distribution of the Mann-Whitney statistic.
    cutoff, sensitivity, specificity : the cut-off of largest Youden index (positive: score >= cutoff).
    n_positive, n_negative, n_missing : participants by outcome, and those left out.
    curve : threshold, sensitivity, specificity, false_positive_rate; thresholds fall from infinity.
    """

    auc: float
    ci_low: float
    ci_high: float
    confidence: float
    variance: float
    p: float
    p_method: str
    cutoff: float
    sensitivity: float
    specificity: float
    n_positive: int
    n_negative: int
    n_missing: int
    curve: pd.DataFrame

    @property
    def text(self) -> str:
        """As in a paper: "AUC = .918, 95 % CI [.832, 1.000], p < .001, sensitivity 89.5 %, specificity 85.0 %"."""
        interval = f"{100 * self.confidence:g} % CI [{unit_text(self.ci_low, 3)}, {unit_text(self.ci_high, 3)}]"
        rates = f"sensitivity {100 * self.sensitivity:.1f} %, specificity {100 * self.specificity:.1f} %"
        return f"AUC = {unit_text(self.auc, 3)}, {interval}, {p_text(self.p)}, {rates}"


@dataclass(frozen=True)
class RocComparison:
    """Two ROC curves of the same participants compared by DeLong's test.

    Attributes
    ----------
    auc_a, auc_b, difference : areas, and the first minus the second (the effect size).
    variance, ci_low, ci_high : of the difference, with its 95 % interval.
    z, p : the test, two-sided.
    n_positive, n_negative, n_missing : participants with both scores by outcome, and those left out.
    """

    auc_a: float
    auc_b: float
    difference: float
    variance: float
    ci_low: float
    ci_high: float
    z: float
    p: float
    n_positive: int
    n_negative: int
    n_missing: int


def roc(
    outcome: ArrayLike,
    score: ArrayLike,
    *,
    positive: object = None,
    confidence: float = 0.95,
) -> Roc:
    """ROC curve of a score for a two-valued outcome; a higher score must speak for the positive outcome.

    The direction is never turned by itself: a score that runs the other way has an area below 0.5, and is reported so.

    Parameters
    ----------
    outcome : (n,) true/false or 1/0, or two values of text with `positive` named.
    score : (n,) numbers. A participant with a missing outcome or score is left out.
    positive : the outcome to detect.
    confidence : of the interval of the area.

    Notes
    -----
    Cut-offs lie half-way between neighbouring scores. Of several with the same Youden index the one is taken whose
    sensitivity and specificity differ least, and of those the most sensitive. p is exact where the smaller group has at
    most 8 participants and no two scores are equal; otherwise normal, corrected for ties and continuity.

    Raises
    ------
    InputError : fewer than two participants with either outcome, an outcome of other than two values.

    References
    ----------
    DeLong, DeLong and Clarke-Pearson 1988, Biometrics 44:837; Sun and Xu 2014, IEEE Signal Process. Lett. 21:1389
    (by ranks); Mann and Whitney 1947, Ann. Math. Stat. 18:50; Youden 1950, Cancer 3:32.
    """
    require_same_rows(outcome, score, "outcome and score")
    (values,), is_positive, n_missing = _complete(outcome, positive, score)
    (auc,), covariance = delong(is_positive, values[None])
    variance = float(covariance[0, 0])
    half = _normal_quantile(confidence) * math.sqrt(variance)
    p, p_method = _mann_whitney(values[is_positive], values[~is_positive])
    curve = roc_curve(is_positive, values)
    best = curve.iloc[_youden(curve, is_positive)]
    n_positive = int(is_positive.sum())
    return Roc(
        auc=float(auc),
        ci_low=max(0.0, float(auc) - half),
        ci_high=min(1.0, float(auc) + half),
        confidence=confidence,
        variance=variance,
        p=p,
        p_method=p_method,
        cutoff=float(best["threshold"]),
        sensitivity=float(best["sensitivity"]),
        specificity=float(best["specificity"]),
        n_positive=n_positive,
        n_negative=len(values) - n_positive,
        n_missing=n_missing,
        curve=curve,
    )


def compare_rocs(
    outcome: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    *,
    positive: object = None,
) -> RocComparison:
    """DeLong's paired test of two scores of the same participants, over those who have both.

    Curves of equal areas whose difference has no variance (the same ranks) have z = 0 and p = 1.

    Raises
    ------
    InputError : as `roc`.

    References
    ----------
    DeLong, DeLong and Clarke-Pearson 1988, Biometrics 44:837.
    """
    require_same_rows(outcome, a, "outcome and the first score")
    require_same_rows(outcome, b, "outcome and the second score")
    values, is_positive, n_missing = _complete(outcome, positive, a, b)
    auc, covariance = delong(is_positive, values)
    difference = float(auc[0] - auc[1])
    variance = max(0.0, float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]))
    if variance > 1e-15:
        z = difference / math.sqrt(variance)
    else:
        z = 0.0 if abs(difference) < 1e-12 else math.copysign(math.inf, difference)
    half = _normal_quantile(0.95) * math.sqrt(variance)
    n_positive = int(is_positive.sum())
    return RocComparison(
        *(float(auc[0]), float(auc[1]), difference, variance, difference - half, difference + half),
        *(z, float(2 * stats.norm.sf(abs(z))), n_positive, len(is_positive) - n_positive, n_missing),
    )


def delong(is_positive: Outcome, scores: NDArray[np.float64]) -> tuple[Vector, NDArray[np.float64]]:
    """Areas (k,) and their DeLong covariance (k, k) of k scores (k, n) for one outcome (n,)."""
    n1, n0 = int(is_positive.sum()), int((~is_positive).sum())
    everyone = stats.rankdata(scores, axis=1)
    # Share of the other group that each participant beats, ties counting half: from mid-ranks, without a pairwise loop.
    beats = (everyone[:, is_positive] - stats.rankdata(scores[:, is_positive], axis=1)) / n0
    beaten = 1 - (everyone[:, ~is_positive] - stats.rankdata(scores[:, ~is_positive], axis=1)) / n1
    covariance = np.atleast_2d(np.cov(beats)) / n1 + np.atleast_2d(np.cov(beaten)) / n0
    return beats.mean(axis=1), covariance


def roc_curve(is_positive: Outcome, score: Vector) -> pd.DataFrame:
    """Sensitivity and specificity at every cut-off, from none called positive (infinity) to all (-infinity)."""
    levels, place = np.unique(score, return_inverse=True)
    positives = np.bincount(place[is_positive], minlength=levels.size)[::-1].cumsum()
    negatives = np.bincount(place[~is_positive], minlength=levels.size)[::-1].cumsum()
    upper, lower = levels[:0:-1], levels[-2::-1]
    middle = lower / 2 + upper / 2
    between = np.where(middle > lower, middle, upper)  # neighbouring floats have nothing in between
    sensitivity = np.concatenate([[0.0], positives / positives[-1]])
    refused = np.concatenate([[negatives[-1]], negatives[-1] - negatives])
    return pd.DataFrame(
        {
            "threshold": np.concatenate([[np.inf], between, [-np.inf]]),
            "sensitivity": sensitivity,
            "specificity": refused / negatives[-1],
            "false_positive_rate": 1 - refused / negatives[-1],
        }
    )


def _youden(curve: pd.DataFrame, is_positive: Outcome) -> int:
    """Line of the best cut-off, found in whole participants, so that equal indices are equal."""
    n1, n0 = int(is_positive.sum()), int((~is_positive).sum())
    hits = np.rint(curve["sensitivity"].to_numpy() * n1).astype(int) * n0
    refusals = np.rint(curve["specificity"].to_numpy() * n0).astype(int) * n1
    return int(np.lexsort((hits, -np.abs(hits - refusals), hits + refusals))[-1])


def _mann_whitney(positives: Vector, negatives: Vector) -> tuple[float, str]:
    ties = np.unique(np.concatenate([positives, negatives])).size < positives.size + negatives.size
    exact = min(positives.size, negatives.size) <= _EXACT_UP_TO and not ties
    p = stats.mannwhitneyu(positives, negatives, method="exact" if exact else "asymptotic")[1]
    if math.isnan(p):  # every score is equal
        p = 1.0
    return float(p), "Mann-Whitney, exact" if exact else "Mann-Whitney, normal, tie and continuity corrected"


def _complete(outcome: ArrayLike, positive: object, *scores: ArrayLike) -> tuple[NDArray[np.float64], Outcome, int]:
    """Scores (k, n) and outcome (n,) of those who have all of them, and the number of those who do not."""
    known, is_positive = read_outcome(outcome, positive)
    values = np.stack([numbers(score, "score") for score in scores])
    complete = known & ~np.isnan(values).any(axis=0)
    is_positive = is_positive[complete]
    n1, n0 = int(is_positive.sum()), int((~is_positive).sum())
    if min(n1, n0) < 2:
        raise InputError(
            f"a ROC curve needs at least 2 participants with either outcome, found {n1} positive, {n0} negative"
        )
    return values[:, complete], is_positive, int((~complete).sum())


def read_outcome(outcome: ArrayLike, positive: object = None) -> tuple[Outcome, Outcome]:
    """Who has an outcome (n,), and whose is the positive one (n,).

    Raises
    ------
    InputError : more than two values; values other than 1/0 or true/false without `positive`; nobody has `positive`.
    """
    series = outcome if isinstance(outcome, pd.Series) else pd.Series(one_dimensional(outcome, "outcome"))
    known = series.notna().to_numpy(dtype=bool)
    found = list(series[known].unique())
    if len(found) > 2:
        raise InputError(f"an outcome has two values, found {len(found)}: {found[:5]}")
    if positive is None:
        if not set(found) <= {0, 1}:
            raise InputError(f"which of {found} is the outcome to detect? Name it, as positive={found[0]!r}")
        positive = 1
    elif positive not in found:
        raise InputError(f"nobody has the outcome {positive!r}; found {found}")
    return known, np.asarray((series == positive).fillna(False).to_numpy(dtype=bool))


def _normal_quantile(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise InputError(f"confidence lies between 0 and 1, found {confidence}")
    return float(stats.norm.ppf(0.5 + confidence / 2))
