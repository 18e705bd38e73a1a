"""Golden numbers of DPABI on a synthetic run: a few dozen voxels that travel with the tests.

tests/reference/dpabi_core.npz holds motion parameters, mean signals and integer series of a simulated run, and what
DPABI (run under GNU Octave) made of them. The whole images are compared in tests/study/test_dpabi_reference.py.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rsfc_gpu.denoise import (
    DenoiseSettings,
    bandpass,
    denoising_operator,
    denoising_steps,
    framewise_displacement,
    kept_volumes,
)

GOLDEN = np.load(Path(__file__).parents[1] / "reference" / "dpabi_core.npz")
DPABI_DEFAULT = DenoiseSettings(
    detrend_first=True, polynomial_order=1, tissue_signals=("white_matter", "csf"), add_mean=True, scrub="none"
)


@pytest.mark.parametrize("kind", ["power", "jenkinson", "van_dijk"])
def test_displacement(kind):
    found = framewise_displacement(GOLDEN["motion"], kind, GOLDEN["affine"], GOLDEN["shape"])
    np.testing.assert_allclose(found, GOLDEN[f"fd_{kind}"], rtol=0, atol=1e-10)


def test_scrubbed_volumes():
    np.testing.assert_array_equal(kept_volumes(GOLDEN["fd_power"]), GOLDEN["kept"] == 1)


def test_ideal_filter():
    _, tr_s, low_hz, high_hz = GOLDEN["filter_params"]
    found = bandpass(tr_s=tr_s, low_hz=low_hz, high_hz=high_hz)(GOLDEN["filter_in"][:, None])[:, 0]
    np.testing.assert_allclose(found, GOLDEN["filter_out"], rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("settings", "seeds", "expected"),
    [
        (DenoiseSettings.preset("dparsf"), "seeds", "r_cut"),
        (DenoiseSettings(scrub="regress"), "spheres", "r_regress"),
        (DPABI_DEFAULT, "seeds", "r_default"),
    ],
)
def test_correlations(backend, settings, seeds, expected):
    kept = GOLDEN["kept"] == 1 if settings.scrub != "none" else np.ones(230, dtype=bool)
    tissues = {"white_matter": GOLDEN["white_matter"], "csf": GOLDEN["csf"], "global": GOLDEN["global_"]}
    steps = denoising_steps(settings, tr_s=2.0, kept=kept, motion=GOLDEN["motion"], tissues=tissues)
    operator = denoising_operator(settings, steps, kept)
    series = GOLDEN["series"]
    r, z, _ = backend.correlate(series, series.mean(axis=0), operator.compressor, GOLDEN[seeds])
    np.testing.assert_allclose(r, GOLDEN[expected], rtol=0, atol=1e-5)
    if expected == "r_cut":
        np.testing.assert_allclose(z, GOLDEN["z_cut"], rtol=0, atol=5e-5)
