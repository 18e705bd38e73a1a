"""Smoothness and resel counts against SPM12's functions, a slow version, and fields of known smoothness."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from rsfc_gpu.backend import numba_group
from rsfc_gpu.backend.linear_model import forward_neighbours
from rsfc_gpu.errors import InputError
from rsfc_gpu.group import fit, one_sample
from rsfc_gpu.group.smoothness import images_used, resel_counts, smoothness_of
from rsfc_gpu.group.stat import Smoothness
from rsfc_gpu.images.mask import Mask

GOLDEN = Path(__file__).parents[1] / "reference" / "spm_residuals.npz"


def _smoothness(residuals: np.ndarray, inside: np.ndarray, scale: float) -> Smoothness:
    """Of standardised residual images (X, Y, Z, images)."""
    mask = Mask(inside, np.eye(4))
    rows = np.stack([mask.take(residuals[..., i]) for i in range(residuals.shape[3])], axis=1).astype(np.float64)
    neighbours, complete = forward_neighbours(inside)
    products = np.empty((6, len(mask)))
    starts = np.concatenate([[0], np.cumsum(inside.sum(axis=(0, 1)))])
    for z in range(inside.shape[2]):
        here, above = rows[starts[z] : starts[z + 1]], rows[starts[z + 1] :]
        numba_group.difference_products(here, above, starts[z], starts[z + 1], neighbours, residuals.shape[3], products)
    return smoothness_of(products * (scale / residuals.shape[3]), complete, mask)


@pytest.mark.parametrize(
    ("name", "fwhm", "resels", "mean_rpv", "zeros"),
    [
        # spm_est_smoothness of SPM12 (7771), 12 images, 11 degrees of freedom; of the box, images 1, 3, 6, 8, 10, 12.
        (
            "box",
            [3.170222393298124, 3.716840073202948, 2.959819447027419],
            [1, 17.38682458702883, 100.7357285322497, 194.4880820622019],
            0.02867287071534747,
            1137,
        ),
    ],
)
def test_golden_smoothness_of_a_box(name, fwhm, resels, mean_rpv, zeros) -> None:
    residuals = np.load(GOLDEN)[name]
    found = _smoothness(residuals, np.ones(residuals.shape[:3], dtype=bool), 12 / 11)
    np.testing.assert_allclose(found.fwhm_voxels, fwhm, rtol=1e-9)
    np.testing.assert_allclose(found.resels, resels, rtol=1e-9)
    assert found.rpv.mean(dtype=np.float64) == pytest.approx(mean_rpv, rel=1e-6)
    assert (found.rpv == 0).sum() == zeros  # the last planes


def test_every_smoothness_of_spm(reference_root) -> None:
    """Masks, planes, some of the images, with and without the factor for the degrees of freedom."""
    nibabel = pytest.importorskip("nibabel")
    folder = reference_root / "reference" / "spm" / "functions"
    stored = np.load(folder / "residuals.npz")
    seen = 0
    for entry in json.loads((folder / "functions.json").read_text())["spm_est_smoothness"]:
        if entry["nonstat"]:
            continue
        inside = np.asarray(nibabel.load(folder / f"{entry['mask']}.gz").dataobj) > 0
        residuals = stored["plane" if "plane" in entry["residuals"] else "box"][..., entry["used_0based"]]
        inside = inside.reshape(residuals.shape[:3])
        n, dof = entry["ndf"]
        found = _smoothness(residuals, inside, 1.0 if n is None else n / dof)
        np.testing.assert_allclose(found.fwhm_voxels, entry["FWHM_vox"], rtol=1e-6)
        np.testing.assert_allclose(found.resels, entry["R"], rtol=1e-6, atol=1e-9)
        rpv = found.rpv[np.isfinite(found.rpv)]
        assert (len(rpv), (rpv == 0).sum()) == (entry["rpv_n_finite"], entry["rpv_n_zero"])
        assert rpv.mean(dtype=np.float64) == pytest.approx(entry["rpv_mean"], rel=1e-6)
        path = folder / f"{entry['rpv_file']}.gz"
        if path.exists():
            expected = np.asarray(nibabel.load(path).dataobj).reshape(found.rpv.shape)
            np.testing.assert_allclose(found.rpv, expected, rtol=2e-6, atol=1e-9)
        seen += 1
    assert seen == 9


def test_every_resel_count_of_spm(reference_root) -> None:
    nibabel = pytest.importorskip("nibabel")
    folder = reference_root / "reference" / "spm" / "functions"
    entries = json.loads((folder / "functions.json").read_text())["spm_resels_vol"]
    for entry in entries:
        inside = np.asarray(nibabel.load(folder / f"{entry['mask']}.gz").dataobj) > 0
        inside = inside.reshape(inside.shape + (1,) * (3 - inside.ndim))
        np.testing.assert_allclose(resel_counts(inside, entry["FWHM_vox"]), entry["R"], rtol=1e-6, atol=1e-9)
    assert len(entries) > 20


@pytest.mark.parametrize("size", [(1, 1, 1), (4, 1, 1), (5, 6, 1), (5, 6, 7)])
def test_resel_counts_of_a_box_are_its_lengths_areas_and_volume(size) -> None:
    inside = np.zeros((9, 9, 9), dtype=bool)
    inside[1 : 1 + size[0], 1 : 1 + size[1], 1 : 1 + size[2]] = True
    a, b, c = ((n - 1) / fwhm for n, fwhm in zip(size, (2.0, 3.0, 4.0), strict=True))
    np.testing.assert_allclose(
        resel_counts(inside, (2.0, 3.0, 4.0)), [1, a + b + c, a * b + a * c + b * c, a * b * c], atol=1e-12
    )


def test_fused_pass_equals_the_formula_voxel_by_voxel(backend) -> None:
    rng = np.random.default_rng(0)
    inside = ndimage.gaussian_filter(rng.standard_normal((9, 8, 10)), 1.0) > -0.1
    inside[:, :, 4] = False  # an empty plane
    inside[5:, 5:, 6:] = True  # reaches the upper faces
    mask = Mask(inside, np.eye(4))
    samples = rng.standard_normal((12, len(mask))).astype(np.float32)
    former = np.eye(12) - 1 / 12
    found = backend.fit_linear_model(samples, former, np.ones((1, 12)), 7, inside)
    residuals = former @ samples.astype(np.float64)
    squares = (residuals**2).sum(axis=0)
    np.testing.assert_allclose(found.residual_squares, squares, rtol=1e-12)
    np.testing.assert_allclose(found.linear[0], samples.sum(axis=0, dtype=np.float64), rtol=1e-10, atol=1e-12)
    volumes = mask.put((residuals / np.sqrt(squares))[:7], fill=np.nan)
    padded = np.pad(volumes, [(0, 0)] + [(0, 1)] * 3, mode="edge")
    expected, complete = [], []
    for x, y, z in zip(*np.unravel_index(mask.index, mask.shape, order="F"), strict=True):
        cube = padded[:, x : x + 2, y : y + 2, z : z + 2]
        steps = [cube[:, 1, 0, 0], cube[:, 0, 1, 0], cube[:, 0, 0, 1]] - cube[:, 0, 0, 0]
        whole = bool(np.isfinite(cube).all())
        complete.append(whole)
        pairs = itertools.combinations_with_replacement(range(3), 2)
        expected.append([steps[i] @ steps[j] if whole else 0.0 for i, j in pairs])
    np.testing.assert_array_equal(found.complete, complete)
    np.testing.assert_allclose(found.products, np.transpose(expected), atol=1e-12)


@pytest.mark.parametrize(("fwhm", "expected"), [(6.0, 1.0), (2.67, 1.06)])
def test_known_smoothness_is_found(fwhm, expected, cpu) -> None:
    """Within 3 % at six voxels; at 2.7 voxels forward differences and few images read about 6 % high."""
    rng = np.random.default_rng(5)
    sigma = fwhm / np.sqrt(8 * np.log(2))
    maps = np.array([ndimage.gaussian_filter(rng.standard_normal((44, 44, 44)), sigma) for _ in range(40)])
    maps = maps[:, 8:-8, 8:-8, 8:-8].astype(np.float32)
    inside = np.zeros(maps.shape[1:], dtype=bool)
    inside[:-1, :-1, :-1] = True  # off the last planes, whose zeros would be averaged in
    found = fit(maps, one_sample(pd.DataFrame({"n": range(40)})), mask=inside, backend=cpu).smoothness.fwhm_voxels
    assert found.mean() / fwhm == pytest.approx(expected, abs=0.03)


def test_at_most_64_images_evenly_spread() -> None:
    np.testing.assert_array_equal(images_used(12), np.arange(12))
    used = images_used(84)
    assert len(used) == 64 and used[0] == 0 and used[-1] == 83 and set(np.diff(used)) == {1, 2}


def test_a_mask_too_thin_is_refused(cpu) -> None:
    rng = np.random.default_rng(1)
    inside = np.zeros((5, 5, 5), dtype=bool)
    inside[1, 1, :] = True
    with pytest.raises(InputError, match="2x2x2"):
        fit(rng.standard_normal((6, 5, 5, 5)), one_sample(pd.DataFrame({"n": range(6)})), mask=inside, backend=cpu)
