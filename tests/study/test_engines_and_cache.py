"""Stage by stage gives what the operator gives; a kept series gives the bits that reading gives, without reading."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

import rsfc_gpu as rg
from rsfc_gpu.errors import InputError, ResourceError
from rsfc_gpu.images.nifti import BoldSource
from rsfc_gpu.study.single_run import map_run
from small_run import AFFINE, N_VOLUMES, write_run

DPARSF = rg.DenoiseSettings.preset("dparsf").replace(minimum_dof=5)
RECOMMENDED = rg.DenoiseSettings.preset("recommended").replace(minimum_dof=5)
#: DPABI's own defaults: detrended first, no global signal, the mean added back, no scrubbing.
DPABI = DPARSF.replace(
    detrend_first=True, polynomial_order=1, tissue_signals=("white_matter", "csf"), add_mean=True, scrub="none"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The small run, with a voxel that holds nothing but a trend."""
    folder = write_run(tmp_path_factory.mktemp("run"))
    image = nibabel.load(folder / "bold.nii.gz")
    data = np.asarray(image.dataobj).copy()
    data[5, 5, 5] = 500 + 3 * np.arange(1, N_VOLUMES + 1)
    nibabel.save(nibabel.Nifti1Image(data, AFFINE, image.header), folder / "bold.nii.gz")
    return folder


def make_run(folder, **changes):
    tissues = {"white_matter": folder / "wm.nii.gz", "csf": folder / "csf.nii.gz", "global": folder / "mask.nii.gz"}
    files = {"bold": folder / "bold.nii.gz", "mask": folder / "mask.nii.gz", "motion": folder / "rp.txt"}
    return rg.Run(**(files | {"tissues": tissues} | changes))


def assert_same_bits(found, expected):
    for name in ("r", "z", "usable", "kept", "coverage", "fd_mm"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert (found.rank, found.dof, dict(found.counts)) == (expected.rank, expected.dof, dict(expected.counts))


# ---- engines ----


@pytest.mark.parametrize(
    "settings",
    [
        DPARSF,
        RECOMMENDED,
        DPABI,
        DPARSF.replace(padding="none"),
        DPARSF.replace(scrub="regress", polynomial_order=3),
        DPARSF.replace(low_hz=0.0, high_hz=0.0, motion_model="6"),
        DPARSF.replace(motion_model="friston24-derivative", tissue_signals=(), scrub_before=0, scrub_after=2),
        RECOMMENDED.replace(detrend_first=True, scrub="none"),
        RECOMMENDED.replace(scrub="regress", low_hz=0.0),
    ],
    ids=["dparsf", "recommended", "dpabi", "no padding", "spikes", "no band", "derivatives", "detrended", "joint"],
)
def test_stages_give_what_the_operator_gives(folder, backend, settings):
    run, seeds = make_run(folder), folder / "seeds.nii.gz"
    expected = rg.seed_maps(run, seeds, settings, backend)
    found = rg.seed_maps(run, seeds, settings, backend, engine="stages")
    np.testing.assert_array_equal(found.usable, expected.usable)
    assert not found.usable[5, 5, 5] and found.counts["nuisance_only"] == expected.counts["nuisance_only"] == 1
    np.testing.assert_allclose(found.r, expected.r, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(found.kept, expected.kept)
    assert (found.rank, found.dof) == (expected.rank, expected.dof)
    assert (found.settings["engine"], expected.settings["engine"]) == ("stages", "operator")


def test_stages_of_smoothed_and_discarded_data(folder, cpu):
    run = make_run(folder, discard_volumes=7, fwhm_mm=5.0)
    expected = rg.seed_maps(run, folder / "seeds.nii.gz", DPARSF, cpu)
    found = rg.seed_maps(run, folder / "seeds.nii.gz", DPARSF, cpu, engine="stages")
    np.testing.assert_allclose(found.r, expected.r, rtol=0, atol=1e-5)


def test_an_unknown_engine_is_refused(folder, cpu):
    with pytest.raises(InputError, match="unknown engine 'fft': expected operator or stages"):
        rg.seed_maps(make_run(folder), folder / "seeds.nii.gz", DPARSF, cpu, engine="fft")


# ---- kept series ----


@pytest.fixture
def decoded(monkeypatch):
    """The names of the images that were decoded."""
    names, volumes = [], BoldSource.volumes

    def counted(self):
        names.append(self.name)
        return volumes(self)

    monkeypatch.setattr(BoldSource, "volumes", counted)
    return names


@pytest.mark.parametrize(
    "changes",
    [{}, {"fwhm_mm": 6.0, "discard_volumes": 4}, {"confounds": "confounds.tsv"}],
    ids=["int16", "float", "table"],
)
def test_a_second_analysis_decodes_nothing_and_gives_the_same_bits(tmp_path, folder, backend, decoded, changes):
    if "confounds" in changes:
        changes = {"confounds": folder / "confounds.tsv", "motion": None, "tissues": None}
    run, cache = make_run(folder, **changes), tmp_path / "work" / "run.series"
    seeds, sphere = folder / "seeds.nii.gz", rg.Seeds.from_spheres([(0, 0, 0)], 9, like=folder / "mask.nii.gz")
    rg.seed_maps(run, seeds, DPARSF, backend, cache=cache)
    for settings, where in [
        (DPARSF, seeds),
        (DPARSF.replace(low_hz=0.02, high_hz=0.08), seeds),
        (DPARSF.replace(scrub="none", polynomial_order=1), sphere),
        (DPARSF.replace(tissue_signals=("csf",)), seeds),
        (RECOMMENDED, sphere),
    ]:
        expected = rg.seed_maps(run, where, settings, backend)
        decoded.clear()
        seen = []
        assert_same_bits(rg.seed_maps(run, where, settings, backend, cache=cache, progress=seen.append), expected)
        assert decoded == [] and seen == [N_VOLUMES]
        for engine in ("operator", "stages"):
            rg.seed_maps(run, where, settings, backend, cache=cache, engine=engine)
        assert decoded == []


def test_what_the_series_depends_on_makes_it_anew(tmp_path, folder, cpu, decoded):
    cache, seeds = tmp_path / "run.series", folder / "seeds.nii.gz"
    inside = np.asarray(nibabel.load(folder / "mask.nii.gz").dataobj).copy()
    inside[1] = 0
    nibabel.save(nibabel.Nifti1Image(inside, AFFINE), tmp_path / "smaller.nii.gz")
    data = nibabel.load(folder / "bold.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.asarray(data.dataobj)[::-1], AFFINE, data.header), tmp_path / "other.nii.gz")
    wm = {"white_matter": folder / "csf.nii.gz", "csf": folder / "csf.nii.gz", "global": folder / "mask.nii.gz"}
    rg.seed_maps(make_run(folder), seeds, DPARSF, cpu, cache=cache)
    for changes in (
        {"mask": tmp_path / "smaller.nii.gz"},
        {"bold": tmp_path / "other.nii.gz"},
        {"tissues": wm},
        {"discard_volumes": 2},
        {"fwhm_mm": 4.0},
        {},
    ):
        run = make_run(folder, **changes)
        expected = rg.seed_maps(run, seeds, DPARSF, cpu)
        decoded.clear()
        assert_same_bits(rg.seed_maps(run, seeds, DPARSF, cpu, cache=cache), expected)
        assert len(decoded) == 1, changes
        rg.seed_maps(run, seeds, DPARSF, cpu, cache=cache)
        assert len(decoded) == 1, changes


def test_a_damaged_file_is_made_again(tmp_path, folder, cpu, decoded):
    cache, run, seeds = tmp_path / "run.series", make_run(folder), folder / "seeds.nii.gz"
    expected = rg.seed_maps(run, seeds, DPARSF, cpu, cache=cache)
    content = cache.read_bytes()
    middle = len(content) // 2
    for damaged in (content[:middle], content[:middle] + b"\0\1\2\3" + content[middle + 4 :], b"not a series"):
        cache.write_bytes(damaged)
        decoded.clear()
        assert_same_bits(rg.seed_maps(run, seeds, DPARSF, cpu, cache=cache), expected)
        assert len(decoded) == 1 and cache.read_bytes() == content


def test_a_pair_of_files_counts_with_its_header(tmp_path, folder, cpu, decoded):
    image = nibabel.load(folder / "bold.nii.gz")
    pair = nibabel.Nifti1Pair(np.asarray(image.dataobj), AFFINE, image.header)
    nibabel.save(pair, tmp_path / "bold.img")
    run, seeds, cache = make_run(folder, bold=tmp_path / "bold.img"), folder / "seeds.nii.gz", tmp_path / "run.series"
    for _ in range(2):
        rg.seed_maps(run, seeds, DPARSF, cpu, cache=cache)
    assert len(decoded) == 1
    header = bytearray((tmp_path / "bold.hdr").read_bytes())
    header[150] ^= 1  # in the description
    (tmp_path / "bold.hdr").write_bytes(header)
    rg.seed_maps(run, seeds, DPARSF, cpu, cache=cache)
    assert len(decoded) == 2


def test_images_in_memory_are_not_kept(tmp_path, folder, cpu):
    image = nibabel.load(folder / "bold.nii.gz")
    with pytest.raises(InputError, match="the image of this run is in memory: give its path"):
        rg.seed_maps(make_run(folder, bold=image), folder / "seeds.nii.gz", DPARSF, cpu, cache=tmp_path / "run.series")


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path, folder, cpu):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match=r"cannot write .*--work-dir"):
        rg.seed_maps(make_run(folder), folder / "seeds.nii.gz", DPARSF, cpu, cache=tmp_path / "file" / "run.series")


def test_a_series_in_the_place_of_the_image(folder, cpu):
    run, seeds = make_run(folder, fwhm_mm=5.0), folder / "seeds.nii.gz"
    expected, series, _ = map_run(run, seeds, DPARSF, cpu)
    again = make_run(folder, bold=series, tissues=None, tr_s=2.0)
    assert_same_bits(rg.seed_maps(again, seeds, DPARSF, cpu), expected)
    with pytest.raises(InputError, match="the run has no such mask"):
        gone = map_run(run, seeds, DPARSF.replace(tissue_signals=()), cpu)[1]
        rg.seed_maps(make_run(folder, bold=gone, tissues=None, tr_s=2.0), seeds, DPARSF, cpu)
    with pytest.raises(InputError, match="a series is as it is"):
        make_run(folder, bold=series, fwhm_mm=5.0)
