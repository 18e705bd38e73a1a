"""A small study on disk, in fMRIPrep's form or normalised with rp_*.txt: patients twice, controls once, known effects.

Seed `a` goes with region ALPHA in patients and not in controls. In patients it goes with region BETA: in responders the
coupling falls from the first visit to the second, in nonresponders it rises.
"""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd

from rsfc_gpu.images.nifti import save_volume

SHAPE, N_VOLUMES, TR_S = (14, 16, 14), 80, 2.0
AFFINE = np.array([[-10.0, 0, 0, 65], [0, 10, 0, -95], [0, 0, 10, -55], [0, 0, 0, 1]])
SEED_A, SEED_B = (slice(3, 5), slice(4, 6), slice(4, 6)), (slice(9, 11), slice(4, 6), slice(4, 6))
ALPHA, BETA = (slice(4, 7), slice(9, 12), slice(8, 11)), (slice(8, 11), slice(9, 12), slice(3, 6))
SPACE = "MNI152NLin6Asym"

STUDY = """
name = "small"
[scan]
task = "rest"
discard_volumes = 2
fwhm_mm = 0.0
[denoise]
preset = "dparsf"
motion_model = "6"
minimum_dof = 5.0
[seeds]
spheres = [
    { name = "a", xyz_mm = [30, -50, -10], radius_mm = 9 },
    { name = "b", xyz_mm = [-30, -50, -10], radius_mm = 9 },
]
[participants]
score = "hamd17"
follow_up = ["after"]
response_visit = "after"
reason_column = "reason"
[[models]]
name = "patients-controls"
kind = "two_sample"
group = "group"
levels = ["MDD", "HC"]
covariates = ["age", "sex", "mean_fd_power_mm"]
variances = "equal"
contrasts = [{ name = "patients-controls", weights = "MDD - HC" }]
[[models]]
name = "response-time"
kind = "flexible_factorial"
who = { group = ["MDD"] }
sessions = ["baseline", "after"]
group = "response"
levels = ["responder", "nonresponder"]
covariance = "independent"
[[models.contrasts]]
name = "interaction"
test = "F"
weights = "responder@after - responder@baseline - nonresponder@after + nonresponder@baseline"
[[models.contrasts]]
name = "time"
test = "F"
weights = "responder@after - responder@baseline + nonresponder@after - nonresponder@baseline"
[[models]]
name = "responders-nonresponders"
kind = "two_sample"
who = { group = ["MDD"] }
group = "response"
levels = ["responder", "nonresponder"]
variances = "equal"
contrasts = [{ name = "responders-nonresponders", weights = "responder - nonresponder" }]
[associations]
models = ["patients-controls", "response-time", "responders-nonresponders"]
outcomes = ["after"]
partial = ["age"]
post_hoc = ["response-time"]
[roc]
models = ["responders-nonresponders"]
folds = 3
repeats = 2
[report]
rows = [{ column = "age" }, { column = "sex", kind = "categorical", level = "F" }]
columns = [{ name = "MDD", where = { group = "MDD" } }, { name = "HC", where = { group = "HC" } }]
comparisons = [["MDD", "HC"]]
"""


def participants(n_patients: int = 12, n_controls: int = 8) -> pd.DataFrame:
    """The table of participants: ids with "sub-", every other patient a responder."""
    rng = np.random.default_rng(1)
    ids = [f"sub-P{n:02}" for n in range(n_patients)] + [f"sub-C{n:02}" for n in range(n_controls)]
    n = len(ids)
    return pd.DataFrame(
        {
            "participant_id": ids,
            "group": ["MDD"] * n_patients + ["HC"] * n_controls,
            "age": rng.integers(20, 60, n),
            "sex": np.where(np.arange(n) % 3 == 0, "M", "F"),
            "reason": "n/a",
        }
    )


def write_dataset(root: Path, *, form: str = "fmriprep", n_patients: int = 12, n_controls: int = 8) -> Path:
    """The dataset at `root`; `form` is "fmriprep" or "normalised"."""
    table = participants(n_patients, n_controls)
    root.mkdir(parents=True, exist_ok=True)
    table.to_csv(root / "participants.tsv", sep="\t", index=False)
    scores = []
    for number, person in enumerate(table.itertuples(index=False)):
        patient = person.group == "MDD"
        responder = number % 2 == 0
        if patient:
            scores += [
                (person.participant_id, "baseline", 24),
                (person.participant_id, "after", 6 + number % 4 if responder else 18 + number % 4),
            ]
        for visit in ("baseline", "after") if patient else ("baseline",):
            beta = (0.9 if responder else 0.0) if visit == "baseline" else (0.0 if responder else 0.9)
            write_run(
                root,
                person.participant_id,
                visit,
                form=form,
                alpha=0.9 * patient,
                beta=beta * patient,
                seed=2 * number + (visit == "after"),
            )
    (root / "phenotype").mkdir(exist_ok=True)
    pd.DataFrame(scores, columns=["participant_id", "session_id", "hamd17"]).assign(
        session_id=lambda frame: "ses-" + frame["session_id"]
    ).to_csv(root / "phenotype" / "hamd17.tsv", sep="\t", index=False)
    if form == "normalised":
        for label, part in (("WM", slice(6, 8)), ("CSF", slice(12, 13))):
            mask = np.zeros(SHAPE, dtype=np.uint8)
            mask[2:12, 2:14, part] = 1
            save_volume(root / f"tpl-{SPACE}" / f"tpl-{SPACE}_label-{label}_mask.nii.gz", mask, AFFINE)
    return root


def brain() -> np.ndarray:
    inside = np.zeros(SHAPE, dtype=np.uint8)
    inside[1:13, 1:15, 1:13] = 1
    return inside


def write_run(
    root: Path,
    person: str,
    visit: str,
    *,
    form: str,
    alpha: float,
    beta: float,
    seed: int,
    run: str = "",
    n_marked: int = 3,
) -> Path:
    """One run; returns the path of its image."""
    rng = np.random.default_rng(seed)
    inside = brain().astype(bool)
    data = rng.normal(size=(*SHAPE, N_VOLUMES))
    signals = rng.normal(size=(2, N_VOLUMES))
    kernel = np.hanning(9)
    signals = np.stack([np.convolve(one, kernel / np.linalg.norm(kernel), mode="same") for one in signals])
    data[SEED_A] = 0.5 * data[SEED_A] + signals[0]
    data[SEED_B] = 0.5 * data[SEED_B] + signals[1]
    data[ALPHA] += alpha * signals[0]
    data[BETA] += beta * signals[0]
    from scipy import ndimage

    data = ndimage.gaussian_filter(data, (0.6, 0.6, 0.6, 0))
    image = np.where(inside[..., None], 1000 + 40 * data, 0)
    if form == "fmriprep":
        image[..., :n_marked] *= 1.3  # not yet in steady state
    folder = root / person / f"ses-{visit}" / "func"
    prefix = f"{person}_ses-{visit}_task-rest{run}"
    stem = f"{prefix}_space-{SPACE}"
    bold = folder / f"{stem}_desc-preproc_bold.nii.gz"
    save_volume(bold, image.astype(np.int16), AFFINE, tr_s=TR_S)
    bold.with_name(f"{stem}_desc-preproc_bold.json").write_text(json.dumps({"RepetitionTime": TR_S}))
    save_volume(folder / f"{stem}_desc-brain_mask.nii.gz", brain(), AFFINE)
    motion = 0.01 * np.cumsum(rng.normal(size=(N_VOLUMES, 6)), axis=0) * [1, 1, 1, 0.01, 0.01, 0.01]
    if form == "normalised":
        np.savetxt(folder / f"rp_{prefix}.txt", motion)
        return bold
    table = pd.DataFrame(motion, columns=["trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"])
    series = image[inside].mean(axis=0)
    table["white_matter"] = image[2:12, 2:14, 6:8].mean(axis=(0, 1, 2))
    table["csf"] = image[2:12, 2:14, 12].mean(axis=(0, 1))
    table["global_signal"] = series
    fd = np.abs(np.diff(motion, axis=0)) @ np.array([1, 1, 1, 50, 50, 50])
    table["framewise_displacement"] = ["n/a", *fd]
    for n in range(n_marked):
        table[f"non_steady_state_outlier{n:02}"] = (np.arange(N_VOLUMES) == n).astype(int)
    table.to_csv(folder / f"{prefix}_desc-confounds_timeseries.tsv", sep="\t", index=False)
    return bold


def voxels(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj)
