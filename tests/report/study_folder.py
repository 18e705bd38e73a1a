"""A small output folder of a study, as docs/outputs.md describes it, with made-up numbers and hostile names."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from rsfc_gpu.bids.confounds import MOTION_COLUMNS
from rsfc_gpu.preprocess import tissue_masks
from rsfc_gpu.report.tables import write_tsv

HOSTILE = '<script>alert("x")</script><img src=x onerror=alert(1)>'
FORMULA = "=HYPERLINK(1)"
SEEDS = ("LBleft", "CMright")
AFFINE = np.array([[-6.0, 0, 0, 90], [0, 6, 0, -126], [0, 0, 6, -72], [0, 0, 0, 1]])
SHAPE = (31, 37, 31)
N_VOLUMES = 40
_SETTINGS = {
    "detrend_first": False,
    "polynomial_order": 2,
    "motion_model": "friston24-lagged",
    "tissue_signals": ["white_matter", "csf", "global"],
    "low_hz": 0.01,
    "high_hz": 0.1,
    "order": "sequential",
    "scrub": "cut",
    "fd_kind": "power",
    "fd_threshold_mm": 0.5,
    "scrub_before": 1,
    "scrub_after": 1,
    "minimum_dof": 20.0,
}
_RAW = {
    "input_form": "raw",
    "preprocess": {
        "discard_volumes": 10,
        "slice_timing": "interleaved",
        "template": "ICBM152 2009a symmetric tissue maps in EPI contrast",
        "template_digest": None,
        "template_offset": "2.3 mm beside SPM's",
        "stiffness": None,
        "minimum_dice": 0.9,
        "voxel_mm": 3.0,
        "fwhm_mm": 4.0,
        "single_interpolation": False,
    },
}
_CLUSTERS = {  # model, contrast: test, direction, first voxel, peak
    ("patients-controls", "patients-controls", "LBleft", "positive", 1): ("t", (20, 12, 15), 5.2),
    ("patients-controls", "patients-controls", "LBleft", "negative", 1): ("t", (8, 22, 18), 4.6),
    ("response-time", "interaction", "CMright", "positive", 1): ("F", (22, 24, 12), 24.0),
}


def write_study(folder: Path, *, with_results: bool = True, is_raw: bool = False) -> Path:
    """Fill `folder`; without results there are no kept runs, models or clinical tables.

    A study of raw runs has mean images beside its maps, one of which failed; any other was preprocessed by fMRIPrep.
    """
    rng = np.random.default_rng(7)
    people = _people(rng)
    flow = _flow(people, rng, with_results)
    write_tsv(flow, folder / "participants_flow.tsv")
    _json(folder / "study.json", _study())
    (folder / "study.toml").write_text('name = "amygdala & <ketamine>"\n', encoding="utf-8")
    _json(folder / "provenance.json", _provenance() | (_RAW if is_raw else {}))
    _json(folder / "dataset_description.json", {"Name": "derivatives", "BIDSVersion": "1.9.0"})
    if with_results:
        _runs(folder, flow, rng)
        if is_raw:
            _raw_runs(folder, rng)
        _group(folder, rng)
        _clinical(folder, people, rng)
    return folder


def _people(rng: np.random.Generator) -> pd.DataFrame:
    response = ["responder"] * 6 + ["nonresponder"] * 6 + [None] * 12
    reduction = np.where(np.arange(24) < 6, 70.0, 25.0) + rng.normal(0, 8, 24)
    return pd.DataFrame(
        {
            "participant_id": [f"sub-{n:02d}" for n in range(1, 25)],
            "group": ["MDD"] * 12 + [HOSTILE] * 12,
            "response": response,
            "reduction_day13": np.where(np.arange(24) < 12, reduction, np.nan),
            "note": FORMULA,
        }
    )


def _flow(people: pd.DataFrame, rng: np.random.Generator, with_results: bool) -> pd.DataFrame:
    rows = []
    for _, one in people.iterrows():
        for session in ("baseline", "day13") if one["group"] == "MDD" else ("baseline",):
            rows.append({"participant_id": one["participant_id"], "session_id": session, "group": one["group"]})
    flow = pd.DataFrame(rows).assign(run=np.nan, stage="analysed", status="kept", reason=np.nan)
    flow["n_volumes"], flow["n_discarded"] = N_VOLUMES, 10
    flow["n_censored"] = rng.integers(0, 8, len(flow))
    flow["dof"] = rng.normal(30, 3, len(flow))
    flow["mean_fd_power_mm"] = rng.gamma(4, 0.02, len(flow))
    for seed in SEEDS:
        flow[f"coverage_{seed}"] = rng.uniform(0.8, 1, len(flow))
    lost = [
        ("sub-90", "MDD", "enrolment", "excluded", HOSTILE),
        ("sub-91", "MDD", "motion", "excluded", "translation 2.4 mm, at most 2 mm are allowed"),
        ("sub-91", "MDD", "participant", "excluded", "session day13 was left out"),
        ("sub-92", HOSTILE, "images", "failed", FORMULA),
    ]
    names = ["participant_id", "group", "stage", "status", "reason"]
    flow = pd.concat([flow, pd.DataFrame(lost, columns=names)], ignore_index=True)
    if not with_results:
        flow["status"], flow["stage"], flow["reason"] = "failed", "images", "damaged"
        flow["n_volumes"] = np.nan
    return flow


def _study() -> dict[str, object]:
    return {
        "name": "amygdala-ketamine",
        "scan": {"fwhm_mm": 4.0, "normalised_fwhm_mm": 0.0},
        "denoise": _SETTINGS,
        "seeds": {"atlas": "juelich-amygdala"},
        "participants": {
            "maximum_translation_mm": 2.0,
            "maximum_rotation_degrees": 2.0,
            "minimum_seed_coverage": 0.5,
            "every_visit": True,
        },
        "models": [
            {"name": "patients-controls", "levels": ["MDD", HOSTILE]},
            {"name": "response-time"},
            {"name": "skipped-model"},
        ],
        "report": {"title": f"Amygdala {HOSTILE}"},
    }


def _provenance() -> dict[str, object]:
    return {
        "rsfc_gpu": "0.1.0",
        "python": "3.11.2",
        "platform": "Linux",
        "versions": {"numpy": "2.4.6"},
        "backend": "cpu",
        "device": "two cores",
        "seed": 0,
        "command": ["rsfc", "run", "my data", HOSTILE],
        "study_hash": "abc",
        "input_form": "fmriprep",
        "space": "MNI152NLin6Asym",
        "atlas": "Juelich histological atlas: amygdala",
        "atlas_terms": "FSL licence",
        "runs": {"total": 40, "kept": 36},
        "seconds": {"runs": 12.5},
    }


def _runs(folder: Path, flow: pd.DataFrame, rng: np.random.Generator) -> None:
    for number, (_, row) in enumerate(flow[flow["status"] == "kept"].iterrows()):
        if number >= 12:
            break
        name = f"{row['participant_id']}_ses-{row['session_id']}_task-rest_space-MNI152NLin6Asym"
        func = folder / str(row["participant_id"]) / f"ses-{row['session_id']}" / "func"
        func.mkdir(parents=True, exist_ok=True)
        _json(func / f"{name}_seed-LBleft_stat-z_statmap.json", {"Seed": "LBleft", "Settings": _SETTINGS})
        np.save(func / f"{name}_desc-carpet_signals.npy", rng.integers(-90, 90, (60, N_VOLUMES)).astype(np.int8))
        displacement = rng.gamma(2, 0.1, N_VOLUMES)
        kept = displacement < 0.5
        if number % 2:  # an older version wrote no cleaned carpets
            cleaned = rng.integers(-90, 90, (60, int(kept.sum()))).astype(np.int8)
            np.save(func / f"{name}_desc-cleanedcarpet_signals.npy", cleaned)
        motion = pd.DataFrame(rng.normal(0, 0.02, (N_VOLUMES, 6)).cumsum(axis=0), columns=list(MOTION_COLUMNS))
        motion = motion.assign(framewise_displacement=displacement, kept=kept)
        write_tsv(motion, func / f"{name}_desc-motion_timeseries.tsv")


def _raw_runs(folder: Path, rng: np.random.Generator) -> None:
    """What preprocessing leaves beside the maps of every run that _runs has made."""
    brain = tissue_masks(nib.Nifti1Image(np.zeros(SHAPE, np.uint8), AFFINE))["brain"]
    inside = np.asarray(brain.dataobj)
    motion_files = sorted(folder.glob("sub-*/**/func/*_desc-motion_timeseries.tsv"))
    for number, path in enumerate(motion_files):
        is_failed = number == 3
        mean = np.roll(inside, 5 if is_failed else 0, axis=1) * rng.uniform(400, 900, SHAPE)
        stem = path.name.removesuffix("_desc-motion_timeseries.tsv")
        kind = "failedmean" if is_failed else "mean"
        _image(path.with_name(f"{stem}_desc-{kind}_bold.nii.gz"), mean.astype(np.float32))
        reason = f"normalisation failed: Dice with the MNI brain is 0.71 {HOSTILE}" if is_failed else None
        record = {"normalisation_dice": 0.71 if is_failed else 0.97 - 0.002 * number, "reason": reason}
        _json(path.with_name(f"{stem}_desc-run_record.json"), record)


def _group(folder: Path, rng: np.random.Generator) -> None:
    rows = []
    for (model, contrast, seed, direction, cluster), (test, first, peak) in _CLUSTERS.items():
        x, y, z = AFFINE[:3, :3] @ np.array(first) + AFFINE[:3, 3]
        sign = -1 if direction == "negative" else 1
        common = {"model": model, "contrast": contrast, "seed": seed, "test": test, "direction": direction}
        rows.append(
            common
            | {"sign": sign, "cluster": cluster, "voxels": 27, "p_unc": 0.0004, "p_fwe": 0.01, "q_fdr": 0.012}
            | {"q_model": 0.03, "significant": True, "peak": peak, "df1": 1.0, "df2": 19.0}
            | {"x": x, "y": y, "z": z, "region": "Precuneus_L", "meaning": "MDD above HC", "cell_means": "MDD 0.2"}
        )
    clusters = pd.DataFrame(rows)
    below = clusters.iloc[[0]].assign(cluster=2, significant=False, q_fdr=0.4, voxels=3)
    write_tsv(pd.concat([clusters, below], ignore_index=True), folder / "group/clusters.tsv")
    contrasts = {
        "patients-controls": [{"name": "patients-controls", "test": "t"}],
        "response-time": [{"name": "interaction", "test": "F"}],
    }
    kinds = {"patients-controls": ("two_sample", "unequal"), "response-time": ("flexible_factorial", "spm")}
    for model, (kind, covariance) in kinds.items():
        told = {"name": model, "kind": kind, "description": "", "n_images": 24, "covariates": ["age", "sex"]}
        told |= {"absorbed": ["age"] if kind == "flexible_factorial" else [], "covariance": covariance, "skipped": None}
        told["fits"] = {"LBleft": {"dof": [1.0, 19.0]}, "CMright": {"skipped": HOSTILE}}
        told |= {"seeds": list(SEEDS), "contrasts": contrasts[model], "height_p": 0.001, "connectivity": 18, "q": 0.05}
        _json(folder / f"group/model-{model}/model.json", told)
        _maps(folder / f"group/model-{model}", model, rng)
    _json(
        folder / "group/model-skipped-model/model.json", {"name": "skipped-model", "skipped": "no group has 3 people"}
    )
    write_tsv(
        pd.DataFrame({"seed": SEEDS, "n": 24, "median_abs_r": 0.15, "share_p_below_05": 0.06}),
        folder / "group/qc_fc.tsv",
    )
    for seed in SEEDS:
        _image(folder / f"group/qcfc/seed-{seed}_stat-r_statmap.nii.gz", rng.normal(0, 0.2, SHAPE).astype(np.float32))


def _maps(folder: Path, model: str, rng: np.random.Generator) -> None:
    name = model.replace("-", "")
    mine = [(key, value) for key, value in _CLUSTERS.items() if key[0] == model]
    (_, contrast, seed, _, _), (test, _, _) = mine[0]
    stem = folder / f"model-{name}_seed-{seed}_contrast-{contrast.replace('-', '')}"
    noise = rng.normal(0, 1, SHAPE).astype(np.float32)
    values = np.abs(noise) if test == "F" else noise
    for (_, _, _, direction, cluster), (_, first, peak) in mine:
        labels = np.zeros(SHAPE, dtype=np.int16)
        block = tuple(slice(at - 1, at + 2) for at in first)
        labels[block] = cluster
        values[block] = -peak if direction == "negative" else peak
        ending = "dseg" if test == "F" else f"dir-{direction}_dseg"
        _image(stem.with_name(f"{stem.name}_{ending}.nii.gz"), labels)
    _image(stem.with_name(f"{stem.name}_stat-{test}_statmap.nii.gz"), values)


def _clinical(folder: Path, people: pd.DataFrame, rng: np.random.Generator) -> None:
    clinical = folder / "clinical"
    write_tsv(people, clinical / "participants.tsv")
    printed = {"row": ["age", HOSTILE], "MDD (n = 12)": ["36.46 ± 12.11", "7 (58.3 %)"], "missing": ["0", "1"]}
    write_tsv(pd.DataFrame(printed), clinical / "table_one.tsv")
    write_tsv(pd.DataFrame({"row": ["age"], "p": [0.03]}), clinical / "table_one_tests.tsv")
    key = {
        "model": "response-time",
        "contrast": "interaction",
        "seed": "CMright",
        "direction": "positive",
        "cluster": 1,
    }
    key |= {"region": "Frontal_Med_Orb_L"}
    patients = people[people["group"] == "MDD"]
    scans = [
        key | {"participant_id": one["participant_id"], "session_id": session, "response": one["response"]} | {"z": z}
        for _, one in patients.iterrows()
        for session, z in zip(("baseline", "day13"), one["reduction_day13"] / 400 + rng.normal(0, 0.05, 2), strict=True)
    ]
    write_tsv(pd.DataFrame(scans), clinical / "cluster_values.tsv")
    found = {"method": "Pearson", "n": 12, "r": 0.62, "ci_low": 0.07, "ci_high": 0.88, "p": 0.003, "q": 0.01}
    found |= {"circular": True, "cv_r_mean": 0.21, "text": "Pearson r = .62, 95 % CI [.07, .88], p = .003, n = 12"}
    association = key | {"measure": "baseline", "outcome": "reduction_day13", "covariates": np.nan} | found
    partial = association | {"covariates": "medication_load", "p": 0.02}
    change = association | {"measure": "change", "p": 0.04}
    write_tsv(pd.DataFrame([association, partial, change]), clinical / "associations.tsv")
    roc = key | {"outcome": "response", "positive": "responder", "auc": 0.918, "ci_low": 0.832, "ci_high": 1.0}
    roc |= {"p": 0.0002, "cutoff": 0.11, "sensitivity": 0.895, "specificity": 0.85, "n_positive": 6, "n_negative": 6}
    roc |= {"circular": True, "cv_auc_mean": 0.61}
    write_tsv(pd.DataFrame([roc]), clinical / "roc.tsv")
    points = {"sensitivity": [0, 0.5, 0.895, 1.0], "false_positive_rate": [0, 0.05, 0.15, 1.0]}
    write_tsv(pd.DataFrame(points).assign(**key), clinical / "roc_curves.tsv")
    test = {"before": "baseline", "after": "day13", "n": 6, "mean_before": 0.2, "sd_before": 0.1, "mean_after": 0.1}
    test |= {"sd_after": 0.1, "t": -2.66, "df": 5, "p": 0.015, "effect": -0.59}
    levels = [key | {"level": level} | test for level in ("responder", "nonresponder")]
    write_tsv(pd.DataFrame(levels), clinical / "post_hoc.tsv")


def _image(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, AFFINE), path)


def _json(path: Path, content: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
