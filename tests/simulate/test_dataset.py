"""The dataset on disk: what a reader finds, and the planted faults."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

import rsfc_gpu as rg
from rsfc_gpu.bids.confounds import read_motion
from rsfc_gpu.errors import InputError
from rsfc_gpu.simulate import Cohort, CohortSettings, Truth, build_anatomy, plan_cohort, simulate_cohort
from rsfc_gpu.simulate.dataset import write_scan

SETTINGS = CohortSettings(participants=12, n_volumes=100, seed=5)
SPACE = "MNI152NLin6Asym"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth, list[tuple[int, int]]]:
    root = tmp_path_factory.mktemp("simulated") / "cohort"
    seen: list[tuple[int, int]] = []
    truth = simulate_cohort(root, SETTINGS, lambda done, total: seen.append((done, total)), jobs=2)
    return root, truth, seen


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    return plan_cohort(SETTINGS)


def files(root: Path, participant: str, session: str) -> dict[str, Path]:
    """The files of one run by what they are."""
    folder, run = root / participant / session / "func", f"{participant}_{session}_task-rest"
    return {
        "bold": folder / f"{run}_space-{SPACE}_desc-preproc_bold.nii.gz",
        "sidecar": folder / f"{run}_space-{SPACE}_desc-preproc_bold.json",
        "mask": folder / f"{run}_space-{SPACE}_desc-brain_mask.nii.gz",
        "motion": folder / f"rp_{run}.txt",
    }


def as_run(root: Path, participant: str, session: str) -> rg.Run:
    found, masks = files(root, participant, session), root / f"tpl-{SPACE}"
    return rg.Run(
        bold=found["bold"],
        mask=found["mask"],
        motion=found["motion"],
        tissues={
            "white_matter": masks / f"tpl-{SPACE}_label-WM_mask.nii.gz",
            "csf": masks / f"tpl-{SPACE}_label-CSF_mask.nii.gz",
            "global": masks / f"tpl-{SPACE}_desc-brain_mask.nii.gz",
        },
        space=SPACE,
    )


def fault(truth: Truth, name: str) -> pd.Series:
    return truth.faults[truth.faults["fault"] == name].iloc[0]


def test_every_scan_has_its_files_and_the_truth_is_beside_them(dataset, cohort: Cohort) -> None:
    root, truth, seen = dataset
    assert sorted(seen) == [(i + 1, len(cohort.scans)) for i in range(len(cohort.scans))]
    for scan in cohort.scans:
        for path in files(root, scan.participant_id, scan.session_id).values():
            assert path.is_file()
    assert json.loads((root / "dataset_description.json").read_text())["DatasetType"] == "derivative"
    planted = pd.read_csv(root / "planted.tsv", sep="\t")
    assert planted["name"].tolist() == truth.effects["name"].tolist()
    assert (planted["d"].dropna().abs() > 1).all()
    people = pd.read_csv(root / "participants.tsv", sep="\t")
    with_images = {path.name for path in root.glob("sub-*")}
    assert with_images == set(people.loc[people["reason_for_leaving"].isna(), "participant_id"])
    described = json.loads((root / "participants.json").read_text())
    assert list(described) == people.columns.tolist()
    scores = pd.read_csv(root / "phenotype" / "hamd17.tsv", sep="\t")
    assert len(scores) == 3 * (people["group"] == "MDD").sum()
    assert scores["session_id"].unique().tolist() == ["ses-baseline", "ses-day13", "ses-day19"]


def test_a_run_from_disk_is_the_run_in_memory(dataset, cohort: Cohort) -> None:
    root, _, _ = dataset
    scan = next(scan for scan in cohort.scans if cohort.people.table.loc[scan.row, "fate"] == "analysed")
    found, run = files(root, scan.participant_id, scan.session_id), cohort.simulate(scan)
    image = nibabel.load(found["bold"])
    assert image.shape == (46, 55, 46, 100)
    assert image.header.get_zooms() == (4, 4, 4, 2)
    brain = cohort.anatomy.brain.inside
    np.testing.assert_array_equal(np.asarray(image.dataobj)[brain], np.asarray(run.image().dataobj)[brain])
    np.testing.assert_allclose(read_motion(found["motion"]), run.motion, atol=1e-7)
    assert json.loads(found["sidecar"].read_text())["RepetitionTime"] == 2.0


def test_outside_the_brain_is_noise_unless_it_was_stripped(dataset, cohort: Cohort, tmp_path: Path) -> None:
    """As strong as inside, as smooth, and another in every run; stripping it changes nothing inside."""
    root, _, _ = dataset
    stripped = plan_cohort(replace(SETTINGS, skull_stripped=True))
    brain, sizes, backgrounds = cohort.anatomy.brain.inside, [], []
    for scan in cohort.scans[:2]:
        write_scan(tmp_path, stripped, scan)
        where = files(root, scan.participant_id, scan.session_id), files(tmp_path, scan.participant_id, scan.session_id)
        whole, bare = (np.asarray(nibabel.load(one["bold"]).dataobj) for one in where)
        assert [json.loads(one["sidecar"].read_text())["SkullStripped"] for one in where] == [False, True]
        np.testing.assert_array_equal(whole[brain], bare[brain])
        assert not bare[~brain].any()
        sizes.append(where[0]["bold"].stat().st_size / where[1]["bold"].stat().st_size)
        backgrounds.append(whole[:, 0].astype(float))  # a plane beside the head
    noise = backgrounds[0]
    assert noise.min() >= 0 and noise.mean() == pytest.approx(20, abs=0.5)
    assert noise.std(axis=-1).mean() == pytest.approx(0.01 * 1000, rel=0.1)
    centred = noise - noise.mean(axis=-1, keepdims=True)
    beside = (centred[1:] * centred[:-1]).mean() / (centred**2).mean()
    assert beside == pytest.approx(2 ** -((4 / 10) ** 2 * 2), abs=0.03)  # Gaussian, 10 mm wide, 4 mm apart
    assert abs(np.corrcoef(noise[..., 1:].ravel(), noise[..., :-1].ravel())[0, 1]) < 0.05
    assert abs(np.corrcoef(noise.ravel(), backgrounds[1].ravel())[0, 1]) < 0.05
    assert min(sizes) > 2


def test_bytes_do_not_depend_on_the_order_of_writing(dataset, cohort: Cohort, tmp_path: Path) -> None:
    root, _, _ = dataset
    for scan in (cohort.scans[-1], cohort.scans[0]):
        write_scan(tmp_path, cohort, scan)
        for name, path in files(tmp_path, scan.participant_id, scan.session_id).items():
            there = files(root, scan.participant_id, scan.session_id)[name]
            assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(there.read_bytes()).digest()


def test_seed_maps_of_the_files(dataset, cohort: Cohort, cpu: rg.Backend) -> None:
    root, _, _ = dataset
    scan = next(scan for scan in cohort.scans if cohort.people.table.loc[scan.row, "fate"] == "analysed")
    settings = rg.DenoiseSettings.preset("dparsf").replace(minimum_dof=0)
    maps = rg.seed_maps(as_run(root, scan.participant_id, scan.session_id), cohort.anatomy.seeds, settings, cpu)
    np.testing.assert_array_equal(maps.coverage, 1.0)
    for seed, members in enumerate(maps.z):
        at = cohort.anatomy.seeds.members[seed]
        assert np.median(members.ravel(order="F")[at]) > 0.5  # a seed is connected with itself


def test_faults_are_real(dataset, cpu: rg.Backend) -> None:
    root, truth, _ = dataset
    assert set(truth.faults["fault"]) == {"motion", "damaged file", "missing covariate", "region without signal"}
    settings = rg.DenoiseSettings.preset("dparsf").replace(minimum_dof=0)
    moved = fault(truth, "motion")
    motion = read_motion(files(root, moved["participant_id"], moved["session_id"])["motion"])
    assert np.abs(motion[:, :3]).max() > 2
    seeds = build_anatomy(4.0).seeds
    damaged = fault(truth, "damaged file")
    with pytest.raises(InputError, match=Path(damaged["file"]).name):
        rg.seed_maps(as_run(root, damaged["participant_id"], damaged["session_id"]), seeds, settings, cpu)
    lost = fault(truth, "region without signal")
    with pytest.raises(InputError, match="seed .*right: none of its"):
        rg.seed_maps(as_run(root, lost["participant_id"], lost["session_id"]), seeds, settings, cpu)
    people = pd.read_csv(root / "participants.tsv", sep="\t").set_index("participant_id")
    assert people.index[people["age"].isna()].tolist() == [fault(truth, "missing covariate")["participant_id"]]


def test_only_the_faulty_are_faulty(dataset, cohort: Cohort) -> None:
    root, _, _ = dataset
    for scan in cohort.scans:
        if cohort.people.table.loc[scan.row, "fate"] == "analysed":
            motion = read_motion(files(root, scan.participant_id, scan.session_id)["motion"])
            assert np.abs(motion[:, :3]).max() <= 2
            assert np.degrees(np.abs(motion[:, 3:])).max() <= 2


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="not an empty folder"):
        simulate_cohort(tmp_path, SETTINGS)
