"""Each step against its law and an independent computation."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal

from rsfc_gpu.denoise import bandpass, cut, detrend, polynomials, project_jointly, regress
from rsfc_gpu.errors import InputError


@pytest.fixture
def series():
    return np.random.default_rng(5).standard_normal((100, 7)) + 3.0


def test_detrend_is_scipys_plus_the_mean(series):
    expected = scipy.signal.detrend(series, axis=0) + series.mean(axis=0)
    np.testing.assert_allclose(detrend()(series), expected, atol=1e-12)


def test_regress_is_lstsq_and_kills_its_columns(series):
    columns = np.hstack([polynomials(100, 2), np.random.default_rng(1).standard_normal((100, 4))])
    expected = series - columns @ np.linalg.lstsq(columns, series, rcond=None)[0]
    np.testing.assert_allclose(regress(columns)(series), expected, atol=1e-10)
    np.testing.assert_allclose(regress(columns)(columns) / np.abs(columns).max(axis=0), 0, atol=1e-11)


def test_regress_survives_duplicated_and_zero_columns(series):
    columns = polynomials(100, 1)
    repeated = np.hstack([columns, columns, np.zeros((100, 2))])
    np.testing.assert_allclose(regress(repeated)(series), regress(columns)(series), atol=1e-10)


@pytest.mark.parametrize("n_volumes", [99, 100, 128])
@pytest.mark.parametrize("padding", ["power-of-two", "none"])
def test_bandpass_against_a_matrix_of_the_discrete_fourier_transform(n_volumes, padding):
    series = np.random.default_rng(0).standard_normal((n_volumes, 3)) + 5
    length = 128 if padding == "power-of-two" else n_volumes
    fourier = np.exp(-2j * np.pi * np.outer(np.arange(length), np.arange(length)) / length)
    hertz = np.minimum(np.arange(length), length - np.arange(length)) / (length * 2.0)
    padded = np.zeros((length, 3))
    padded[:n_volumes] = series - series.mean(axis=0)
    spectrum = (fourier @ padded) * ((hertz >= 0.01 - 1e-12) & (hertz <= 0.1 + 1e-12))[:, None]
    expected = (np.conj(fourier) @ spectrum / length).real[:n_volumes]
    found = bandpass(tr_s=2.0, low_hz=0.01, high_hz=0.1, padding=padding)(series)
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_bandpass_passes_and_kills_sines():
    t = np.arange(200) * 2.0
    kept, killed = np.sin(2 * np.pi * 0.05 * t), np.sin(2 * np.pi * 0.2 * t)
    filtered = bandpass(tr_s=2.0, low_hz=0.01, high_hz=0.1, padding="none")(np.column_stack([kept, killed]))
    np.testing.assert_allclose(filtered[:, 0], kept, atol=1e-10)
    np.testing.assert_allclose(filtered[:, 1], 0, atol=1e-10)


def test_bandpass_without_an_upper_edge_keeps_all_but_the_mean(series):
    for high_hz in (0.0, 0.25, 1.0):
        found = bandpass(tr_s=2.0, low_hz=0.0, high_hz=high_hz, padding="none")(series)
        np.testing.assert_allclose(found, series - series.mean(axis=0), atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tr_s": 2.0, "low_hz": 0.1, "high_hz": 0.01}, r"keeps no frequency of 128 points at TR 2.0 s: bins 26 to 2"),
        ({"tr_s": 2.0, "low_hz": 0.0101, "high_hz": 0.0109}, "keeps no frequency"),
        ({"tr_s": 2.0, "low_hz": 0.5, "high_hz": 0.0}, "keeps no frequency"),
        ({"tr_s": 0.0, "low_hz": 0.01, "high_hz": 0.1}, "must be positive"),
        ({"tr_s": 2.0, "low_hz": -0.01, "high_hz": 0.1}, "not negative"),
        ({"tr_s": 2.0, "low_hz": 0.01, "high_hz": 0.1, "padding": "zeros"}, "power-of-two or none"),
    ],
)
def test_bands_without_a_bin_are_errors(series, arguments, message):
    with pytest.raises(InputError, match=message):
        bandpass(**arguments)(series)


def test_cut(series):
    kept = np.arange(100) % 3 > 0
    np.testing.assert_array_equal(cut(kept)(series), series[kept])


def test_joint_projection_against_explicit_least_squares(series):
    """One regression on nuisance and out-of-band waves over the kept rows, written out by frequency."""
    rng = np.random.default_rng(2)
    nuisance = np.hstack([polynomials(100, 2), 1e-4 * rng.standard_normal((100, 3))])
    kept = rng.random(100) > 0.1
    t = np.arange(100)
    waves = [
        wave(2 * np.pi * k * t / 100) for k in range(1, 51) if not 0.01 <= k / 200 <= 0.1 for wave in (np.cos, np.sin)
    ]
    design = np.column_stack([nuisance / np.abs(nuisance).max(axis=0), *waves])[kept]
    expected = series[kept] - design @ np.linalg.lstsq(design, series[kept], rcond=None)[0]
    found = project_jointly(nuisance, kept, tr_s=2.0, low_hz=0.01, high_hz=0.1)(series)
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_joint_projection_does_not_let_a_bad_volume_leak():
    """A spike in a censored volume must not change anything that is kept."""
    rng = np.random.default_rng(3)
    clean = rng.standard_normal((120, 1))
    spiked = clean.copy()
    spiked[50] += 1000
    kept = np.arange(120) != 50
    step = project_jointly(polynomials(120, 2), kept, tr_s=2.0, low_hz=0.01, high_hz=0.1)
    np.testing.assert_allclose(step(spiked), step(clean), atol=1e-12)
