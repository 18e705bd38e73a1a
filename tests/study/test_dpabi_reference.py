"""Whole synthetic runs through `seed_maps` against DPABI's own output (reference data needed)."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

import rsfc_gpu as rg

DPARSF = rg.DenoiseSettings.preset("dparsf")
DPABI_DEFAULT = DPARSF.replace(
    detrend_first=True, polynomial_order=1, tissue_signals=("white_matter", "csf"), add_mean=True, scrub="none"
)


@pytest.fixture(scope="module")
def dpabi(reference_root):
    return reference_root / "reference" / "dpabi"


@pytest.fixture(scope="module")
def run(dpabi):
    image = nibabel.load(dpabi / "bold.nii.gz")
    masks = np.load(dpabi / "pipeline_paper_cut.npz")
    brain, white_matter, csf = (
        nibabel.Nifti1Image(masks[f"mask_{name}"].astype(np.uint8), image.affine) for name in ("brain", "wm", "csf")
    )
    return rg.Run(
        bold=dpabi / "bold.nii.gz",
        mask=brain,
        tr_s=2.0,
        motion=dpabi / "rp_ref.txt",
        tissues={"white_matter": white_matter, "csf": csf, "global": brain},
    )


def check_maps(maps, expected):
    usable = maps.usable
    assert usable.sum() == 2192
    assert np.abs(maps.r - expected["r"])[:, usable].max() <= 1e-5
    # Where |r| is 1, the reference's z is the rounding of its own r.
    inner = usable & (np.abs(expected["r"]) < 0.9999)
    assert np.abs(maps.z - expected["z"])[inner].max() <= 5e-5
    assert not maps.r[:, ~usable].any() and not expected["r"][:, ~usable].any()


def test_the_papers_pipeline(dpabi, run, backend):
    expected = np.load(dpabi / "pipeline_paper_cut.npz")
    maps = rg.seed_maps(run, dpabi / "roi_labels.nii.gz", DPARSF, backend)
    check_maps(maps, expected)
    np.testing.assert_array_equal(maps.kept, expected["tmask"] == 1)


def test_scrubbing_by_regression_with_dpabis_spheres(dpabi, run, backend):
    expected = np.load(dpabi / "pipeline_paper_scrubreg.npz")
    centres = [tuple(row[:3]) for row in expected["spheres_mm"]]
    seeds = rg.Seeds.from_spheres(centres, 8, like=dpabi / "bold.nii.gz", snap=True)
    for members, mask in zip(seeds.members, expected["sphere_masks"], strict=True):
        np.testing.assert_array_equal(members, np.flatnonzero(mask.ravel(order="F")))
    check_maps(rg.seed_maps(run, seeds, DPARSF.replace(scrub="regress"), backend), expected)


def test_dpabis_default_pipeline(dpabi, run, backend):
    expected = np.load(dpabi / "pipeline_dpabi_default.npz")
    check_maps(rg.seed_maps(run, dpabi / "roi_labels.nii.gz", DPABI_DEFAULT, backend), expected)


@pytest.mark.parametrize(
    ("name", "settings"), [("pipeline_paper_cut", DPARSF), ("pipeline_dpabi_default", DPABI_DEFAULT)]
)
def test_cleaned_image(dpabi, run, backend, name, settings):
    """Equal to DPABI's filtered series up to a constant per voxel: theirs is not centred over the kept volumes."""
    expected = np.load(dpabi / f"{name}.npz")
    kept = expected["tmask"] == 1 if "tmask" in expected else np.ones(230, dtype=bool)
    filtered = expected["filtered"][:, kept].astype(np.float64)
    image = rg.cleaned_image(run, settings, backend)
    assert image.shape[3] == kept.sum() and image.header.get_zooms()[3] == 2.0
    found = np.asarray(image.dataobj).reshape(-1, kept.sum())[expected["voxel_index"]]
    spread = np.abs(filtered - filtered.mean(axis=1, keepdims=True)).max()
    difference = (found - found.mean(axis=1, keepdims=True)) - (filtered - filtered.mean(axis=1, keepdims=True))
    assert np.abs(difference).max() < 1e-5 * spread + 2e-4  # the reference is float32 about a mean of 1000
    if settings.add_mean:
        assert np.abs(found.mean(axis=1) - filtered.mean(axis=1)).max() < 0.3


def test_low_motion_columns_are_dropped_as_there(dpabi):
    cases = np.load(dpabi / "regress_cases.npz")
    series = cases["input"].T.astype(np.float64)
    for name in ("poly0", "poly1", "poly2", "poly2_f24", "poly2_f24_lowmotion"):
        columns = cases[f"{name}_cov"].reshape(230, -1)
        found = rg.denoise.regress(columns)(series)
        assert np.abs(found - cases[name].T).max() < 1e-6 * np.abs(series).max(), name
