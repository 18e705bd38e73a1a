"""The honest figure beside a circular one: a cluster chosen by the outcome must be found again without the tested.

A cluster that was selected because it tells responders from nonresponders does so in the same participants, even where
there is nothing to find. Here it is selected in the training participants only, and scored in the held-out ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from rsfc_gpu.clinical.association import correlation, covariate_columns, independent_columns, residual
from rsfc_gpu.clinical.roc import Outcome, delong, read_outcome
from rsfc_gpu.clinical.text import unit_text
from rsfc_gpu.clinical.values import Vector, numbers
from rsfc_gpu.errors import InputError

Positions = NDArray[np.intp]
ScoreFromTraining = Callable[[Positions], ArrayLike | None]


@dataclass(frozen=True, eq=False)
class Fold:
    """One split: positions of the participants to learn from and of those held out, both ascending."""

    repeat: int
    fold: int
    training: Positions
    held_out: Positions


@dataclass(frozen=True, eq=False)
class HeldOutScores:
    """Scores of participants who had no part in finding what scores them.

    Attributes
    ----------
    scores : (repeats, n) each participant scored once per repeat, relative to the mean of that fold's training scores;
        NaN where missing.
    is_positive : (n,) the outcome.
    folds : folds per repeat.
    folds_without : folds, of folds x repeats, in which the training participants had nothing to score with (all 0).
    """

    scores: NDArray[np.float64]
    is_positive: Outcome
    folds: int
    folds_without: int


@dataclass(frozen=True)
class CrossValidated:
    """A figure found without circularity, over repeats of the split.

    Attributes
    ----------
    figure : "AUC", "Pearson r", "Spearman r", or "partial ..." of these two.
    mean, low, high : over the repeats (low and high are the extremes, no confidence interval).
    per_repeat : the figure of each repeat.
    folds, repeats, folds_without : folds per repeat, repeats, and folds of all in which no cluster survived.
    n : participants.
    """

    figure: str
    mean: float
    low: float
    high: float
    per_repeat: tuple[float, ...]
    folds: int
    repeats: int
    folds_without: int
    n: int

    @property
    def text(self) -> str:
        """As in a paper: "cross-validated AUC = .71 (.64 to .78 over 20 repeats of 5 folds; none in 3 of 100)"."""
        spread = f"{unit_text(self.low)} to {unit_text(self.high)} over {self.repeats} repeats of {self.folds} folds"
        without = f"none in {self.folds_without} of {self.folds * self.repeats}"
        return f"cross-validated {self.figure} = {unit_text(self.mean)} ({spread}; {without})"


def stratified_folds(
    outcome: ArrayLike,
    *,
    folds: int = 5,
    repeats: int = 20,
    seed: int = 0,
    positive: object = None,
) -> Iterator[Fold]:
    """Every split of a repeated stratified cross-validation: each fold has its share of either outcome.

    Raises
    ------
    InputError : a missing outcome, or fewer participants of an outcome than folds.

    References
    ----------
    Kohavi 1995, IJCAI 14:1137.
    """
    from sklearn.model_selection import RepeatedStratifiedKFold

    is_positive = _full_outcome(outcome, positive)
    if folds < 2 or repeats < 1:
        raise InputError(f"at least 2 folds and 1 repeat are needed, found {folds} and {repeats}")
    smaller = int(min(is_positive.sum(), (~is_positive).sum()))
    if smaller < folds:
        raise InputError(f"{folds} folds need at least {folds} participants of either outcome, found {smaller}")
    splitter = RepeatedStratifiedKFold(n_splits=folds, n_repeats=repeats, random_state=seed)
    for number, (training, held_out) in enumerate(splitter.split(np.zeros((len(is_positive), 1)), is_positive)):
        yield Fold(number // folds, number % folds, training, held_out)


def held_out_scores(
    outcome: ArrayLike,
    score_from_training: ScoreFromTraining,
    splits: Iterable[Fold],
    *,
    positive: object = None,
) -> HeldOutScores:
    """Scores of every participant by what the others teach, once per repeat.

    Parameters
    ----------
    outcome : (n,) true/false or 1/0, or two values with `positive` named.
    score_from_training : called once per fold with the positions of the training participants. It selects what to score
        with from these alone, and returns (n,) scores of all participants, NaN where missing, or None where nothing
        survived.
    splits : of `stratified_folds`.

    Notes
    -----
    The mean of the training participants' scores is subtracted in each fold, since another fold may have found another
    cluster with another level. A fold without one scores 0, no information, and is counted; it is not left out, as
    leaving it out would again choose by success.

    Raises
    ------
    InputError : scores of the wrong number, or missing in all training participants.

    References
    ----------
    Kriegeskorte et al. 2009, Nat. Neurosci. 12:535 (circularity); Varma and Simon 2006, BMC Bioinformatics 7:91.
    """
    is_positive = _full_outcome(outcome, positive)
    splits = list(splits)
    scores = np.zeros((1 + max(split.repeat for split in splits), len(is_positive)))
    without = 0
    for split in splits:
        found = score_from_training(split.training.copy())
        if found is None:
            without += 1
            continue
        values = numbers(found, "score_from_training")
        if values.shape != is_positive.shape:
            raise InputError(
                f"score_from_training: a score of each of {len(is_positive)} participants is needed, "
                f"found {values.size}"
            )
        learned = values[split.training]
        if np.isnan(learned).all():
            raise InputError("score_from_training: none of the training participants has a score")
        scores[split.repeat, split.held_out] = values[split.held_out] - learned[~np.isnan(learned)].mean()
    return HeldOutScores(scores, is_positive, 1 + max(split.fold for split in splits), without)


def cross_validated_auc(held_out: HeldOutScores) -> CrossValidated:
    """Area under the ROC curve of the held-out scores, per repeat; a repeat without any cluster has 0.5.

    Participants without a score are left out.
    """
    known: Outcome = np.asarray(np.isfinite(held_out.scores).all(axis=0))
    auc, _ = delong(held_out.is_positive[known], held_out.scores[:, known])
    return _summary("AUC", auc, held_out, known)


def cross_validated_correlation(
    held_out: HeldOutScores,
    y: ArrayLike,
    covariates: ArrayLike | pd.DataFrame | None = None,
    *,
    method: Literal["pearson", "spearman"] = "pearson",
) -> CrossValidated:
    """Correlation of the held-out scores with a measure y (n,), per repeat; a repeat without any cluster has 0.

    For a cluster selected by an outcome that y defines (response is a cut through the reduction rate). Partial where
    there are covariates, which are as in `associate`. Participants without every value are left out.

    Notes
    -----
    What the covariates explain is removed over all participants: a held-out score owes nothing to its own outcome, so
    nothing leaks. Slopes learned in each fold would: where a covariate happens to go with the outcome in the training
    participants, both residuals of the held-out ones are overcorrected alike (mean r of .06 on noise, n = 24).

    Raises
    ------
    InputError : y of another length or without spread, fewer than 4 participants with every value (4 + k with
        covariates).
    """
    values, held = numbers(y, "y"), covariate_columns(covariates, like=y)
    if values.shape != held_out.is_positive.shape:
        raise InputError(f"y: a value of each of {len(held_out.is_positive)} participants is needed")
    known: Outcome = np.asarray(np.isfinite(np.vstack([held_out.scores, values, held.T])).all(axis=0))
    scores, values, held = held_out.scores[:, known], values[known], held[known]
    if method == "spearman":
        scores, values, held = stats.rankdata(scores, axis=1), stats.rankdata(values), stats.rankdata(held, axis=0)
    design = independent_columns(held)
    k = design.shape[1] - 1
    if len(values) < 4 + k:
        raise InputError(f"with {k} covariates at least {4 + k} participants with every value are needed")
    if np.ptp(values) == 0:
        raise InputError(f"y is {values[0]:g} for all {len(values)} participants; a correlation needs spread")
    rest = residual(values, design, "y") if k else values
    r = [
        0.0 if np.ptp(one) == 0 else correlation(residual(one, design, "the score") if k else one, rest)
        for one in scores
    ]
    name = method.capitalize() if covariates is None else f"partial {method.capitalize()}"
    return _summary(f"{name} r", np.array(r), held_out, known)


def _full_outcome(outcome: ArrayLike, positive: object) -> Outcome:
    known, is_positive = read_outcome(outcome, positive)
    if not known.all():
        raise InputError(f"{int((~known).sum())} participants have no outcome; leave them out before the split")
    return is_positive


def _summary(figure: str, per_repeat: Vector, held_out: HeldOutScores, known: Outcome) -> CrossValidated:
    return CrossValidated(
        figure=figure,
        mean=float(per_repeat.mean()),
        low=float(per_repeat.min()),
        high=float(per_repeat.max()),
        per_repeat=tuple(float(one) for one in per_repeat),
        folds=held_out.folds,
        repeats=len(held_out.scores),
        folds_without=held_out.folds_without,
        n=int(known.sum()),
    )
