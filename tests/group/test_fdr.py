"""Benjamini-Hochberg against SPM12, statsmodels and the definition."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from rsfc_gpu.group.fdr import benjamini_hochberg, fdr_height
from rsfc_gpu.group.tails import upper_tail, value_at


def test_against_statsmodels_and_the_definition() -> None:
    rng = np.random.default_rng(1)
    p = np.concatenate([rng.uniform(size=180), rng.uniform(0, 0.002, size=20), [0.03, 0.03, 1.0, 0.0]])
    q = benjamini_hochberg(p)
    np.testing.assert_allclose(q, multipletests(p, method="fdr_bh")[1], rtol=1e-12)
    n = len(p)
    slow = [min(min(1.0, t * n / np.sum(p <= t)) for t in p[p >= value]) for value in p]
    np.testing.assert_allclose(q, slow, rtol=1e-12)


def test_q_is_monotone_in_p_and_never_below_it() -> None:
    p = np.random.default_rng(2).uniform(size=500) ** 3
    q = benjamini_hochberg(p)
    assert (np.diff(q[np.argsort(p)]) >= 0).all()
    assert (q >= p).all()
    assert (q <= 1).all()
    order = np.random.default_rng(3).permutation(500)
    np.testing.assert_array_equal(benjamini_hochberg(p[order]), q[order])


def test_nothing_and_one() -> None:
    assert benjamini_hochberg([]).shape == (0,)
    np.testing.assert_array_equal(benjamini_hochberg([0.04]), [0.04])


def test_height_takes_exactly_the_voxels_that_survive() -> None:
    rng = np.random.default_rng(4)
    values = rng.standard_t(30, size=5000)
    values[:200] += 3.5
    values[7] = np.nan
    height = fdr_height("T", (1, 30), values, 0.05)
    finite = values[np.isfinite(values)]
    q = benjamini_hochberg(upper_tail("T", (1, 30), finite))
    assert (q <= 0.05).sum() > 100
    np.testing.assert_array_equal(finite > height, q <= 0.05)


def test_height_is_infinite_where_nothing_survives() -> None:
    assert fdr_height("T", (1, 30), np.linspace(-1, 1, 100), 0.05) == np.inf


def test_against_spm(reference_root: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    folder = reference_root / "reference" / "spm" / "functions"
    reference = json.loads((folder / "functions.json").read_text())["fdr"]
    p = np.array(reference["p_sorted"])
    q = benjamini_hochberg(p)
    np.testing.assert_allclose(q, reference["spm_P_FDR_adjusted"], rtol=1e-6)
    height = value_at("T", (1, 30), p[q <= 0.05].max())
    np.testing.assert_allclose(height, reference["spm_uc_FDR_q05_u_T30"], rtol=1e-6)
    for at, expected in zip(reference["spm_P_FDR_at"], reference["spm_P_FDR_at_q"], strict=True):
        np.testing.assert_allclose(q[np.searchsorted(p, at)], expected, rtol=1e-6)  # that of the next one in the list
    values = np.asarray(nibabel.load(folder / "field.nii.gz").dataobj, dtype=np.float64).ravel()
    assert len(values) == reference["spm_uc_FDR_field_n"]
    height = fdr_height("T", (1, 30), values, 0.05)
    np.testing.assert_allclose(height, reference["spm_uc_FDR_field_T30"], rtol=1e-6)
