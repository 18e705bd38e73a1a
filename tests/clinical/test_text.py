from __future__ import annotations

import math

import pytest

from rsfc_gpu.clinical import p_text, p_value_text
from rsfc_gpu.clinical.text import count_text, mean_sd_text, unit_text


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (0.0374, ".037"),
        (0.0009, "< .001"),
        (0.001, ".001"),
        (0.9994, "> .999"),
        (1.0, "> .999"),
        (0.5, ".500"),
        (math.nan, "-"),
    ],
)
def test_p(p: float, text: str) -> None:
    assert p_value_text(p) == text


def test_p_with_its_name() -> None:
    assert p_text(0.037) == "p = .037"
    assert p_text(0.0001, "q") == "q < .001"
    assert p_text(math.nan) == "-"


@pytest.mark.parametrize(
    ("value", "text"), [(0.49, ".49"), (-0.07, "-.07"), (1, "1.00"), (0.999, "1.00"), (-0.001, ".00"), (-1, "-1.00")]
)
def test_numbers_that_cannot_exceed_one(value: float, text: str) -> None:
    assert unit_text(value) == text


def test_cells() -> None:
    assert mean_sd_text(36.456, 12.11) == "36.46 ± 12.11"
    assert mean_sd_text(36.456, math.nan, 1) == "36.5"
    assert mean_sd_text(math.nan, math.nan) == "-"
    assert count_text(24, 39) == "24 (61.5 %)"
    assert count_text(0, 0) == "-"
