"""The operator is the chain: same correlations, same cleaned series, for every setting."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from rsfc_gpu.denoise import (
    DenoiseSettings,
    TemporalOperator,
    denoising_operator,
    denoising_steps,
    polynomials,
    regress,
)
from rsfc_gpu.errors import InputError


def make_chain(settings, n_volumes, *, tr_s=2.0, cut_share=0.1, seed=0):
    rng = np.random.default_rng(seed)
    motion = np.cumsum(rng.normal(0, 0.02, (n_volumes, 6)), axis=0) * [1, 1, 1, 0.02, 0.02, 0.02]
    tissues = {name: 100 + np.cumsum(rng.standard_normal(n_volumes)) for name in settings.tissue_signals}
    kept = np.ones(n_volumes, dtype=bool)
    if settings.scrub != "none":
        kept[rng.choice(n_volumes, int(cut_share * n_volumes), replace=False)] = False
    return denoising_steps(settings, tr_s=tr_s, kept=kept, motion=motion, tissues=tissues), kept


def apply_chain(steps, series):
    for step in steps:
        series = step(series)
    return series - series.mean(axis=0)


@pytest.mark.parametrize(
    ("n_volumes", "tr_s", "padding", "scrub"),
    list(
        itertools.product([60, 120, 230, 490, 1200], [0.72, 1.5, 2.0, 3.0], ["power-of-two", "none"], ["none", "cut"])
    ),
)
def test_correlations_equal_those_of_the_explicit_chain(n_volumes, tr_s, padding, scrub):
    settings = DenoiseSettings(padding=padding, scrub=scrub, minimum_dof=1)
    steps, kept = make_chain(settings, n_volumes, tr_s=tr_s)
    operator = denoising_operator(settings, steps, kept)
    series = np.random.default_rng(1).standard_normal((n_volumes, 12))
    series -= series.mean(axis=0)
    cleaned = apply_chain(steps, series)
    difference = np.corrcoef((operator.expander @ (operator.compressor @ series)).T) - np.corrcoef(cleaned.T)
    assert np.abs(difference).max() < 1e-10
    signal = operator.compressor @ series
    signal /= np.linalg.norm(signal, axis=0)
    assert np.abs(signal.T @ signal - np.corrcoef(cleaned.T)).max() < 1e-10


VARIANTS = [
    DenoiseSettings.preset("dparsf"),
    DenoiseSettings.preset("recommended"),
    DenoiseSettings(scrub="regress"),
    DenoiseSettings(order="joint", motion_model="friston24-derivative", minimum_dof=1),
    DenoiseSettings(detrend_first=True, polynomial_order=1, tissue_signals=("white_matter", "csf"), scrub="none"),
    DenoiseSettings(motion_model="none", tissue_signals=(), scrub="none", low_hz=0.0, high_hz=0.0),
]


@pytest.mark.parametrize("settings", VARIANTS)
def test_invariants(settings):
    steps, kept = make_chain(settings, 230, cut_share=0.05)
    operator = denoising_operator(settings, steps, kept)
    assert operator.compressor.shape == (operator.rank, 230)
    assert np.abs(operator.compressor.sum(axis=1)).max() < 1e-12 * 230
    assert np.abs(operator.expander.sum(axis=0)).max() < 1e-8
    np.testing.assert_allclose(operator.expander.T @ operator.expander, np.eye(operator.rank), atol=1e-12)
    assert np.linalg.norm(operator.compressor, 2) <= 1 + 1e-9
    assert operator.dof <= operator.rank + 1e-9
    series = np.random.default_rng(1).standard_normal((230, 5))
    series -= series.mean(axis=0)
    found = operator.expander @ (operator.compressor @ series)
    np.testing.assert_allclose(found, apply_chain(steps, series), atol=1e-5)


def test_dof_tells_the_spread_of_r_on_white_noise():
    settings = DenoiseSettings.preset("dparsf")
    steps, kept = make_chain(settings, 150, cut_share=0.1)
    operator = denoising_operator(settings, steps, kept)
    signal = operator.compressor @ np.random.default_rng(0).standard_normal((150, 1500))
    r = np.corrcoef(signal.T)[np.triu_indices(1500, 1)]
    assert r.std() == pytest.approx(operator.dof**-0.5, rel=0.02)


def test_a_projector_has_as_many_degrees_of_freedom_as_its_rank():
    operator = TemporalOperator.from_steps([regress(polynomials(50, 2))], 50)
    assert operator.rank == 47 and operator.dof == pytest.approx(47)


@pytest.mark.parametrize(
    ("n_volumes", "columns", "share", "rank"),
    [(230, 27, 0, 55), (230, 27, 0.1, 32), (230, 27, 0.2, 9), (230, 8, 0, 74), (230, 8, 0.1, 51), (230, 8, 0.2, 28)]
    + [(100, 27, 0, 9), (100, 8, 0, 28), (100, 8, 0.1, 18), (100, 8, 0.2, 8)],
)
def test_rank_of_the_joint_projection_by_counting(n_volumes, columns, share, rank):
    """Kept volumes less the out-of-band waves, the polynomial (order 2 less its constant) and the nuisance columns."""
    settings = DenoiseSettings(
        order="joint",
        motion_model="friston24-derivative" if columns == 27 else "6",
        tissue_signals=("white_matter", "csf", "global") if columns == 27 else ("white_matter", "csf"),
        minimum_dof=0,
    )
    steps, kept = make_chain(settings, n_volumes, cut_share=share)
    frequencies = np.arange(1, n_volumes // 2 + 1) / (n_volumes * 2.0)
    outside = frequencies[(frequencies < 0.01 - 1e-9) | (frequencies > 0.1 + 1e-9)]
    n_waves = 2 * len(outside) - (n_volumes % 2 == 0)
    counted = kept.sum() - 1 - n_waves - 2 - columns
    found = TemporalOperator.from_steps(steps, n_volumes).rank
    # Slow polynomials and slow waves are nearly the same thing, so that one column more or less may drop out.
    assert abs(found - counted) <= 1 and abs(found - rank) <= 1


def test_nothing_retained_is_rank_zero_and_refused_by_the_gate():
    settings = DenoiseSettings(order="joint", motion_model="friston24-derivative")
    steps, kept = make_chain(settings, 60, cut_share=0.3)
    operator = TemporalOperator.from_steps(steps, 60)
    assert (operator.rank, operator.dof) == (0, 0.0)
    with pytest.raises(InputError, match=r"0\.0 degrees of freedom are left, at least 20 .*18 of 60 volumes"):
        denoising_operator(settings, steps, kept)


def test_too_few_volumes_are_refused():
    settings = DenoiseSettings()
    kept = np.zeros(100, dtype=bool)
    steps, _ = make_chain(settings, 100)
    with pytest.raises(InputError, match="0 volumes are left: 100 of 100 volumes lost to scrubbing at 0.5 mm"):
        denoising_operator(settings, steps, kept)
    with pytest.raises(InputError, match="no volume is left"):
        TemporalOperator.from_steps([lambda series: series[:0]], 50)


def test_amplifying_steps_are_refused():
    with pytest.raises(InputError, match="amplify by 2"):
        TemporalOperator.from_steps([lambda series: 2 * series], 50)
