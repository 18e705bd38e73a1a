"""Contrasts from weights and from text, and those that a model cannot estimate."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rsfc_gpu.errors import InputError
from rsfc_gpu.group import AbsorbedCovariateWarning, flexible_factorial, one_sample, paired, two_sample
from rsfc_gpu.group.contrast import contrast_weights
from rsfc_gpu.group.design import Design


def _groups(*names: str) -> Design:
    return two_sample(
        pd.DataFrame({"group": np.repeat(names, 4), "age": [1.0, 2, 4, 3, 9, 7, 5, 8]}), covariates=["age"]
    )


def _visits(covariates: tuple[str, ...] = ("fd",)) -> Design:
    table = pd.DataFrame(
        {
            "subject": np.repeat(range(6), 2),
            "group": np.repeat(["responder", "non-responder"], 6),
            "time": ["baseline", "Day13"] * 6,
            "fd": np.random.default_rng(0).random(12),
            "age": np.repeat([31.0, 42, 25, 60, 33, 51], 2),
        }
    )
    return flexible_factorial(table, covariates=covariates)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MDD - HC", [1, -1, 0]),
        ("HC-MDD", [-1, 1, 0]),
        ("-MDD + HC", [-1, 1, 0]),
        (" 0.5*MDD + .5 * HC ", [0.5, 0.5, 0]),
        ("MDD - HC - 2*age", [1, -1, -2]),
        ("age", [0, 0, 1]),
        ("MDD + MDD - 2*HC", [2, -2, 0]),
        ("group", [1, -1, 0]),
    ],
)
def test_text(text, expected) -> None:
    weights, name = contrast_weights(_groups("MDD", "HC"), text)
    np.testing.assert_array_equal(weights, [expected])
    assert name == text.strip()


@pytest.mark.parametrize(
    ("names", "text", "expected"),
    [
        (("non-responder", "responder"), "responder - non-responder", [-1, 1, 0]),
        (("MDD", "MDD drug - free"), "MDD drug - free - MDD", [-1, 1, 0]),
        (("1", "2"), "2 - 0.5*1", [-0.5, 1, 0]),
    ],
)
def test_names_with_signs_blanks_and_digits(names, text, expected) -> None:
    np.testing.assert_array_equal(contrast_weights(_groups(*names), text)[0], [expected])


@pytest.mark.parametrize(
    ("given", "expected", "name"),
    [
        ([1, -1], [[1, -1, 0]], "MDD - HC"),
        ([-1, 1], [[-1, 1, 0]], "-MDD + HC"),
        (np.array([[0.5, 0.5], [1, -1]]), [[0.5, 0.5, 0], [1, -1, 0]], "0.5*MDD + 0.5*HC; MDD - HC"),
        ([[1, -1], [0, 0, 2]], [[1, -1, 0], [0, 0, 2]], "MDD - HC; 2*age"),
        ((0, 0, 1), [[0, 0, 1]], "age"),
    ],
)
def test_weights_are_padded_and_spelled(given, expected, name) -> None:
    weights, spelled = contrast_weights(_groups("MDD", "HC"), given)
    np.testing.assert_array_equal(weights, expected)
    assert spelled == name


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("MDD - HCs", r"names 'HCs' \(did you mean 'HC'\?\); the design has \['group', 'MDD', 'HC', 'age'\]"),
        ("", "names ''"),
        ("MDD -", "names ''"),
        ("MDD HC", r"expected \+ or - before 'HC'"),
        ("2*MDD*HC", "names"),
        ("MDD - MDD", "not all zero"),
        ([0, 0], "not all zero"),
        ([1, np.nan], "finite"),
        ([1, 0, 0, 0], "at most 3 numbers"),
        ([], "at most 3 numbers"),
        ([[1, -1], ["a", 1]], "at most 3 numbers"),
        (1.0, None),
    ],
)
def test_what_is_no_contrast(given, message) -> None:
    design = _groups("MDD", "HC")
    if message is None:
        np.testing.assert_array_equal(contrast_weights(design, given)[0], [[1, 0, 0]])
        return
    with pytest.raises(InputError, match=message):
        contrast_weights(design, given)


def test_tests_within_subjects_are_estimable() -> None:
    design = _visits()
    for text, expected in (
        ("group:time", [1, -1, -1, 1]),
        ("time", [1, -1, 1, -1]),
        ("fd", [0, 0, 0, 0, 1]),
        ("responder@baseline - responder@Day13", [1, -1]),
    ):
        weights = contrast_weights(design, text)[0]
        np.testing.assert_array_equal(weights[0, : len(expected)], expected)


@pytest.mark.parametrize(
    "contrast",
    ["group", "responder@baseline", "responder@baseline - non-responder@baseline", [1, 1, -1, -1]],
)
def test_differences_between_groups_are_refused_in_the_factorial(contrast) -> None:
    with pytest.raises(InputError, match=r"responder@.*average each subject's maps over time and use two_sample"):
        contrast_weights(_visits(), contrast)


def test_an_absorbed_covariate_cannot_be_tested() -> None:
    with pytest.warns(AbsorbedCovariateWarning):
        design = _visits(("age", "fd"))
    with pytest.raises(InputError, match="'age' cannot be estimated: age does not change within subjects"):
        contrast_weights(design, "age")
    contrast_weights(design, "fd")


def test_the_mean_of_pairs_is_refused() -> None:
    table = pd.DataFrame({"subject": np.repeat(range(4), 2), "condition": ["off", "on"] * 4})
    design = paired(table)
    contrast_weights(design, "on - off")
    contrast_weights(design, "condition")
    with pytest.raises(InputError, match="use one_sample"):
        contrast_weights(design, "0.5*on + 0.5*off")


def test_the_mean_of_one_sample() -> None:
    weights, name = contrast_weights(one_sample(pd.DataFrame({"n": range(4)})), "mean")
    np.testing.assert_array_equal(weights, [[1]])
    assert name == "mean"
