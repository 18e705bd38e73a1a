"""The index of a dataset: names alone, thousands in seconds; what is odd is refused by name."""

from __future__ import annotations

import json
import time

import pytest

from rsfc_gpu.bids import find_runs, sidecar, slice_timing
from rsfc_gpu.bids.index import entities_of
from rsfc_gpu.errors import InputError

SPACE = "MNI152NLin6Asym"


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def fmriprep_run(root, person, session=None, run=None, space=SPACE, resolution=""):
    parts = [f"sub-{person}", *([f"ses-{session}"] if session else [])]
    prefix = "_".join([*parts, "task-rest", *([f"run-{run}"] if run else [])])
    stem = f"{prefix}_space-{space}{resolution}"
    touch(
        root.joinpath(*parts, "func"),
        f"{stem}_desc-preproc_bold.nii.gz",
        f"{stem}_desc-brain_mask.nii.gz",
        f"{prefix}_desc-confounds_timeseries.tsv",
        f"{prefix}_space-{space}_boldref.nii.gz",
        f"{prefix}_from-T1w_to-scanner_mode-image_xfm.txt",
    )
    return prefix


def test_a_thousand_participants_with_two_sessions_in_seconds(tmp_path):
    for n in range(1000):
        for session in ("a", "b"):
            touch(
                tmp_path / f"sub-{n:04}" / f"ses-{session}" / "func",
                *(
                    f"sub-{n:04}_ses-{session}_task-rest_{end}"
                    for end in (
                        f"space-{SPACE}_desc-preproc_bold.nii.gz",
                        f"space-{SPACE}_desc-brain_mask.nii.gz",
                        "desc-confounds_timeseries.tsv",
                    )
                ),
            )
    started = time.perf_counter()
    found = find_runs(tmp_path, task="rest")
    assert time.perf_counter() - started < 5
    assert len(found.runs) == 2000 and not any(run.missing for run in found.runs)
    assert found.runs[3].prefix == "sub-0001_ses-b_task-rest"


def test_fmriprep_files_belong_together(tmp_path):
    for person, session, run in (("01", "1", None), ("01", "2", "1"), ("01", "2", "2"), ("02", None, None)):
        fmriprep_run(tmp_path, person, session, run, resolution="_res-2")
    found = find_runs(tmp_path, task="rest", space=SPACE)
    assert [(run.participant_id, run.session_id, run.run) for run in found.runs] == [
        ("sub-01", "1", None),
        ("sub-01", "2", "1"),
        ("sub-01", "2", "2"),
        ("sub-02", None, None),
    ]
    for run in found.runs:
        assert run.form == "fmriprep" and run.motion is None and run.missing == ()
        assert run.confounds is not None and run.confounds.name == f"{run.prefix}_desc-confounds_timeseries.tsv"
        assert run.mask is not None and run.mask.name.startswith(f"{run.prefix}_space-{SPACE}_res-2")


def test_a_raw_dataset_with_derivatives(tmp_path):
    touch(tmp_path / "sub-01" / "func", "sub-01_task-rest_bold.nii.gz")
    fmriprep_run(tmp_path / "derivatives" / "fmriprep", "01")
    found = find_runs(tmp_path, task="rest")
    assert found.images == tmp_path / "derivatives" / "fmriprep" and found.root == tmp_path and len(found.runs) == 1


def test_raw_runs_are_found_where_nothing_is_preprocessed(tmp_path):
    func = tmp_path / "sub-01" / "ses-1" / "func"
    touch(func, "sub-01_ses-1_task-rest_run-1_bold.nii.gz", "sub-01_ses-1_task-rest_run-2_bold.nii")
    touch(func, "sub-01_ses-1_task-rest_run-1_sbref.nii.gz", "sub-01_ses-1_task-rest_run-1_bold.json")
    touch(func, "sub-01_ses-1_task-nback_bold.nii.gz", "sub-01_ses-1_task-rest_desc-preproc_bold.nii.gz")
    touch(func, "sub-01_ses-1_task-rest_rec-norm_part-mag_bold.nii.gz")
    touch(func, "sub-01_ses-1_task-rest_rec-norm_part-phase_bold.nii.gz")
    found = find_runs(tmp_path, task="rest")
    assert [run.prefix for run in found.runs] == [
        "sub-01_ses-1_task-rest_rec-norm",
        "sub-01_ses-1_task-rest_run-1",
        "sub-01_ses-1_task-rest_run-2",
    ]
    for run in found.runs:
        assert (run.form, run.space, run.missing, run.mask, run.motion) == ("raw", SPACE, (), None, None)
    assert found.images == tmp_path and found.spaces == {SPACE: 3}
    with pytest.raises(InputError, match="no raw image of task 'faces'; tasks found: nback, rest"):
        find_runs(tmp_path, task="faces")
    with pytest.raises(InputError, match=f"no image in space MNI152NLin2009cAsym, found {SPACE}"):
        find_runs(tmp_path, task="rest", space="MNI152NLin2009cAsym")


def test_preprocessed_runs_come_before_raw_ones_unless_raw_is_asked_for(tmp_path):
    touch(tmp_path / "sub-01" / "func", "sub-01_task-rest_bold.nii.gz")
    fmriprep_run(tmp_path / "derivatives" / "fmriprep", "01")
    fmriprep_run(tmp_path / "derivatives" / "fmriprep", "01", space="MNI152NLin2009cAsym")
    raw = find_runs(tmp_path, task="rest", raw=True)
    assert raw.images == tmp_path and [run.form for run in raw.runs] == ["raw"]
    beside = tmp_path / "beside"
    touch(beside / "sub-01" / "func", "sub-01_task-rest_bold.nii.gz")
    fmriprep_run(beside, "02")
    assert [run.form for run in find_runs(beside, task="rest").runs] == ["fmriprep"]
    assert [run.participant_id for run in find_runs(beside, task="rest", raw=True).runs] == ["sub-01"]


def test_raw_runs_of_several_echoes_are_refused_by_name(tmp_path):
    names = [f"sub-01_task-rest_echo-{echo}_bold.nii.gz" for echo in (1, 2, 3)]
    touch(tmp_path / "sub-01" / "func", *names)
    with pytest.raises(InputError, match=r"sub-01_task-rest_echo-1_bold.nii.gz: raw runs of several echoes .*fMRIPrep"):
        find_runs(tmp_path, task="rest")


def test_slice_timing_is_in_the_order_of_the_file():
    assert slice_timing({}, "x") is None
    assert slice_timing({"SliceTiming": [0, 1.0, 0.5]}, "x") == (0.0, 1.0, 0.5)
    assert slice_timing({"SliceTiming": [0, 1.0, 0.5], "SliceEncodingDirection": "k-"}, "x") == (0.5, 1.0, 0.0)
    with pytest.raises(InputError, match="x: SliceEncodingDirection is 'j'"):
        slice_timing({"SliceTiming": [0.0], "SliceEncodingDirection": "j"}, "x")
    for wrong in ("0, 1", [0.0, None], 3):
        with pytest.raises(InputError, match="x: SliceTiming is no list of numbers"):
            slice_timing({"SliceTiming": wrong}, "x")


def test_motion_files_beside_images_make_the_other_form(tmp_path):
    folder = tmp_path / "sub-01" / "func"
    touch(folder, f"sub-01_task-rest_space-{SPACE}_bold.nii", f"sub-01_task-rest_space-{SPACE}_desc-brain_mask.nii.gz")
    touch(folder, "rp_sub-01_task-rest.txt")
    touch(tmp_path / f"tpl-{SPACE}", f"tpl-{SPACE}_label-CSF_mask.nii.gz")
    found = find_runs(tmp_path, task="rest")
    assert found.runs[0].form == "normalised" and found.runs[0].confounds is None
    assert set(found.tissues) == {"csf"}


def test_what_is_missing_is_said_of_the_run(tmp_path):
    touch(tmp_path / "sub-01" / "func", f"sub-01_task-rest_space-{SPACE}_desc-preproc_bold.nii.gz")
    assert find_runs(tmp_path, task="rest").runs[0].missing == ("the brain mask", "confounds or rp_*.txt")


def test_an_image_that_left_its_sidecar_behind_is_missed(tmp_path):
    for person in ("01", "02"):
        names = [
            f"sub-{person}_task-rest_space-{SPACE}_desc-{what}" for what in ("preproc_bold.json", "brain_mask.nii.gz")
        ]
        touch(tmp_path / f"sub-{person}" / "func", *names, f"rp_sub-{person}_task-rest.txt")
    touch(tmp_path / "sub-02" / "func", f"sub-02_task-rest_space-{SPACE}_desc-preproc_bold.nii.gz")
    # Surfaces have sidecars too, and are no volumes that were lost.
    touch(tmp_path / "sub-02" / "func", "sub-02_task-rest_space-fsLR_den-91k_bold.json")
    # Nor is one that was written in another resolution and not copied.
    touch(tmp_path / "sub-02" / "func", f"sub-02_task-rest_space-{SPACE}_res-2_desc-preproc_bold.json")
    found = find_runs(tmp_path, task="rest")
    assert [run.missing for run in found.runs] == [("the image",), ()] and dict(found.spaces) == {SPACE: 1}


def test_participants_are_chosen_with_or_without_prefix(tmp_path):
    for person in ("01", "02", "03"):
        fmriprep_run(tmp_path, person)
    chosen = find_runs(tmp_path, task="rest", participants=["03", "sub-01"])
    assert [run.participant_id for run in chosen.runs] == ["sub-01", "sub-03"]
    with pytest.raises(InputError, match=r"no participant sub-3: the dataset has sub-01 to sub-03"):
        find_runs(tmp_path, task="rest", participants=["3"])


def test_ambiguity_is_refused(tmp_path):
    fmriprep_run(tmp_path, "01")
    fmriprep_run(tmp_path, "01", space="MNI152NLin2009cAsym")
    with pytest.raises(InputError, match=r"several spaces, MNI152NLin2009cAsym \(1 runs\), MNI152NLin6Asym"):
        find_runs(tmp_path, task="rest")
    with pytest.raises(InputError, match="no image in space T1w, found MNI152"):
        find_runs(tmp_path, task="rest", space="T1w")
    with pytest.raises(InputError, match="of task 'nback' .* tasks found: rest"):
        find_runs(tmp_path, task="nback")
    fmriprep_run(tmp_path, "01", resolution="_res-2")
    with pytest.raises(InputError, match="two images of the same run"):
        find_runs(tmp_path, task="rest", space=SPACE)
    with pytest.raises(InputError, match="no such folder"):
        find_runs(tmp_path / "nowhere", task="rest")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no folder sub-\*"):
        find_runs(tmp_path / "empty", task="rest")


def test_sidecars_are_inherited_and_the_nearest_wins(tmp_path):
    prefix = fmriprep_run(tmp_path, "01", "1")
    folder = tmp_path / "sub-01" / "ses-1" / "func"
    bold = folder / f"{prefix}_space-{SPACE}_desc-preproc_bold.nii.gz"
    (tmp_path / "task-rest_bold.json").write_text(json.dumps({"RepetitionTime": 2.0, "EchoTime": 0.03}))
    (tmp_path / "task-nback_bold.json").write_text(json.dumps({"RepetitionTime": 9.0}))
    (folder / f"{prefix}_space-{SPACE}_desc-preproc_bold.json").write_text(json.dumps({"RepetitionTime": 2.5}))
    assert sidecar(bold, tmp_path) == {"RepetitionTime": 2.5, "EchoTime": 0.03}
    (folder / f"{prefix}_space-{SPACE}_desc-preproc_bold.json").write_text("{")
    with pytest.raises(InputError, match="not a readable JSON object"):
        sidecar(bold, tmp_path)


def test_entities():
    assert entities_of("sub-01_task-rest_run-2_bold.nii.gz") == {"sub": "01", "task": "rest", "run": "2"}
