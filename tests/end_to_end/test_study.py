"""Whole studies on small datasets: what is planted is found, and everything that is wrong is named."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from rsfc_gpu.cli import main
from rsfc_gpu.errors import InputError
from rsfc_gpu.report.tables import read_tsv
from rsfc_gpu.study.clinical_stage import _table_one
from rsfc_gpu.study.config import Report, load_study, parse_study
from rsfc_gpu.study.run import RunOptions, _analysed_people, run_study
from study_dataset import ALPHA, BETA, STUDY, voxels, write_dataset, write_run

QUIET = RunOptions(device="cpu", jobs=2, report=False)
STUDY_SETTINGS = parse_study(STUDY, "small")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("fmriprep"))


@pytest.fixture(scope="module")
def out(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out") / "study"
    run_study(dataset, folder, STUDY_SETTINGS, QUIET)
    return folder


def files_of(folder):
    """Every file that must not differ between two runs of a study."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and "logs" not in path.parts
        and path.name not in ("provenance.json", "dataset_description.json")
    }


def test_planted_effects_are_found_in_the_right_contrast(out):
    clusters = read_tsv(out / "group" / "clusters.tsv")
    found = clusters[clusters["significant"]]
    of = {name: found[found["contrast"] == name] for name in found["contrast"].unique()}
    for contrast, region, sign in (
        ("patients-controls", ALPHA, 1),
        ("interaction", BETA, -1),
        ("responders-nonresponders", BETA, 1),
    ):
        best = of[contrast].sort_values("voxels").iloc[-1]
        assert (best["seed"], best["sign"]) == ("a", sign), contrast
        folder = out / "group" / f"model-{best['model'].replace('-', '')}"
        direction = "" if contrast == "interaction" else "dir-positive_"
        labels = voxels(folder / f"{folder.name}_seed-a_contrast-{contrast.replace('-', '')}_{direction}dseg.nii.gz")
        assert (labels[region] == best["cluster"]).mean() > 0.5, contrast
    assert "time" not in of or of["time"]["voxels"].max() <= 3  # nothing was planted there


def test_numbers_of_clusters_are_those_of_the_maps(out):
    values = read_tsv(out / "clinical" / "cluster_values.tsv")
    row = values[(values["contrast"] == "patients-controls") & (values["seed"] == "a")].iloc[3]
    labels = voxels(
        out
        / "group"
        / "model-patientscontrols"
        / "model-patientscontrols_seed-a_contrast-patientscontrols_dir-positive_dseg.nii.gz"
    )
    stem = f"{row['participant_id']}/ses-{row['session_id']}/func/{row['participant_id']}_ses-{row['session_id']}"
    z = voxels(out / f"{stem}_task-rest_space-MNI152NLin6Asym_seed-a_stat-z_statmap.nii.gz")
    assert row["z"] == pytest.approx(z[labels == row["cluster"]].mean(dtype=np.float64), abs=1e-6)
    means = read_tsv(out / "group" / "cell_means.tsv")
    one = means[(means["contrast"] == "patients-controls") & (means["cell"] == "MDD") & (means["seed"] == "a")].iloc[0]
    same = values[
        (values["contrast"] == "patients-controls") & (values["seed"] == "a") & (values["cluster"] == one["cluster"])
    ]
    same = same[(same["direction"] == one["direction"]) & (same["group"] == "MDD") & (same["session_id"] == "baseline")]
    assert one["mean"] == pytest.approx(same["z"].mean()) and one["n"] == len(same) == 12


def test_circular_figures_are_marked_and_an_honest_one_stands_beside(out):
    associations = read_tsv(out / "clinical" / "associations.tsv")
    circular = associations.groupby("contrast")["circular"].all()
    assert not circular["patients-controls"] and circular["interaction"] and circular["responders-nonresponders"]
    assert (associations["family_size"] == associations["p"].notna().sum()).all()
    roc = read_tsv(out / "clinical" / "roc.tsv")
    best = roc.sort_values("auc").iloc[-1]
    assert best["circular"] and best["auc"] > 0.9 and best["cv_folds"] == 6
    assert 0.5 <= best["cv_auc_mean"] <= best["auc"] + 1e-9
    post_hoc = read_tsv(out / "clinical" / "post_hoc.tsv")
    one = (post_hoc["contrast"] == "interaction") & (post_hoc["seed"] == "a") & (post_hoc["cluster"] == 1)
    falls = post_hoc[one].set_index("level")["difference"]
    assert falls["responder"] > 0 > falls["nonresponder"]


def test_volumes_before_steady_state_are_discarded_once_from_everything(out):
    flow = read_tsv(out / "participants_flow.tsv")
    assert (flow["n_discarded"] == 3).all() and (flow["n_volumes"] == 77).all()  # 3 marked, 2 by the study
    motion = next(out.rglob("*desc-motion_timeseries.tsv"))
    assert len(read_tsv(motion)) == 77
    sidecar = json.loads(next(out.rglob("*seed-a_stat-z_statmap.json")).read_text())
    assert sidecar["Volumes"] == 77 and sidecar["Settings"]["discard_volumes"] == 3


def test_a_second_run_computes_nothing_and_changes_nothing(dataset, out, tmp_path):
    before = files_of(out)
    again = run_study(dataset, out, STUDY_SETTINGS, QUIET)
    assert again.n_reused == len(again.flow) and files_of(out) == before
    moved = shutil.copytree(dataset, tmp_path / "copy", copy_function=shutil.copyfile)
    assert run_study(moved, out, STUDY_SETTINGS, QUIET).n_reused == len(again.flow)  # dates differ, contents do not


def test_chunks_give_the_same_bytes(dataset, out, tmp_path):
    chunks = tmp_path / "chunks"
    people = [path.name for path in sorted(dataset.glob("sub-*"))]
    for part in (people[:7], people[7:]):
        run_study(
            dataset, chunks, STUDY_SETTINGS, RunOptions(level="participant", participants=part, device="cpu", jobs=1)
        )
    assert not (chunks / "participants_flow.tsv").exists()
    run_study(dataset, chunks, STUDY_SETTINGS, RunOptions(level="group", device="cpu", jobs=1, report=False))
    assert files_of(chunks) == files_of(out)


def test_what_changed_is_done_again_and_nothing_else(dataset, out, tmp_path):
    changed = shutil.copytree(dataset, tmp_path / "bids")
    folder = shutil.copytree(out, tmp_path / "out")
    write_run(changed, "sub-P03", "after", form="fmriprep", alpha=0.9, beta=0.9, seed=999)
    outcome = run_study(changed, folder, STUDY_SETTINGS, QUIET)
    assert outcome.n_reused == len(outcome.flow) - 1
    broken = next(folder.rglob("sub-P01*seed-a_stat-z_statmap.nii.gz"))
    broken.write_bytes(broken.read_bytes()[:-9])
    assert run_study(changed, folder, STUDY_SETTINGS, QUIET).n_reused == len(outcome.flow) - 1


def test_no_result_of_before_stays_where_there_is_none_now(dataset, out, tmp_path):
    changed, folder = shutil.copytree(dataset, tmp_path / "bids"), shutil.copytree(out, tmp_path / "out")
    assert "patients-controls" in set(read_tsv(folder / "group" / "clusters.tsv")["model"])
    for path in changed.glob("sub-C*/**/*_bold.nii.gz"):
        path.write_bytes(path.read_bytes()[:20000])
    assert run_study(changed, folder, STUDY_SETTINGS, QUIET).count("failed") == 8
    assert not list(folder.glob("sub-C*/**/*.nii.gz")) and list(folder.glob("sub-P*/**/*.nii.gz"))
    assert "patients-controls" not in set(read_tsv(folder / "group" / "clusters.tsv")["model"])
    of_model = {path.name for path in (folder / "group" / "model-patientscontrols").iterdir()}
    assert of_model == {"design.tsv", "model.json"}


def test_a_model_and_a_seed_of_before_leave_nothing(dataset, out, tmp_path):
    folder = shutil.copytree(out, tmp_path / "out")
    mine = folder / "group" / "model-patientscontrols" / "notes.txt"
    mine.write_text("somebody's own")
    renamed = parse_study(STUDY.replace('"patients-controls"', '"groups"'), "small")
    run_study(dataset, folder, renamed, QUIET)
    assert {path.name for path in mine.parent.iterdir()} == {"notes.txt"}
    assert (folder / "group" / "model-groups" / "model.json").is_file()
    one_seed = renamed.model_copy(
        update={"seeds": renamed.seeds.model_copy(update={"spheres": renamed.seeds.spheres[:1]})}
    )
    run_study(dataset, folder, one_seed, QUIET)
    assert list(folder.rglob("*seed-a_*")) and not list(folder.rglob("*seed-b_*"))


def test_scores_of_controls_change_nothing_where_the_treated_are_named(dataset, out, tmp_path):
    """Nor do levels that are codes, or reasons in two spellings."""
    changed = shutil.copytree(dataset, tmp_path / "bids")
    scores = [f"sub-C{n:02}\t{visit}\t{value}\n" for n in range(5) for visit, value in (("baseline", n), ("after", 1))]
    with (changed / "phenotype" / "hamd17.tsv").open("a") as table:
        table.writelines(scores)
    people = pd.read_csv(changed / "participants.tsv", sep="\t", keep_default_na=False)
    people["group"] = people["group"].map({"MDD": 1, "HC": 0})
    people.loc[:1, "reason"] = ["Moved", "moved"]
    people.to_csv(changed / "participants.tsv", sep="\t", index=False)
    coded = STUDY.replace("MDD - HC", "group").replace('"MDD"', '"1"').replace('"HC"', '"0"')
    with pytest.raises(InputError, match="hamd17: sub-C00 has 0 at baseline.*participants.treated"):
        run_study(changed, tmp_path / "out", parse_study(coded, "coded"), QUIET)
    treated = coded.replace("[participants]", '[participants]\ntreated = { group = ["1"] }')
    run_study(changed, tmp_path / "out", parse_study(treated, "coded"), QUIET)
    for name in ("associations", "roc", "post_hoc"):
        found, expected = (read_tsv(folder / "clinical" / f"{name}.tsv") for folder in (tmp_path / "out", out))
        pd.testing.assert_frame_equal(found, expected)
    assert len(read_tsv(tmp_path / "out" / "clinical" / "table_one.tsv").columns) == len(
        read_tsv(out / "clinical" / "table_one.tsv").columns
    )


def test_the_motion_of_a_participant_is_that_of_baseline():
    scans = pd.DataFrame(
        {
            "participant_id": ["sub-1", "sub-1", "sub-2"],
            "session_id": ["after", "baseline", "after"],
            "mean_fd_power_mm": [0.3, 0.1, 0.2],
        }
    )
    people = pd.DataFrame({"participant_id": ["sub-2", "sub-1", "sub-3"]})
    found = _analysed_people(people, scans, "baseline").set_index("participant_id")["mean_fd_power_mm"]
    assert found.to_dict() == {"sub-1": 0.1, "sub-2": 0.2}


def test_nothing_is_said_of_those_who_were_not_asked_for(dataset, tmp_path):
    some = ["P00", "P01", "P02", "P03", "P04", "P05", "C00", "sub-C01", "C02"]
    options = RunOptions(device="cpu", jobs=2, report=False, participants=some)
    flow = run_study(dataset, tmp_path / "out", STUDY_SETTINGS, options).flow
    assert set(flow["participant_id"].str[4:]) == {name.removeprefix("sub-") for name in some}


def test_a_dataset_with_rp_files_runs_too(tmp_path):
    dataset = write_dataset(tmp_path / "bids", form="normalised", n_patients=10, n_controls=4)
    outcome = run_study(dataset, tmp_path / "out", STUDY_SETTINGS, QUIET)
    assert outcome.count("kept") == 24
    assert json.loads((tmp_path / "out" / "provenance.json").read_text())["input_form"] == "normalised"
    assert set(outcome.flow["n_discarded"]) == {0}


def test_two_runs_of_a_visit_are_averaged_or_the_first_is_taken(dataset, tmp_path):
    changed = shutil.copytree(dataset, tmp_path / "bids")
    folder = changed / "sub-C00" / "ses-baseline" / "func"
    shutil.rmtree(folder)
    for run in ("1", "2"):
        write_run(
            changed, "sub-C00", "baseline", form="fmriprep", alpha=0, beta=0, seed=500 + int(run), run=f"_run-{run}"
        )
    out = tmp_path / "out"
    run_study(changed, out, STUDY_SETTINGS, QUIET)
    stem = "sub-C00_ses-baseline_task-rest{}_space-MNI152NLin6Asym_seed-a_stat-z_statmap.nii.gz"
    maps = out / "sub-C00" / "ses-baseline" / "func"
    single = [voxels(maps / stem.format(f"_run-{run}")).astype(float) for run in "12"]
    flow = read_tsv(out / "participants_flow.tsv")
    dof = flow.loc[flow["participant_id"] == "sub-C00", "dof"].to_numpy()
    np.testing.assert_allclose(
        voxels(maps / stem.format("")), (dof[0] * single[0] + dof[1] * single[1]) / dof.sum(), atol=1e-6
    )
    first = parse_study(STUDY.replace("[scan]", '[scan]\nruns = "first"'), "small")
    outcome = run_study(changed, tmp_path / "first", first, QUIET)
    assert outcome.flow.loc[outcome.flow["participant_id"] == "sub-C00", "status"].tolist() == ["kept", "excluded"]


@pytest.mark.parametrize("names", [("_acq-long", "_acq-short"), ("", "_run-2")])
def test_the_mean_of_runs_takes_the_place_of_none(dataset, tmp_path, names):
    """Two acquisitions have no number to leave out; a run without a number has the name that the mean would have."""
    changed, out = shutil.copytree(dataset, tmp_path / "bids"), tmp_path / "out"
    shutil.rmtree(changed / "sub-C00" / "ses-baseline" / "func")
    for seed, name in enumerate(names):
        write_run(changed, "sub-C00", "baseline", form="fmriprep", alpha=0, beta=0, seed=500 + seed, run=name)
    run_study(changed, out, STUDY_SETTINGS, RunOptions(level="participant", device="cpu", jobs=2))
    before = {path: path.read_bytes() for path in out.rglob("sub-C00*statmap.nii.gz")}
    assert len(before) == 4
    run_study(changed, out, STUDY_SETTINGS, QUIET)
    assert all(path.read_bytes() == content for path, content in before.items())
    maps = {path.name: voxels(path).astype(float) for path in out.rglob("sub-C00*seed-a_*statmap.nii.gz")}
    mean = maps.pop(next(name for name in maps if name.endswith("_desc-average_statmap.nii.gz")))
    one, other = maps.values()
    ratio = ((mean - one) / (other - one))[np.isfinite(mean) & (one != other)]
    assert 0.2 < ratio.min() <= ratio.max() < 0.8
    again = run_study(changed, out, STUDY_SETTINGS, QUIET)
    assert again.n_reused == len(again.flow)


@pytest.fixture(scope="module")
def spoilt(dataset, tmp_path_factory):
    """A torn image, and a run with 2.6 mm of movement."""
    changed = shutil.copytree(dataset, tmp_path_factory.mktemp("spoilt") / "bids")
    torn = next((changed / "sub-P02" / "ses-after").rglob("*_bold.nii.gz"))
    torn.write_bytes(torn.read_bytes()[:20000])
    moved = next((changed / "sub-P04" / "ses-baseline").rglob("*confounds*.tsv"))
    table = pd.read_csv(moved, sep="\t", dtype=str, keep_default_na=False)
    table.loc[40, "trans_z"] = "2.6"
    table.to_csv(moved, sep="\t", index=False)
    return changed


def test_bad_runs_are_rows_with_a_reason_and_take_the_participant_with_them(spoilt, tmp_path):
    run_study(spoilt, tmp_path, STUDY_SETTINGS, QUIET)
    flow = read_tsv(tmp_path / "participants_flow.tsv").set_index(["participant_id", "session_id"])
    torn, moved = flow.loc[("sub-P02", "after")], flow.loc[("sub-P04", "baseline")]
    assert torn["status"] == "failed" and "damaged" in torn["reason"]
    assert (moved["stage"], moved["status"]) == ("motion", "excluded") and "translation 2.6" in moved["reason"]
    for visit in (("sub-P02", "baseline"), ("sub-P04", "after")):
        assert (flow.loc[visit, "stage"], flow.loc[visit, "status"]) == ("participant", "excluded")
    scans = read_tsv(tmp_path / "group" / "model-responsetime" / "design.tsv")
    assert len(scans) == 20 and not {"sub-P02", "sub-P04"} & set(scans["participant_id"])
    lenient = parse_study(STUDY.replace("[participants]", "[participants]\nevery_visit = false"), "small")
    assert run_study(spoilt, tmp_path, lenient, QUIET).count("kept") == 30


@pytest.mark.slow
def test_the_command_writes_a_report_and_reads_its_own_study(spoilt, tmp_path, capsys):
    study = tmp_path / "study.toml"
    study.write_text(STUDY)
    out = tmp_path / "out"
    assert main(["run", str(spoilt), str(out), "--study", str(study), "--device", "cpu"]) == 4
    assert "failed: sub-P02 after" in capsys.readouterr().out
    assert (out / "report.html").stat().st_size > 10000
    assert load_study(out / "study.toml") == STUDY_SETTINGS


def test_only_failures_is_exit_code_5(dataset, tmp_path):
    changed = shutil.copytree(dataset, tmp_path / "bids")
    for path in changed.rglob("*_bold.nii.gz"):
        path.write_bytes(path.read_bytes()[:20000])
    study = tmp_path / "study.toml"
    study.write_text(STUDY)
    command = ["run", str(changed), str(tmp_path / "out"), "participant", "--study", str(study), "--device", "cpu"]
    assert main(command) == 5
    assert str(changed) not in next((tmp_path / "out").rglob("*desc-run_record.json")).read_text()


def test_a_folder_that_takes_no_log_is_exit_code_6(dataset, tmp_path, capsys, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    study = tmp_path / "study.toml"
    study.write_text(STUDY)
    monkeypatch.setattr("logging.FileHandler", refused)
    assert main(["run", str(dataset), str(tmp_path / "out"), "--study", str(study), "--device", "cpu"]) == 6
    assert ".log: Permission denied" in capsys.readouterr().err


def test_a_study_without_a_run_left_is_exit_code_5_and_says_so(dataset, tmp_path, capsys):
    study = tmp_path / "study.toml"
    study.write_text(STUDY.replace("minimum_dof = 5.0", "minimum_dof = 500.0"))
    command = ["run", str(dataset), str(tmp_path / "out"), "--study", str(study), "--device", "cpu"]
    assert main(command) == 5
    told = capsys.readouterr()
    assert "0 kept" in told.out and "not fitted: patients-controls: " in told.out
    assert "no run is left to analyse" in told.err


#: What is wrong: the text of the study that is replaced, by what, and a part of the message.
WRONG_STUDIES = {
    "unknown key": ("[scan]", '[scan]\ntsk = "rest"', "did you mean task?"),
    "unknown column": ('covariates = ["age",', 'covariates = ["agee",', "did you mean age?"),
    "unknown group column": ("[participants]", '[participants]\ngroup = "grp"', "no column 'grp'"),
    "unknown session": ('["baseline", "after"]', '["before", "later"]', "no usable scan of session before or later"),
    "unknown level": ('levels = ["MDD", "HC"]', 'levels = ["MDD", "control"]', "'control'"),
    "unknown task": ('task = "rest"', 'task = "nback"', "nback"),
    "unknown space": ('task = "rest"', 'space = "MNI152NLin2009cAsym"', "MNI152NLin6Asym"),
    "wrong repetition time": ('task = "rest"', "tr_s = 3.0", "repetition time 2 s"),
    "unknown contrast": ('"MDD - HC"', '"MDD - Controls"', "Controls"),
    "text as continuous": (', kind = "categorical", level = "F"', "", "column 'sex' is text (such as 'M')"),
    "level of a row": ('level = "F"', 'level = "female"', "nobody has sex = 'female' (report.rows); there are M, F"),
    "level of a column": ('where = { group = "HC" }', 'where = { group = "CON" }', "nobody has group = 'CON'"),
    "unknown comparison": ('comparisons = [["MDD", "HC"]]', 'comparisons = [["MDD", "CON"]]', "names 'CON'"),
    "unknown response": ("folds = 3", 'folds = 3\npositive = "respond"', "roc.positive = 'respond'"),
}


@pytest.mark.parametrize("what", WRONG_STUDIES)
@pytest.mark.parametrize("command", ["check", "run"])
def test_a_wrong_study_is_refused_in_one_line(dataset, tmp_path, capsys, what, command):
    old, new, hint = WRONG_STUDIES[what]
    study = tmp_path / "study.toml"
    study.write_text(STUDY.replace(old, new, 1))
    arguments = [command, str(dataset), *([str(tmp_path / "out")] if command == "run" else []), "--study", str(study)]
    assert main(arguments) == 3
    printed = capsys.readouterr()
    assert hint in printed.err and printed.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def _mixed_tr(root):
    sidecar = next((root / "sub-P01").rglob("*_bold.json"))
    sidecar.write_text('{"RepetitionTime": 2.5}')


def _unknown_person(root):
    path = root / "participants.tsv"
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if "sub-C03" not in line))


def _twice(root):
    with (root / "participants.tsv").open("a") as table:
        table.write("P01\tMDD\t30\tF\tn/a\n")


def _bad_number(root):
    path = root / "phenotype" / "hamd17.tsv"
    path.write_text(path.read_text().replace("\t24\n", "\t24,5\n", 1))


def _score_of_a_stranger(root):
    path = root / "phenotype" / "hamd17.tsv"
    path.write_text(path.read_text().replace("sub-P00", "sub-Q00"))


def _score_of_zero(root):
    path = root / "phenotype" / "hamd17.tsv"
    path.write_text(path.read_text().replace("\t24\n", "\t0\n", 1))


def _not_utf8(root):
    path = root / "participants.tsv"
    path.write_bytes(path.read_bytes().replace(b"n/a", b"M\xfcller", 1))


def _no_participants(root):
    (root / "participants.tsv").unlink()


def _broken_sidecar(root):
    next(root.rglob("*_bold.json")).write_text("{")


def _level_in_two_spellings(root):
    path = root / "participants.tsv"
    path.write_text(path.read_text().replace("\tMDD\t", "\tmdd\t", 1))


def _missing_in_other_words(root):
    path = root / "participants.tsv"
    path.write_text(path.read_text().replace("\tMDD\t", "\tNA\t", 1))


def _no_images(root):
    for folder in root.glob("sub-*"):
        shutil.rmtree(folder)


def _other_grid(root):
    """Of a run of the first patient, or of the one image that is given."""
    import nibabel

    path = root if root.is_file() else next((root / "sub-P01").rglob("*_bold.nii.gz"))
    image = nibabel.load(path)
    affine = image.affine.copy()
    affine[0, 3] += 3
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), affine, image.header), path)


@pytest.mark.parametrize(
    ("spoil", "hint"),
    [
        (_mixed_tr, "different repetition times"),
        (_unknown_person, "sub-C03"),
        (_twice, "two rows for sub-P01"),
        (_bad_number, "'24,5' is not a number; write decimal points"),
        (_other_grid, "another grid"),
        (_score_of_a_stranger, "hamd17: scores of sub-Q00, with no row in participants.tsv"),
        (_score_of_zero, "hamd17: sub-P00 has 0 at baseline"),
        (_not_utf8, "not UTF-8"),
        (_no_participants, "participants.tsv: no such file; a dataset has a table of its people there"),
        (_broken_sidecar, "not a readable JSON object"),
        (_no_images, "no folder sub-*"),
        (_level_in_two_spellings, "column 'group' holds 'mdd' and 'MDD'"),
        (_missing_in_other_words, "column 'group' holds 'NA' (sub-P00); write n/a for a missing value"),
    ],
)
def test_a_wrong_dataset_is_refused_in_one_line(dataset, tmp_path, capsys, spoil, hint):
    changed = shutil.copytree(dataset, tmp_path / "bids")
    spoil(changed)
    study = tmp_path / "study.toml"
    study.write_text(STUDY)
    assert main(["check", str(changed), "--study", str(study)]) == 3
    printed = capsys.readouterr()
    assert hint in printed.err and printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["check", "{empty}"], "no folder sub-*"),
        (["check", "{file}"], "no such folder"),
        (["run", "{bids}", "{bids}"], "must not be the dataset"),
        (["run", "{bids}", "{bids}/sub-P00"], "not the output of a study"),
        (["run", "{bids}", "{out}", "--jobs", "-1"], "jobs = -1: must be at least 1"),
        (["run", "{bids}", "{out}", "--participant-label", "P00", "P99"], "no participant sub-P99"),
        (["run", "{bids}", "{out}", "--participant-label", "P00", "P01"], "no level 'HC'"),
        (["run", "{bids}", "{out}", "--participant-label", "P00"], "level participant makes the maps alone"),
        (["report", "{empty}"], "{empty}"),
        (["init", "{file}"], "exists; give another name"),
        (["simulate", "{out}", "--jobs", "-1"], "jobs = -1: must be at least 1"),
        (["simulate", "{out}", "--participants", "0"], "0 participants: at least 12"),
        (["simulate", "{bids}"], "not an empty folder"),
        (["demo", "{out}", "--jobs", "0"], "jobs = 0: must be at least 1"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(dataset, tmp_path, capsys, arguments, hint):
    study, empty, file, out = (tmp_path / name for name in ("study.toml", "empty", "file", "out"))
    study.write_text(STUDY)
    empty.mkdir()
    file.write_text("not a dataset")
    known = {"bids": str(dataset), "empty": str(empty), "file": str(file), "out": str(out)}
    given = [one.format(**known) for one in arguments]
    with_study = ["--study", str(study)] if given[0] in ("run", "check") else []
    assert main([*given, *with_study]) == 3
    printed = capsys.readouterr()
    assert hint.format(**known) in printed.err and printed.err.count("\n") == 1
    assert not out.exists()


def test_check_says_how_many_maps_and_which_levels_a_model_has(dataset, tmp_path, capsys):
    study = tmp_path / "study.toml"
    study.write_text(STUDY)
    assert main(["check", str(dataset), "--study", str(study)]) == 0
    told = capsys.readouterr().out
    people = read_tsv(dataset / "participants.tsv")
    n = people["group"].value_counts()
    assert f"patients-controls: two_sample, {n['MDD'] + n['HC']} maps (MDD {n['MDD']}, HC {n['HC']})" in told
    assert "covariates: age, sex (" in told


def test_check_says_which_runs_will_fail(dataset, tmp_path, capsys):
    changed = shutil.copytree(dataset, tmp_path / "bids")
    table = next((changed / "sub-P01").rglob("*confounds*.tsv"))
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:51]))
    study = tmp_path / "study.toml"
    study.write_text(STUDY)
    next((changed / "sub-P02" / "ses-after").rglob("*_bold.nii.gz")).unlink()
    _other_grid(next((changed / "sub-P03").rglob("*_mask.nii.gz")))
    assert main(["check", str(changed), "--study", str(study)]) == 4
    told = capsys.readouterr().out
    assert "has 50 rows, the image has 80 volumes" in told
    assert "failed: sub-P02 after: missing: the image" in told
    assert "failed: sub-P03" in told and "are on different grids" in told
    run_study(changed, tmp_path / "out", STUDY_SETTINGS, QUIET)
    flow = read_tsv(tmp_path / "out" / "participants_flow.tsv").set_index(["participant_id", "session_id"])
    assert flow.loc[("sub-P02", "after"), ["status", "reason"]].tolist() == ["failed", "missing: the image"]


def test_table_one_of_numbers_as_categories_and_of_levels_that_nobody_has():
    people = pd.DataFrame({"group": list("aabb"), "ssri": [1.0, 0, 1, 1], "lithium": ["no"] * 4})
    rows = [{"column": name, "kind": "categorical", "level": level} for name, level in (("ssri", "1"), ("lithium", "yes"))]  # fmt: skip # noqa: E501
    report = {"rows": rows, "columns": [{"name": one, "where": {"group": one}} for one in "ab"]}
    study = STUDY_SETTINGS.model_copy(update={"report": Report.model_validate(report)})
    printed = _table_one(people, study)["table_one"]
    assert printed["a (n = 2)"].tolist() == ["1 (50.0 %)", "0 (0.0 %)"]
    assert printed["b (n = 2)"].tolist() == ["2 (100.0 %)", "0 (0.0 %)"]


def test_the_built_in_study_refuses_a_space_that_its_atlas_does_not_accept(tmp_path, capsys):
    dataset = write_dataset(tmp_path / "bids", n_patients=2, n_controls=2)
    for path in sorted(dataset.rglob("*MNI152NLin6Asym*")):
        path.rename(path.with_name(path.name.replace("NLin6Asym", "NLin2009cAsym")))
    study = tmp_path / "study.toml"
    study.write_text('name = "atlas"\n[seeds]\natlas = "juelich-amygdala"\n')
    assert main(["check", str(dataset), "--study", str(study)]) == 3
    assert "MNI152NLin2009cAsym" in capsys.readouterr().err


def test_check_reads_no_volume(dataset, tmp_path, capsys, monkeypatch):
    from rsfc_gpu.images.nifti import BoldSource

    monkeypatch.setattr(BoldSource, "volumes", lambda _: pytest.fail("a volume was read"))
    study = tmp_path / "study.toml"
    study.write_text(STUDY)
    assert main(["check", str(dataset), "--study", str(study)]) == 0
    printed = capsys.readouterr().out
    assert "32 kept, 0 excluded, 0 failed" in printed and "response-time: flexible_factorial, 24 maps" in printed


def test_check_says_where_a_band_is_open(dataset, tmp_path, capsys):
    study = tmp_path / "study.toml"
    for text, shown in ((STUDY, " Hz\n"), (STUDY.replace("[denoise]", "[denoise]\nhigh_hz = 0.9"), "no upper end")):
        study.write_text(text)
        assert main(["check", str(dataset), "--study", str(study)]) == 0
        band = next(line for line in capsys.readouterr().out.splitlines(True) if line.startswith("band "))
        assert shown in band


def test_an_output_folder_of_something_else_is_left_alone(dataset, tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("mine")
    study = tmp_path / "study.toml"
    study.write_text(STUDY)
    assert main(["run", str(dataset), str(tmp_path), "--study", str(study)]) == 3
    assert "not empty" in capsys.readouterr().err
    assert main(["run", str(dataset), str(dataset), "--study", str(study)]) == 3


def test_init_writes_a_study_that_can_be_read(tmp_path, capsys):
    path = tmp_path / "mine.toml"
    assert main(["init", str(path)]) == 0
    assert load_study(path) == load_study() and "#" in path.read_text()
    assert main(["init", str(path)]) == 3


def test_a_dataset_without_sessions_scores_or_groups(tmp_path):
    dataset = write_dataset(tmp_path / "bids", n_patients=0, n_controls=6)
    for folder in sorted(dataset.glob("sub-*/ses-baseline")):
        (folder / "func").rename(folder.parent / "func")
        folder.rmdir()
        for path in sorted((folder.parent / "func").iterdir()):
            path.rename(path.with_name(path.name.replace("_ses-baseline", "")))
    shutil.rmtree(dataset / "phenotype")
    people = pd.read_csv(dataset / "participants.tsv", sep="\t", dtype=str, keep_default_na=False)
    people.drop(columns="group").to_csv(dataset / "participants.tsv", sep="\t", index=False)
    text = STUDY[: STUDY.index("[participants]")] + (
        '[[models]]\nname = "mean"\nkind = "one_sample"\n'
        'contrasts = [{ name = "mean", weights = "mean", directions = "positive" }]\n'
    )
    outcome = run_study(dataset, tmp_path / "out", parse_study(text, "plain"), RunOptions(device="cpu", jobs=2))
    assert outcome.count("kept") == 6 and (tmp_path / "out" / "report.html").is_file()
    clusters = read_tsv(tmp_path / "out" / "group" / "clusters.tsv")
    assert set(clusters["direction"]) == {"positive"} and {"a", "b"} == set(clusters["seed"])
    assert len(read_tsv(tmp_path / "out" / "clinical" / "associations.tsv")) == 0
