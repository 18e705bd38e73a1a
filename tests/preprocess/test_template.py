"""The default template and the tissue masks."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from rsfc_gpu.backend.rigid import rigid_parameters
from rsfc_gpu.preprocess import Warp, normalise, tissue_masks
from rsfc_gpu.preprocess import template as template_module
from rsfc_gpu.preprocess.template import box_affine, brain_mask, default_template, tissue_probabilities
from rsfc_gpu.preprocess.volumes import to_image


def test_the_default_template_resembles_spms(backend, reference_root: Path) -> None:
    """Over the volume r 0.97, inside the brain 0.77: the stated limits of a template made of tissue maps."""
    found, affine = default_template(backend)
    np.testing.assert_array_equal(affine, box_affine(2.0, x_falls=False))
    spm = nibabel.load(reference_root / "reference" / "templates" / "EPI.nii").get_fdata()[::-1].T
    assert np.corrcoef(found.ravel(), spm.ravel())[0, 1] > 0.96
    brain = brain_mask(2.0)[:, :, ::-1]
    assert np.corrcoef(found[brain], spm[brain])[0, 1] > 0.75


def test_its_offset_from_spms_template_is_as_stated(backend, reference_root: Path) -> None:
    """A pitch of about two degrees and a shift of a millimetre: 2 to 3 mm over the brain."""
    found, affine = default_template(backend)
    warp = normalise(to_image(found, affine), reference_root / "reference" / "templates" / "EPI.nii", backend=backend)
    turned, _, back = np.linalg.svd(warp.affine[:3, :3])
    rotation = np.eye(4)
    rotation[:3, :3] = turned @ back
    assert np.degrees(rigid_parameters(rotation)[3]) == pytest.approx(2.0, abs=0.5)
    affine_only = Warp(warp.affine, np.zeros_like(warp.coefficients), 0.0, backend)
    axes = (-90.0 + 4 * np.arange(46), -126.0 + 4 * np.arange(55), -72.0 + 4 * np.arange(46))
    x, y, z = np.meshgrid(*axes, indexing="ij")
    moved = affine_only.source_mm(*axes) - np.stack([x, y, z], axis=-1).transpose(2, 1, 0, 3)
    distance = np.linalg.norm(moved, axis=-1)[brain_mask(4.0)[:, :, ::-1]]
    assert distance.mean() == pytest.approx(2.5, abs=0.3)


def test_the_template_is_made_once_and_a_read_only_cache_is_no_error(
    backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RSFC_CACHE_DIR", str(tmp_path / "cache"))
    made, _ = default_template(backend)
    assert len(list((tmp_path / "cache").iterdir())) == 1
    with monkeypatch.context() as patch:
        patch.setattr(template_module, "make_epi_contrast", lambda _: pytest.fail("made again"))
        again, _ = default_template(backend)
    np.testing.assert_array_equal(made, again)
    occupied = tmp_path / "file"
    occupied.write_text("not a folder")
    monkeypatch.setenv("RSFC_CACHE_DIR", str(occupied))
    without_cache, _ = default_template(backend)
    np.testing.assert_array_equal(made, without_cache)


def test_tissues_add_up_to_the_brain() -> None:
    maps, affine = tissue_probabilities()
    assert set(maps) == {"grey_matter", "white_matter", "csf"}
    total = sum(maps.values())
    brain = brain_mask(1.0)
    # Voxel (-90, -126, -72) mm of the 1-mm maps, whose x rises.
    start = np.rint(np.array([-90.0, -126.0, -72.0]) - affine[:3, 3]).astype(int)[::-1]
    box = total[tuple(slice(first, first + n) for first, n in zip(start, brain.shape, strict=True))][:, :, ::-1]
    assert box[brain].min() > 0.97
    assert np.median(box[brain]) == pytest.approx(1.0, abs=0.02)


def test_tissue_masks_lie_where_the_tissues_are() -> None:
    masks = tissue_masks()
    arrays = {name: np.asarray(mask.dataobj) for name, mask in masks.items()}
    assert {name: array.shape for name, array in arrays.items()} == dict.fromkeys(arrays, (61, 73, 61))
    assert set(np.unique(arrays["csf"])) == {0, 1}
    assert not (arrays["white_matter"] & arrays["csf"]).any()
    assert (arrays["brain"] >= arrays["white_matter"]).all()
    counts = {name: int(array.sum()) for name, array in arrays.items()}
    assert 6000 < counts["white_matter"] < 12000
    assert 150 < counts["csf"] < 600
    assert 65000 < counts["brain"] < 75000

    def at(name: str, *mm: float) -> int:
        voxel = np.rint(np.linalg.inv(masks[name].affine) @ [*mm, 1.0])[:3].astype(int)
        return int(arrays[name][tuple(voxel)])

    for x in (-24.0, 24.0):
        assert at("white_matter", x, 15.0, 30.0) == 1
    for x in (-9.0, 9.0):
        assert at("csf", x, 0.0, 21.0) == 1  # body of the lateral ventricle
    assert at("brain", 0.0, 0.0, 100.0) == 0


def test_tissue_masks_on_another_grid() -> None:
    affine = np.array([[0.0, 4.0, 0.0, -60.0], [-4.0, 0.0, 0.0, 60.0], [0.0, 0.0, 4.0, -40.0], [0, 0, 0, 1.0]])
    like = nibabel.Nifti1Image(np.zeros((30, 31, 25, 2), np.int16), affine)
    masks = tissue_masks(like)
    standard = tissue_masks()
    for name, mask in masks.items():
        assert mask.shape == (30, 31, 25)
        np.testing.assert_array_equal(mask.affine, affine)
        values = np.asarray(mask.dataobj)
        where = np.argwhere(values)
        mm = where @ affine[:3, :3].T + affine[:3, 3]
        voxel = np.rint((mm - standard[name].affine[:3, 3]) / np.diag(standard[name].affine)[:3]).astype(int)
        agree = np.asarray(standard[name].dataobj)[tuple(voxel.T)].mean()
        assert agree > (0.5 if name == "csf" else 0.75)  # nearest neighbours on two grids, so not everywhere
