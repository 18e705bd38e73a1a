"""Settings refuse what they do not know."""

from __future__ import annotations

import dataclasses

import pytest

from rsfc_gpu.denoise import DenoiseSettings
from rsfc_gpu.errors import InputError


def test_presets():
    paper = DenoiseSettings.preset("dparsf")
    assert (paper.order, paper.motion_model, paper.scrub, paper.polynomial_order) == (
        "sequential",
        "friston24-lagged",
        "cut",
        2,
    )
    assert paper.tissue_signals == ("white_matter", "csf", "global")
    assert DenoiseSettings.preset("recommended").order == "joint"
    with pytest.raises(InputError, match="dparsf or recommended"):
        DenoiseSettings.preset("fmriprep")


def test_replace_copies_and_names_the_nearest_field():
    settings = DenoiseSettings()
    changed = settings.replace(low_hz=0.02, tissue_signals=["csf"])
    assert (changed.low_hz, changed.tissue_signals, settings.low_hz) == (0.02, ("csf",), 0.01)
    with pytest.raises(InputError, match="did you mean low_hz"):
        settings.replace(lowhz=0.02)
    with pytest.raises(InputError, match="expected one of detrend_first"):
        settings.replace(zzzzzz=1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.low_hz = 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"motion_model": "24"}, "friston24-lagged"),
        ({"order": "parallel"}, "sequential, joint"),
        ({"scrub": True}, "cut, regress, none"),
        ({"tissue_signals": ("wm",)}, "white_matter, csf, global"),
        ({"polynomial_order": -1}, "not negative"),
        ({"tissue_signals": "csf"}, "expected a list"),
        ({"polynomial_order": 1.5}, "expected a whole number"),
        ({"minimum_dof": float("nan")}, "not negative"),
        ({"low_hz": "0.01"}, "expected a number"),
        ({"fd_threshold_mm": float("nan")}, "not negative"),
    ],
)
def test_bad_values_are_named(changes, message):
    with pytest.raises(InputError, match=message):
        DenoiseSettings().replace(**changes)
