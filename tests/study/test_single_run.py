"""One run from files to maps: recipes agree with each other and with plain NumPy; misfits are refused by name."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pandas as pd
import pytest

import rsfc_gpu as rg
from rsfc_gpu.errors import InputError, ResourceError
from small_run import AFFINE, N_VOLUMES, SEED, SHAPE, TARGET, write_run

DPARSF = rg.DenoiseSettings.preset("dparsf").replace(minimum_dof=10)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"))


def make_run(folder, **changes):
    files = {
        "bold": folder / "bold.nii.gz",
        "mask": folder / "mask.nii.gz",
        "motion": folder / "rp.txt",
        "tissues": {
            "white_matter": folder / "wm.nii.gz",
            "csf": folder / "csf.nii.gz",
            "global": folder / "mask.nii.gz",
        },
    }
    return rg.Run(**(files | changes))


@pytest.mark.parametrize("preset", ["dparsf", "recommended"])
def test_planted_connection_is_found(folder, backend, preset):
    settings = rg.DenoiseSettings.preset(preset).replace(minimum_dof=10)
    maps = rg.seed_maps(make_run(folder), folder / "seeds.nii.gz", settings, backend)
    assert maps.r.shape == (2, *SHAPE) and maps.r.dtype == np.float32
    assert maps.r[0][TARGET].min() > 0.7 and maps.r[0][SEED].min() > 0.7
    elsewhere = maps.usable.copy()
    elsewhere[SEED] = elsewhere[TARGET] = False
    assert np.abs(maps.r[0][elsewhere]).mean() < 0.3
    np.testing.assert_allclose(maps.z[maps.r != 0], np.arctanh(maps.r[maps.r != 0].astype(float)), rtol=1e-4)
    assert maps.kept.sum() == N_VOLUMES - 3 and maps.coverage.tolist() == [1, 1]
    assert not maps.usable[0].any() and not maps.r[:, 0].any()


def test_maps_equal_correlations_of_the_cleaned_image(folder, backend):
    run = make_run(folder)
    maps = rg.seed_maps(run, folder / "seeds.nii.gz", DPARSF, backend)
    cleaned = np.asarray(rg.cleaned_image(run, DPARSF, backend).dataobj).astype(float)
    labels = np.asarray(nibabel.load(folder / "seeds.nii.gz").dataobj)
    for seed, label in enumerate((1, 2)):
        mean = cleaned[labels == label].mean(axis=0)
        expected = [np.corrcoef(mean, series)[0, 1] for series in cleaned[maps.usable]]
        np.testing.assert_allclose(maps.r[seed][maps.usable], expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_storage_does_not_matter(tmp_path, folder, cpu, dtype):
    expected = rg.seed_maps(make_run(folder), folder / "seeds.nii.gz", DPARSF, cpu)
    image = nibabel.load(folder / "bold.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj).astype(dtype), AFFINE, None), tmp_path / "bold.nii.gz")
    for bold in (tmp_path / "bold.nii.gz", nibabel.Nifti1Image(np.asarray(image.dataobj).astype(dtype), AFFINE)):
        found = rg.seed_maps(make_run(folder, bold=bold, tr_s=2.0), folder / "seeds.nii.gz", DPARSF, cpu)
        np.testing.assert_allclose(found.r, expected.r, atol=1e-6)


def test_a_confounds_table_gives_the_same_maps_as_masks_and_motion(folder, cpu):
    expected = rg.seed_maps(make_run(folder), folder / "seeds.nii.gz", DPARSF, cpu)
    for confounds in (folder / "confounds.tsv", pd.read_csv(folder / "confounds.tsv", sep="\t", na_values="n/a")):
        run = make_run(folder, motion=None, tissues=None, confounds=confounds)
        found = rg.seed_maps(run, folder / "seeds.nii.gz", DPARSF, cpu)
        np.testing.assert_allclose(found.r, expected.r, atol=1e-5)
        np.testing.assert_array_equal(found.kept, expected.kept)


def test_discard_cuts_image_motion_and_confounds_together(tmp_path, folder, cpu):
    """Discarding ten volumes equals handing over a run without them."""
    image = nibabel.load(folder / "bold.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj)[..., 10:], AFFINE), tmp_path / "short.nii.gz")
    motion = np.loadtxt(folder / "rp.txt")
    short = make_run(folder, bold=tmp_path / "short.nii.gz", motion=motion[10:], tr_s=2.0)
    seeds = folder / "seeds.nii.gz"
    expected = rg.seed_maps(short, seeds, DPARSF, cpu)
    found = rg.seed_maps(make_run(folder, discard_volumes=10), seeds, DPARSF, cpu)
    np.testing.assert_array_equal(found.r, expected.r)
    assert len(found.kept) == N_VOLUMES - 10
    run = make_run(folder, motion=None, tissues=None, confounds=folder / "confounds.tsv", discard_volumes=10)
    np.testing.assert_allclose(rg.seed_maps(run, seeds, DPARSF, cpu).r, expected.r, atol=1e-5)


def test_voxels_that_hold_nothing_but_nuisance_are_not_usable(tmp_path, folder, cpu):
    """A voxel that is a combination of motion and trend has no r: what is left of it is rounding."""
    image = nibabel.load(folder / "bold.nii.gz")
    data = np.asarray(image.dataobj).astype(np.float32)
    t = np.arange(1.0, N_VOLUMES + 1)
    data[5, 5, 5] = 500 + 3 * t
    data[6, 5, 5] = 9.0
    data[7, 5, 5, 3] = np.nan
    nibabel.save(nibabel.Nifti1Image(data, AFFINE), tmp_path / "bold.nii.gz")
    maps = rg.seed_maps(make_run(folder, bold=tmp_path / "bold.nii.gz", tr_s=2.0), folder / "seeds.nii.gz", DPARSF, cpu)
    assert dict(maps.counts) == {"not_finite": 1, "constant": 1, "nuisance_only": 1}
    for voxel in [(5, 5, 5), (6, 5, 5), (7, 5, 5)]:
        assert not maps.usable[voxel] and not maps.r[(slice(None), *voxel)].any()
    written = maps.save(tmp_path / "out")
    assert np.isnan(nibabel.load(written[0]).get_fdata()[5, 5, 5])


def test_saved_maps_and_sidecars(tmp_path, folder, cpu):
    maps = rg.seed_maps(make_run(folder), folder / "seeds.nii.gz", DPARSF, cpu)
    paths = maps.save(tmp_path / "out", prefix="sub-01_task-rest_")
    assert [path.name for path in paths] == [
        "sub-01_task-rest_seed-label1_stat-z_statmap.nii.gz",
        "sub-01_task-rest_seed-label2_stat-z_statmap.nii.gz",
    ]
    assert len(list((tmp_path / "out").iterdir())) == 4
    stored = nibabel.load(paths[1])
    np.testing.assert_array_equal(np.isfinite(stored.get_fdata()), maps.usable)
    np.testing.assert_array_equal(np.nan_to_num(stored.get_fdata(dtype=np.float32)), maps.z[1])
    sidecar = json.loads(paths[1].with_name(paths[1].name.replace(".nii.gz", ".json")).read_text())
    assert sidecar["CensoredVolumes"] == np.flatnonzero(~maps.kept).tolist()
    assert sidecar["Settings"]["motion_model"] == "friston24-lagged"
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="cannot write"):
        maps.save(tmp_path / "file")


def other_grid(folder, tmp_path):
    image = nibabel.load(folder / "seeds.nii.gz")
    moved = AFFINE.copy()
    moved[0, 3] += 0.5
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), moved), tmp_path / "moved.nii.gz")
    return tmp_path / "moved.nii.gz"


@pytest.mark.parametrize(
    ("changes", "settings", "message"),
    [
        ({"motion": None}, {}, r"no motion parameters.*motion_model friston24-lagged, scrub cut"),
        ({"tissues": None}, {}, "white_matter, csf, global, and the run has no such mask"),
        ({"motion": np.zeros((100, 6))}, {}, r"motion table has 100 rows, .*bold.nii.gz has 120 volumes. Was the run"),
        ({"tr_s": 200.0}, {}, "repetition time 200.0 is not between 0.1 and 20 s"),
        ({"discard_volumes": 119}, {}, "cannot discard 119 of its 120|volumes are left|degrees of freedom"),
        ({}, {"minimum_dof": 80}, r"degrees of freedom are left, at least 80 are needed \(3 of 120 volumes lost"),
        ({}, {"fd_threshold_mm": 0.0}, "volumes are left: 120 of 120|volumes lost to scrubbing at 0.0 mm"),
        ({"space": "MNI152NLin6Asym"}, {"fd_kind": "jenkinson"}, "needs the native image's geometry"),
    ],
)
def test_misfits_are_refused_by_name(folder, cpu, changes, settings, message):
    with pytest.raises(InputError, match=message):
        rg.seed_maps(make_run(folder, **changes), folder / "seeds.nii.gz", DPARSF.replace(**settings), cpu)


def test_other_grids_and_empty_seeds_are_refused(tmp_path, folder, cpu):
    with pytest.raises(InputError, match="the seeds and the mask are on different grids"):
        rg.seed_maps(make_run(folder), other_grid(folder, tmp_path), DPARSF, cpu)
    with pytest.raises(InputError, match="the mask and .*different grids"):
        rg.seed_maps(make_run(folder, mask=other_grid(folder, tmp_path)), folder / "seeds.nii.gz", DPARSF, cpu)
    with pytest.raises(InputError, match="none of its .* voxels is usable"):
        corner = rg.Seeds.from_spheres([AFFINE[:3, 3]], 1, like=folder / "mask.nii.gz")
        rg.seed_maps(make_run(folder), corner, DPARSF, cpu)


def test_a_run_is_described_once(folder):
    with pytest.raises(InputError, match="not both"):
        make_run(folder, confounds=folder / "confounds.tsv")
    with pytest.raises(InputError, match="unknown tissue wm"):
        make_run(folder, tissues={"wm": folder / "wm.nii.gz"})
    with pytest.raises(InputError, match="expected a number from 0 to 100"):
        make_run(folder, fwhm_mm=-1)
    for changes in ({"fwhm_mm": np.inf}, {"fwhm_mm": np.nan}, {"discard_volumes": 1.5}, {"tr_s": "2"}):
        with pytest.raises(InputError, match="expected a"):
            make_run(folder, **changes)


def test_a_gap_behind_discarded_volumes_is_no_first_row(folder, cpu):
    """Only the first row of the file may lack a displacement, not the first that is left."""
    table = pd.read_csv(folder / "confounds.tsv", sep="\t", na_values="n/a")
    table.loc[10, "framewise_displacement"] = np.nan
    run = make_run(folder, motion=None, tissues=None, confounds=table, discard_volumes=10)
    with pytest.raises(InputError, match="framewise_displacement has no value in row 11 of 120"):
        rg.seed_maps(run, folder / "seeds.nii.gz", DPARSF, cpu)


def test_a_mask_that_is_written_again_is_read_again(tmp_path, folder, cpu):
    image = nibabel.load(folder / "mask.nii.gz")
    inside = np.asarray(image.dataobj) > 0
    for kept in (inside, inside & (np.arange(SHAPE[0])[:, None, None] > 2)):
        nibabel.save(nibabel.Nifti1Image(kept.astype(np.uint8), AFFINE), tmp_path / "mask.nii.gz")
        run = make_run(folder, mask=tmp_path / "mask.nii.gz")
        maps = rg.seed_maps(run, folder / "seeds.nii.gz", DPARSF, cpu)
        assert not maps.usable[~kept].any() and maps.usable[kept].any()
