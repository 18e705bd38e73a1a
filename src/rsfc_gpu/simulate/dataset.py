"""A simulated cohort on disk, as a BIDS dataset in MNI space; the layout is in the package's docstring."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

import rsfc_gpu
from rsfc_gpu.backend.blas import one_blas_thread
from rsfc_gpu.errors import InputError
from rsfc_gpu.files import replacing, write_text
from rsfc_gpu.images.mask import Mask
from rsfc_gpu.images.nifti import save_volume
from rsfc_gpu.simulate import raw
from rsfc_gpu.simulate.anatomy import SPACE
from rsfc_gpu.simulate.bold import TR_S, SimulatedRun
from rsfc_gpu.simulate.cohort import Cohort, CohortSettings, Scan, plan_cohort
from rsfc_gpu.simulate.participants import CONTROL, VISITS
from rsfc_gpu.simulate.truth import TASK, Truth, bold_file, planted_truth, scan_name

LOST_RADIUS_MM = 20.0  # of the region without signal around one amygdala
KEPT_OF_FILE = 0.6  # of the bytes of the damaged file
HEADS, MOTION_FOLDER = "planted_heads.json", "planted_motion"  # of raw runs
MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
_COLUMNS: dict[str, dict[str, object]] = {
    "group": {"Description": "Diagnosis", "Levels": {"MDD": "major depressive disorder", "HC": "healthy control"}},
    "age": {"Description": "Age", "Units": "years"},
    "sex": {"Description": "Sex", "Levels": {"F": "female", "M": "male"}},
    "education_years": {"Description": "Education", "Units": "years"},
    "bmi": {"Description": "Body mass index", "Units": "kg/m^2"},
    "illness_months": {"Description": "Duration of illness", "Units": "months"},
    "onset_age": {"Description": "Age at the first episode", "Units": "years"},
    "first_episode": {"Description": "Whether this is the first episode", "Levels": {"yes": "yes", "no": "no"}},
    "psychiatric_comorbidity": {"Description": "Any other psychiatric diagnosis", "Levels": {"yes": "yes", "no": "no"}},
    "medication_load": {"Description": "Medication load index: sum over drugs of a weight for the dose"},
    "ssri": {"Description": "Selective serotonin reuptake inhibitor"},
    "snri": {"Description": "Serotonin-norepinephrine reuptake inhibitor"},
    "nassa": {"Description": "Noradrenergic and specific serotonergic antidepressant"},
    "tricyclic": {"Description": "Tricyclic antidepressant"},
    "other_antidepressant": {"Description": "Any other antidepressant"},
    "two_antidepressants": {"Description": "Two antidepressants rather than one"},
    "lithium": {"Description": "Lithium"},
    "antipsychotics": {"Description": "Antipsychotics"},
    "benzodiazepines": {"Description": "Benzodiazepines"},
    "reason_for_leaving": {
        "Description": "Why a treated patient has no images to analyse; n/a for everybody else",
        "Levels": {
            "did not complete six infusions": "fewer than six infusions of ketamine",
            "no MRI": "treated, but not scanned at both visits",
        },
    },
}
_HAMD17 = {
    "MeasurementToolMetadata": {"Description": "Hamilton Depression Rating Scale, 17 items"},
    "session_id": {
        "Description": "Visit",
        "Levels": {
            "ses-baseline": "before treatment",
            "ses-day13": "after six infusions",
            "ses-day19": "follow-up, without images",
        },
    },
    "hamd17": {"Description": "Total score; n/a where it was not taken", "Units": "points, 0 to 52"},
}


_README = f"in {SPACE}; motion parameters are in rp_*.txt (mm, radians).\n"
_RAW_README = f"""as a scanner gives them, after {raw.N_DUMMIES} in which the magnetisation is not steady yet.
{MOTION_FOLDER}/ holds how each head moved: mm and radians, as SPM writes them, against the first volume after those.
{HEADS} holds where each point x of a scanner, mm, lies in the template, mm:
affine x + sum over waves w of amplitude_w sin(wave_w . x + phase_w).
"""


def simulate_cohort(
    out: str | Path,
    settings: CohortSettings | None = None,
    progress: Callable[[int, int], None] | None = None,
    *,
    jobs: int | None = None,
) -> Truth:
    """Write the dataset of a cohort to `out` and return what was planted in it.

    Parameters
    ----------
    out : a folder that does not exist or is empty.
    progress : called with the number of runs written and of all runs, from several threads in turn.
    jobs : runs made at the same time; None is every processor that this process may use. The bytes do not depend on it.

    Raises
    ------
    InputError : `out` holds something, or the settings ask for fewer than 12 participants.
    ResourceError : the folder cannot be written, or an atlas or template is not installed.
    """
    root = Path(out)
    if jobs is not None and jobs < 1:
        raise InputError(f"jobs = {jobs}: must be at least 1")
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise InputError(f"{root} is not an empty folder: give another, or remove it first")
    cohort = plan_cohort(settings or CohortSettings())
    truth = planted_truth(cohort)
    _write_tables(root, cohort, truth)
    if cohort.settings.level == "preprocessed":
        _write_templates(root, cohort)
    done, lock = 0, threading.Lock()

    def one_scan(scan: Scan) -> None:
        nonlocal done
        write_scan(root, cohort, scan)
        with lock:
            done += 1
            if progress:
                progress(done, len(cohort.scans))

    cohort.blobs  # noqa: B018 - made here once, before threads ask for it
    # Threads suffice: drawing numbers, products and compression all release the interpreter's lock.
    with (
        one_blas_thread(),
        ThreadPoolExecutor(jobs or len(os.sched_getaffinity(0)), thread_name_prefix="rsfc-simulate") as pool,
    ):
        for _ in pool.map(one_scan, cohort.scans):
            pass
    return truth


def write_scan(root: Path, cohort: Cohort, scan: Scan) -> None:
    """Write the files of one scan; planted damage is done here."""
    path, fate = root / bold_file(cohort, scan), str(cohort.people.table.loc[scan.row, "fate"])
    if cohort.settings.level == "raw":
        motion = _write_raw_run(path, cohort, scan, fate)
        _write_tsv(root / MOTION_FOLDER / f"{scan_name(scan)}_motion.tsv", motion)
    else:
        _write_run(path, cohort, scan, fate)
    if fate == "damaged" and scan.session == 1:
        whole = path.read_bytes()
        path.write_bytes(whole[: int(KEPT_OF_FILE * len(whole))])


def _write_run(path: Path, cohort: Cohort, scan: Scan, fate: str) -> None:
    run, brain = cohort.simulate(scan), cohort.anatomy.brain
    if fate == "no-seed":
        _lose_region(run)
    volumes, stripped = brain.put(run.samples), cohort.settings.skull_stripped
    if not stripped:
        cohort.fill_background(scan, volumes)
    # Volumes with x fastest, one after the other, is what the file holds.
    save_volume(path, np.moveaxis(volumes, 0, -1), brain.affine, tr_s=run.tr_s)
    sidecar = {
        "TaskName": TASK,
        "RepetitionTime": run.tr_s,
        "SkullStripped": stripped,
        "SpatialReference": SPACE,
        "Description": "Simulated; realigned, normalised and smoothed.",
    }
    _write_json(path.with_name(path.name.replace(".nii.gz", ".json")), sidecar)
    _write_mask(path.with_name(path.name.replace("desc-preproc_bold", "desc-brain_mask")), brain)
    with replacing(path.with_name(f"rp_{scan_name(scan)}.txt")) as temporary:
        np.savetxt(temporary, run.motion, fmt="%16.7e", delimiter="")


def _write_raw_run(path: Path, cohort: Cohort, scan: Scan, fate: str) -> pd.DataFrame:
    """Returns the true motion."""
    run = cohort.simulate_raw(scan)
    save_volume(path, run.samples.T, raw.AFFINE, tr_s=run.tr_s)
    sidecar = {
        "TaskName": TASK,
        "RepetitionTime": run.tr_s,
        "EchoTime": 0.03,
        "SliceTiming": run.slice_times_s.round(6).tolist(),
        "Description": f"Simulated; the first {raw.N_DUMMIES} volumes are not in a steady state.",
    }
    if fate == "no-seed":
        del sidecar["SliceTiming"]
    _write_json(path.with_name(path.name.replace(".nii.gz", ".json")), sidecar)
    return pd.DataFrame(run.motion.round(7), columns=list(MOTION))


def _lose_region(run: SimulatedRun) -> None:
    """Hold the voxels around the right amygdala at their first value: a region that carries no signal."""
    anatomy = run.anatomy
    at = anatomy.seeds.within(anatomy.brain)[0][anatomy.seeds.names.index("LBright")]
    where = anatomy.voxels_mm()
    lost = np.linalg.norm(where - where[at].mean(axis=0), axis=1) <= LOST_RADIUS_MM
    run.samples[:, lost] = run.samples[0, lost]


def _write_tables(root: Path, cohort: Cohort, truth: Truth) -> None:
    table = cohort.people.table
    people = pd.DataFrame({"participant_id": table["participant_id"]})
    people["group"] = np.where(table["response"] == CONTROL, "HC", "MDD")
    for column in _COLUMNS:
        if column != "group":
            people[column] = table[column]
    people.loc[table["fate"] == "no-age", "age"] = np.nan
    _write_tsv(root / "participants.tsv", people)
    ids = {"participant_id": {"Description": "Participant"}}
    _write_json(root / "participants.json", {**ids, **_COLUMNS})
    patients = np.flatnonzero(table["response"] != CONTROL)
    visits = pd.DataFrame(
        {
            "participant_id": np.repeat(table["participant_id"].to_numpy()[patients], len(VISITS)),
            "session_id": [f"ses-{visit}" for visit in VISITS] * len(patients),
            "hamd17": cohort.people.scores[patients].ravel(),
        }
    )
    _write_tsv(root / "phenotype" / "hamd17.tsv", visits)
    _write_json(root / "phenotype" / "hamd17.json", {**ids, **_HAMD17})
    for name, truth_table in (
        ("planted", truth.effects),
        ("planted_faults", truth.faults),
        ("planted_z", truth.connectivity),
    ):
        _write_tsv(root / f"{name}.tsv", truth_table)
    is_raw = cohort.settings.level == "raw"
    if is_raw:
        _write_json(root / HEADS, {bold_file(cohort, scan): cohort.head(scan).facts() for scan in cohort.scans})
    description = {
        "Name": "Simulated cohort with planted connectivity effects",
        "BIDSVersion": "1.9.0",
        "DatasetType": "raw" if is_raw else "derivative",
        "GeneratedBy": [
            {"Name": "rsfc-gpu simulate", "Version": rsfc_gpu.__version__, "Settings": asdict(cohort.settings)}
        ],
    }
    _write_json(root / "dataset_description.json", description)
    write_text(root / ".bidsignore", "planted*\n**/rp_*.txt\ntpl-*/\n")
    write_text(
        root / "README",
        "A simulated study: no person was scanned.\n"
        "planted.tsv lists the effects in the images, planted_faults.tsv what is wrong with some of them,\n"
        f"planted_z.tsv the true connectivity of every scan. Runs have {cohort.settings.n_volumes} volumes,\n"
        f"one every {TR_S:g} s, " + (_RAW_README if is_raw else _README),
    )


def _write_templates(root: Path, cohort: Cohort) -> None:
    """The masks of tissues, which are the same for all runs."""
    anatomy = cohort.anatomy
    start = f"tpl-{SPACE}/tpl-{SPACE}"
    _write_mask(root / f"{start}_label-WM_mask.nii.gz", anatomy.white_matter)
    _write_mask(root / f"{start}_label-CSF_mask.nii.gz", anatomy.csf)
    _write_mask(root / f"{start}_desc-brain_mask.nii.gz", anatomy.brain)


def _write_mask(path: Path, mask: Mask) -> None:
    save_volume(path, mask.inside.astype(np.uint8), mask.affine)


def _write_tsv(path: Path, table: pd.DataFrame) -> None:
    """Tab-separated, n/a where there is nothing; whole numbers without a decimal point."""
    text = table.astype(object).map(_cell).to_csv(sep="\t", index=False, lineterminator="\n")
    write_text(path, text)


def _cell(value: object) -> object:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "n/a"
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _write_json(path: Path, content: object) -> None:
    write_text(path, json.dumps(content, indent=2) + "\n")
