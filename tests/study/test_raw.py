"""Raw runs in a study: found, preprocessed in memory, mapped; what cannot be used is a row with its reason."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

import raw_dataset
import rsfc_gpu as rg
from preprocess.raw_simulation import draw_head
from raw_dataset import N_DISCARDED, N_VOLUMES, PARTNER_MM, SEED_MM, STRANGER_MM, add_run, write_participants
from rsfc_gpu import cli
from rsfc_gpu.bids import find_runs
from rsfc_gpu.errors import InputError
from rsfc_gpu.images.nifti import BoldSource
from rsfc_gpu.study import raw_run
from rsfc_gpu.study.config import parse_study
from rsfc_gpu.study.plan import expected_flow, expected_models, plan_study
from rsfc_gpu.study.raw_run import prepare_raw, raw_settings, settings_in_words
from rsfc_gpu.study.run import RunOptions, run_study

STUDY = parse_study(raw_dataset.STUDY, "raw")
MODEL = """
[[models]]
name = "all"
kind = "one_sample"
covariates = ["mean_fd_jenkinson_mm"]
contrasts = [{ name = "mean", weights = "mean" }]
"""
PREFIX = "sub-{0}/func/sub-{0}_task-rest_space-MNI152NLin6Asym_"
OPTIONS = RunOptions(level="participant", device="cpu", jobs=1, report=False)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, cpu) -> Path:
    root = tmp_path_factory.mktemp("raw")
    write_participants(root, ["01", "02", "03"])
    add_run(root, "01", raw_dataset.run(1, cpu))
    add_run(root, "02", raw_dataset.run(2, cpu, largest_mm=3.0, n_volumes=20))
    add_run(root, "03", raw_dataset.half_a_ball())
    return root


@pytest.fixture(scope="module")
def out(dataset, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "out"
    outcome = run_study(dataset, folder, STUDY, OPTIONS)
    assert [outcome.count(status) for status in ("kept", "excluded", "failed")] == [1, 1, 1]
    return folder


def record(out: Path, person: str) -> dict:
    return json.loads((out / f"{PREFIX.format(person)}desc-run_record.json").read_text())


def value_at(path: Path, point) -> float:
    image = nibabel.load(path)
    voxel = np.rint(np.linalg.inv(image.affine) @ [*point, 1.0])[:3].astype(int)
    return float(np.asarray(image.dataobj)[tuple(voxel)])


def test_a_raw_run_becomes_maps_in_template_space(out):
    found = record(out, "01")
    assert (found["status"], found["stage"], found["n_discarded"]) == ("kept", "analysed", N_DISCARDED)
    assert found["n_volumes"] == N_VOLUMES - N_DISCARDED
    assert found["normalisation_dice"] > 0.95
    # Of one drifting translation both measures are the same steps; of noise they differ by their definitions.
    assert 0.2 < found["mean_fd_jenkinson_mm"] / found["mean_fd_power_mm"] < 1.0
    # The head drifted 0.1 mm; what was discarded is not part of it.
    assert found["max_translation_mm"] == pytest.approx(0.1, abs=0.06)
    z = out / f"{PREFIX.format('01')}seed-hand_stat-z_statmap.nii.gz"
    assert value_at(z, SEED_MM) > 1.0
    assert value_at(z, PARTNER_MM) > 0.8
    assert abs(value_at(z, STRANGER_MM)) < 0.4
    sidecar = json.loads(Path(str(z).replace(".nii.gz", ".json")).read_text())
    assert (sidecar["Settings"]["discard_volumes"], sidecar["Settings"]["fwhm_mm"]) == (N_DISCARDED, 6.0)


def test_the_sidecar_of_the_mean_holds_the_whole_warp(out, cpu):
    facts = json.loads((out / f"{PREFIX.format('01')}desc-mean_bold.json").read_text())
    warp = rg.preprocess.Warp(np.array(facts["Affine"]), np.array(facts["WarpCoefficients"]), 1.0, cpu)
    for point in (SEED_MM, PARTNER_MM):
        written_from = warp.source_mm(*[[value] for value in point])[0, 0, 0]
        assert np.linalg.norm(draw_head(1).to_template(written_from) - point) < 4.0
    assert np.abs(warp.coefficients).max() > 1.0


def test_its_mean_and_what_was_done_lie_beside_the_maps(out):
    mean = nibabel.load(out / f"{PREFIX.format('01')}desc-mean_bold.nii.gz")
    assert mean.shape == (31, 37, 31)
    values = np.asarray(mean.dataobj)
    assert np.median(values[15, 18, 8:20]) > 5 * np.median(values[:3])
    facts = json.loads((out / f"{PREFIX.format('01')}desc-mean_bold.json").read_text())
    assert facts["NormalisationDice"] == record(out, "01")["normalisation_dice"]
    assert len(facts["SliceTiming"]) == 17 and facts["Settings"]["voxel_mm"] == 6.0
    assert "ICBM152" in facts["Settings"]["template"] and "EPI.nii" in facts["Settings"]["template_offset"]
    # The simulated head is smaller than the template's: template to subject shrinks.
    assert all(0.7 < zoom < 1.1 for zoom in facts["AffineZooms"])
    motion = pd.read_csv(out / f"{PREFIX.format('01')}desc-motion_timeseries.tsv", sep="\t")
    assert len(motion) == N_VOLUMES - N_DISCARDED and motion["kept"].sum() == len(motion)


def test_a_run_that_moved_is_excluded_before_it_is_normalised(out):
    found = record(out, "02")
    assert (found["status"], found["stage"]) == ("excluded", "motion")
    assert found["reason"].startswith("head motion: translation 2.") and "normalisation_dice" not in found
    assert not list(out.rglob("sub-02*mean_bold*")) and list(out.rglob("sub-02*motion_timeseries.tsv"))


def test_a_failed_normalisation_is_a_row_with_a_reason_and_a_picture(out):
    found = record(out, "03")
    assert (found["status"], found["stage"]) == ("failed", "normalisation")
    assert "Dice with the MNI brain" in found["reason"] and found["normalisation_dice"] < 0.9
    assert found["n_volumes"] == 16 and found["mean_fd_power_mm"] >= 0
    picture = nibabel.load(out / f"{PREFIX.format('03')}desc-failedmean_bold.nii.gz")
    assert picture.shape == (31, 37, 31) and np.asarray(picture.dataobj).max() > 100
    assert not list(out.rglob("sub-03*statmap*")) and not list(out.rglob("sub-03*desc-mean_bold*"))


def test_the_displacement_of_jenkinson_is_that_of_the_native_grid(dataset, out, cpu):
    motion = pd.read_csv(out / f"{PREFIX.format('01')}desc-motion_timeseries.tsv", sep="\t").to_numpy()[:, :6]
    native = nibabel.load(dataset / "sub-01" / "func" / "sub-01_task-rest_bold.nii.gz")
    expected = rg.denoise.framewise_displacement(motion, "jenkinson", native.affine, native.shape)
    assert record(out, "01")["mean_fd_jenkinson_mm"] == pytest.approx(expected.mean(), abs=1e-5)
    run = find_runs(dataset, task="rest").runs[0]
    prepared = prepare_raw(run, dataset, raw_settings(STUDY), cpu, tr_s=2.0, beside=f"{out.parent}/other_")
    seeds = rg.Seeds.from_spheres([SEED_MM], 10, like=prepared.run.mask)
    settings = STUDY.denoise.replace(fd_kind="jenkinson")
    np.testing.assert_allclose(rg.seed_maps(prepared.run, seeds, settings, cpu).fd_mm, expected, atol=1e-5)


def test_a_failed_realignment_names_its_volumes(tmp_path, cpu):
    """Without slice timing, which would fill an empty volume from its neighbours."""
    image = raw_dataset.run(4, cpu, n_volumes=12)
    blank = np.array(image.dataobj)
    blank[..., 9] = 0
    add_run(tmp_path / "bids", "04", nibabel.Nifti1Image(blank, image.affine, image.header))
    write_participants(tmp_path / "bids", ["04"])
    study = parse_study(raw_dataset.STUDY.replace("voxel_mm", 'slice_timing = "none"\nvoxel_mm'), "raw")
    run_study(tmp_path / "bids", tmp_path / "out", study, OPTIONS)
    found = record(tmp_path / "out", "04")
    assert (found["status"], found["stage"]) == ("failed", "realignment")
    assert "1 of 8 volumes did not converge (number 10, counted from 1)" in found["reason"]


def test_what_is_done_is_reused_and_other_settings_do_it_again(dataset, out, tmp_path):
    """The failed run is tried again, the others are not."""
    copy = shutil.copytree(out, tmp_path / "out")
    assert run_study(dataset, copy, STUDY, OPTIONS).n_reused == 2
    lax = parse_study(raw_dataset.STUDY.replace("voxel_mm", "minimum_dice = 0.3\nvoxel_mm"), "raw")
    again = run_study(dataset, copy, lax, OPTIONS)
    # Half a ball is a head now, without a seed or with: its picture is no longer that of a failure.
    assert again.n_reused == 0 and again.count("failed") == 0
    assert not list(copy.rglob("*failedmean*")) and list(copy.rglob("sub-03*desc-mean_bold.nii.gz"))
    strict = parse_study(raw_dataset.STUDY + "maximum_translation_mm = 0.001\n", "raw")
    assert run_study(dataset, copy, strict, OPTIONS).count("excluded") == 3
    assert not list(copy.rglob("*mean_bold*"))  # pictures of what was left out this time would mislead


def test_slice_times_of_the_sidecar_decide_too(dataset, out, tmp_path):
    bids, copy = shutil.copytree(dataset, tmp_path / "bids"), shutil.copytree(out, tmp_path / "out")
    path = bids / "sub-02" / "func" / "sub-02_task-rest_bold.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, "SliceTiming": facts["SliceTiming"][::-1]}))
    assert run_study(bids, copy, STUDY, OPTIONS).n_reused == 1


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([0.0] * 16, "expected one for each of the 17 slices"),
        ([100.0 * n for n in range(17)], "look like milliseconds"),
        ([0.2 * n for n in range(17)], "beyond the repetition time of 2 s"),
        ("ascending", "SliceTiming is no list of numbers"),
    ],
)
def test_bad_slice_times_are_found_without_reading_a_volume(dataset, tmp_path, monkeypatch, times, message):
    bids = shutil.copytree(dataset, tmp_path / "bids")
    path = bids / "sub-01" / "func" / "sub-01_task-rest_bold.json"
    path.write_text(json.dumps({"RepetitionTime": 2.0, "SliceTiming": times}))
    monkeypatch.setattr(BoldSource, "volumes", lambda _: pytest.fail("a volume was read"))
    plan = plan_study(bids, STUDY)
    assert list(plan.problems) == ["sub-01_task-rest"] and message in plan.problems["sub-01_task-rest"]
    flow = expected_flow(plan).set_index("participant_id")
    assert flow.loc["sub-01", "status"] == "failed" and message in flow.loc["sub-01", "reason"]
    assert flow.loc["sub-02", "status"] == "kept"


def test_missing_slice_times_say_what_to_do(dataset, tmp_path, capsys):
    bids = shutil.copytree(dataset, tmp_path / "bids")
    for path in bids.rglob("*_bold.json"):
        path.unlink()
    (tmp_path / "study.toml").write_text(raw_dataset.STUDY)
    assert cli.main(["check", str(bids), "--study", str(tmp_path / "study.toml")]) == 4
    shown = capsys.readouterr().out
    assert "3 runs (raw), MNI152NLin6Asym, TR 2 s" in shown
    assert shown.count("no SliceTiming in its sidecar") == 3 and 'slice_timing = "interleaved"' in shown
    assert run_study(bids, tmp_path / "out", STUDY, OPTIONS).count("failed") == 3
    with pytest.raises(InputError, match="none of 3 runs can be used .* sub-01_task-rest: no SliceTiming"):
        run_study(bids, tmp_path / "all", parse_study(raw_dataset.STUDY + MODEL, "raw"), RunOptions(device="cpu"))
    (tmp_path / "study.toml").write_text(raw_dataset.STUDY.replace("voxel_mm", 'slice_timing = "descending"\nvoxel_mm'))
    assert cli.main(["check", str(bids), "--study", str(tmp_path / "study.toml")]) == 0


def test_too_few_volumes_and_other_repetition_times_are_found_before(dataset, tmp_path):
    long = parse_study(raw_dataset.STUDY.replace(f"= {N_DISCARDED}", "= 19"), "raw")
    plan = plan_study(dataset, long)
    assert set(plan.problems) == {"sub-02_task-rest", "sub-03_task-rest"}
    assert "19 of 20 volumes would be discarded" in plan.problems["sub-02_task-rest"]
    bids = shutil.copytree(dataset, tmp_path / "bids")
    path = bids / "sub-01" / "func" / "sub-01_task-rest_bold.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "RepetitionTime": 2.5}))
    with pytest.raises(InputError, match="different repetition times: 2 s .*2.5 s"):
        plan_study(bids, STUDY)


def test_native_grids_may_differ_and_memory_follows_the_largest(dataset, tmp_path, cpu):
    bids = shutil.copytree(dataset, tmp_path / "bids")
    image = nibabel.Nifti1Image(np.ones((64, 64, 33, 240), dtype=np.int16), np.diag([3.4, 3.4, 4.6, 1.0]))
    image.header.set_zooms((3.4, 3.4, 4.6, 2.0))
    add_run(bids, "01", image)
    study = parse_study(raw_dataset.STUDY.replace("voxel_mm = 6.0", "voxel_mm = 3.0"), "raw")
    plan = plan_study(bids, study)
    assert not plan.problems
    # The chain was measured at 600 MB for such a run; maps and libraries come on top.
    assert 6e8 < plan.bytes_each < 9e8


def test_a_template_is_for_raw_runs_and_is_an_image(dataset, tmp_path):
    with pytest.raises(InputError, match=r"none\.nii: no such file"):
        plan_study(dataset, STUDY, template=tmp_path / "none.nii")
    bold = dataset / "sub-02" / "func" / "sub-02_task-rest_bold.nii.gz"
    with pytest.raises(InputError, match="a template is a 3-D image"):
        plan_study(dataset, STUDY, template=bold)
    given = tmp_path / "template.nii.gz"
    nibabel.Nifti1Image(np.ones((4, 4, 4), dtype=np.float32), np.eye(4)).to_filename(given)
    assert plan_study(dataset, STUDY, template=given).preprocess.template == given
    derivative = tmp_path / "derivative"
    folder = derivative / "sub-01" / "func"
    folder.mkdir(parents=True)
    (folder / "sub-01_task-rest_space-MNI152NLin6Asym_desc-preproc_bold.nii.gz").touch()
    write_participants(derivative, ["01"])
    with pytest.raises(InputError, match="a template is for raw runs"):
        plan_study(derivative, STUDY, template=given)
    moved = parse_study(raw_dataset.STUDY + MODEL, "raw")
    expected_models(found := plan_study(dataset, moved), expected_flow(found))
    with pytest.raises(InputError, match="mean_fd_jenkinson_mm needs the native images"):
        plan_study(derivative, moved)


def test_another_template_is_another_preprocessing(tmp_path):
    path = tmp_path / "template.nii"
    words = []
    for value in (1.0, 2.0):
        nibabel.Nifti1Image(np.full((4, 4, 4), value, dtype=np.float32), np.eye(4)).to_filename(path)
        words.append(settings_in_words(raw_settings(STUDY, path)))
    assert words[0]["template"] == "template.nii" and words[0]["template_offset"] is None
    assert words[0]["template_digest"] != words[1]["template_digest"]
    assert (words[0]["stiffness"], settings_in_words(raw_settings(STUDY))["stiffness"]) == (2.0, 15.0)


def test_a_kept_series_stands_for_the_preprocessing(dataset, tmp_path, cpu, monkeypatch):
    run = find_runs(dataset, task="rest").runs[0]
    settings = raw_settings(STUDY)
    cache = tmp_path / "series"
    first = prepare_raw(run, dataset, settings, cpu, tr_s=2.0, beside=f"{tmp_path}/first_", cache=cache)
    monkeypatch.setattr(raw_run, "preprocess", lambda *_, **__: pytest.fail("done again"))
    again = prepare_raw(run, dataset, settings, cpu, tr_s=2.0, beside=f"{tmp_path}/again_", cache=cache)
    np.testing.assert_array_equal(again.motion, first.motion)
    np.testing.assert_array_equal(again.run.bold.samples, first.run.bold.samples)
    assert again.numbers == first.numbers and set(again.run.bold.regions) == {"white_matter", "csf", "global"}
    assert [path.read_bytes() for path in again.written] == [path.read_bytes() for path in first.written]
    with pytest.raises(pytest.fail.Exception, match="done again"):
        changed = settings.replace(stiffness=50.0)
        prepare_raw(run, dataset, changed, cpu, tr_s=2.0, beside=f"{tmp_path}/third_", cache=cache)
