"""Settings refuse what they do not know."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from rsfc_gpu.denoise import DenoiseSettings, denoising_steps
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
        ({"low_hz": 0.2}, "expected low_hz below high_hz"),
        ({"polynomial_order": 31}, "expected 0 to 30"),
        ({"fd_threshold_mm": float("nan")}, "not negative"),
    ],
)
def test_bad_values_are_named(changes, message):
    with pytest.raises(InputError, match=message):
        DenoiseSettings().replace(**changes)


@pytest.mark.parametrize(("n_volumes", "order"), [(240, 3), (240, 8), (500, 6), (1200, 30)])
def test_high_trends_leave_no_regressor_behind(n_volumes, order):
    """Powers of 1..T are so large that motion and tissue signals beside them once counted as rounding."""
    rng = np.random.default_rng(0)
    motion = np.cumsum(rng.normal(size=(n_volumes, 6)) * ([0.01] * 3 + [0.0002] * 3), axis=0)
    tissues = {name: 1000 + 5 * rng.normal(size=n_volumes) for name in ("white_matter", "csf", "global")}
    settings = DenoiseSettings(polynomial_order=order, motion_model="6")
    kept = np.ones(n_volumes, dtype=bool)
    regression = denoising_steps(settings, tr_s=1.0, kept=kept, motion=motion, tissues=tissues)[0]
    trend = np.linspace(-1, 1, n_volumes) ** order
    removed = np.column_stack([trend, motion, *tissues.values()])
    removed -= removed.mean(axis=0)
    assert (np.linalg.norm(regression(removed), axis=0) < 1e-6 * np.linalg.norm(removed, axis=0)).all()
