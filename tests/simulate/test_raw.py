"""Raw runs: the truth beside them is what is in them."""

from __future__ import annotations

import json
from dataclasses import replace

import nibabel
import numpy as np
import pandas as pd
import pytest

from rsfc_gpu import cli
from rsfc_gpu.backend import select_backend
from rsfc_gpu.bids import find_runs
from rsfc_gpu.errors import InputError
from rsfc_gpu.preprocess import correct_slice_timing, realign
from rsfc_gpu.simulate import CohortSettings, Head, build_anatomy, plan_cohort, planted_truth, raw
from rsfc_gpu.simulate.dataset import HEADS, MOTION_FOLDER, simulate_cohort, write_scan
from rsfc_gpu.simulate.truth import bold_file

SETTINGS = CohortSettings(level="raw", grid_mm=5.0, n_volumes=100, participants=12, seed=4)


@pytest.fixture(scope="module")
def cohort():
    return plan_cohort(SETTINGS)


def scan_of(cohort, fate: str, session: int = 0):
    table = cohort.people.table
    return next(scan for scan in cohort.scans if table.loc[scan.row, "fate"] == fate and scan.session == session)


def short_run(head: Head, motion: np.ndarray, fluctuation: np.ndarray | None = None) -> raw.RawRun:
    brain = build_anatomy(5.0).brain
    if fluctuation is None:
        fluctuation = np.zeros((len(motion), len(brain)), dtype=np.float32)
    return raw.scan_head(head, fluctuation, brain, motion, np.random.default_rng(0), tr_s=2.0)


def test_the_planted_motion_is_in_the_images() -> None:
    rng = np.random.default_rng(1)
    motion = np.cumsum(rng.normal(size=(12, 6)) * [0.1, 0.1, 0.1, 0.002, 0.002, 0.002], axis=0)
    motion = np.vstack([np.zeros((5, 6)), motion - motion[0]])
    run = short_run(Head.draw(rng), motion)
    steady = nibabel.Nifti1Image(run.samples[5:].T, raw.AFFINE)
    found = realign(steady, backend=select_backend("cpu")).motion
    assert np.abs(found[:, :3] - motion[5:, :3]).max() < 0.03
    assert np.degrees(np.abs(found[:, 3:] - motion[5:, 3:]).max()) < 0.03


def test_every_slice_is_acquired_at_its_time() -> None:
    times_s = 2.0 * np.arange(40)
    wave = np.sin(2 * np.pi * 0.05 * times_s)
    brain = build_anatomy(5.0).brain
    change = (0.1 * wave[:, None] * np.ones(len(brain))).astype(np.float32)
    run = short_run(Head.draw(np.random.default_rng(2)), np.zeros((40, 6)), change)
    middle = slice(8, 32)  # the ends of a Fourier interpolation ring

    def slices(samples: np.ndarray) -> np.ndarray:
        """(n, T) mean course of each slice with enough brain, unit norm."""
        bright = samples[20].reshape(33, -1) > 400
        used = np.flatnonzero(bright.sum(axis=1) > 200)
        courses = np.array([samples[middle].reshape(24, 33, -1)[:, z, bright[z]].mean(axis=1) for z in used])
        courses -= courses.mean(axis=1, keepdims=True)
        return used, courses / np.linalg.norm(courses, axis=1, keepdims=True)

    used, as_acquired = slices(run.samples.astype(np.float64))
    expected = np.array([np.sin(2 * np.pi * 0.05 * (times_s[middle] + run.slice_times_s[z])) for z in used])
    expected -= expected.mean(axis=1, keepdims=True)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert len(used) > 10
    assert ((as_acquired * expected).sum(axis=1) > 0.995).all()
    # Without their times the slices disagree; corrected, they are one signal.
    assert (as_acquired @ as_acquired.T).min() < 0.9
    corrected = correct_slice_timing(run.image(), run.slice_times_s, backend=select_backend("cpu"))
    together = slices(np.asarray(corrected.dataobj).T.astype(np.float64))[1]
    assert (together @ together.T).min() > 0.99


def test_a_head_moved_is_the_head_read_elsewhere_and_survives_json() -> None:
    head = Head.draw(np.random.default_rng(3))
    motion = [3.0, -2.0, 1.0, 0.03, -0.02, 0.05]
    points = np.random.default_rng(4).uniform(-70, 70, (50, 3))
    rigid = raw.rigid_matrix(motion)
    moved = Head.from_facts(json.loads(json.dumps(head.moved(motion).facts())))
    np.testing.assert_allclose(
        moved.to_template(points), head.to_template(points @ rigid[:3, :3].T + rigid[:3, 3]), atol=1e-9
    )


def test_files_of_a_scan_and_their_truth(cohort, tmp_path) -> None:
    scan = scan_of(cohort, "analysed")
    for folder in ("one", "two"):
        write_scan(tmp_path / folder, cohort, scan)
    files = {path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file()}
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    image = nibabel.load(next((tmp_path / "one").rglob("*_bold.nii.gz")))
    assert image.shape == (64, 64, 33, 110) and image.get_data_dtype() == np.int16
    assert image.header.get_zooms() == pytest.approx((3.44, 3.44, 4.6, 2.0))
    facts = json.loads(next((tmp_path / "one").rglob("*_bold.json")).read_text())
    assert len(facts["SliceTiming"]) == 33 and max(facts["SliceTiming"]) < facts["RepetitionTime"]
    motion = pd.read_csv(next((tmp_path / "one" / MOTION_FOLDER).iterdir()), sep="\t").to_numpy()
    assert motion.shape == (110, 6) and not motion[raw.N_DUMMIES].any()
    volumes = np.asarray(image.dataobj)
    bright = volumes[..., 50] > 400
    means = volumes[bright].mean(axis=0)
    assert means[0] > 1.2 * means[50] and abs(means[raw.N_DUMMIES] / means[50] - 1) < 0.03


def test_planted_faults_of_raw_runs(cohort, tmp_path) -> None:
    faults = planted_truth(cohort).faults.set_index("fault")
    assert set(faults.index) == {"motion", "damaged file", "missing covariate", "no slice times"}
    untimed = scan_of(cohort, "no-seed")
    write_scan(tmp_path, cohort, untimed)
    assert "SliceTiming" not in json.loads(next(tmp_path.rglob("*_bold.json")).read_text())
    moved = next(scan for scan in cohort.scans if scan.excursion_mm)
    assert np.abs(cohort.simulate_raw(moved).motion[raw.N_DUMMIES :, 2]).max() > 2.0


def test_a_dataset_is_found_as_raw(tmp_path, monkeypatch) -> None:
    def without_image(root, cohort, scan):
        path = root / bold_file(cohort, scan)
        path.parent.mkdir(parents=True)
        path.touch()

    monkeypatch.setattr("rsfc_gpu.simulate.dataset.write_scan", without_image)
    simulate_cohort(tmp_path / "raw", SETTINGS)
    found = find_runs(tmp_path / "raw", task="rest")
    assert {run.form for run in found.runs} == {"raw"}
    heads = json.loads((tmp_path / "raw" / HEADS).read_text())
    assert set(heads) == {str(run.bold.relative_to(found.root)) for run in found.runs}
    assert json.loads((tmp_path / "raw" / "dataset_description.json").read_text())["DatasetType"] == "raw"
    assert not list((tmp_path / "raw").glob("tpl-*"))


def test_a_grid_is_not_for_raw_images(tmp_path, capsys) -> None:
    assert cli.main(["simulate", str(tmp_path / "out"), "--level", "raw", "--grid", "3"]) == 3
    assert "scanner's voxels" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="level"):
        replace(SETTINGS, level="rare")
