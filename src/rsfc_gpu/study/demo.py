"""The demonstration: a simulated cohort through the whole study, and what was found held against what was planted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from rsfc_gpu.backend import select_backend
from rsfc_gpu.errors import InputError
from rsfc_gpu.files import write_text
from rsfc_gpu.images.nifti import load_volume
from rsfc_gpu.report import write_report
from rsfc_gpu.report.tables import write_tsv
from rsfc_gpu.simulate import CohortSettings, regions_touched, score_associations, score_planted, simulate_cohort
from rsfc_gpu.simulate.anatomy import SPACE
from rsfc_gpu.study.config import load_study
from rsfc_gpu.study.models import cluster_label_file
from rsfc_gpu.study.raw_truth import NAME as RUNS
from rsfc_gpu.study.raw_truth import score_raw_runs
from rsfc_gpu.study.run import Outcome, Progress, RunOptions, run_study

#: Kind of planted effect: the model and the contrast of the built-in study that look for it.
CONTRASTS = {
    "patients-controls": ("patients-controls", "patients-controls"),
    "responders-nonresponders": ("responders-nonresponders", "responders-nonresponders"),
    "interaction": ("response-time", "interaction"),
    "time": ("response-time", "time"),
}
#: Planted fault of a run: the stage at which the study must stop it.
STAGES = {
    "motion": "motion",
    "damaged file": "images",
    "region without signal": "coverage",
    "no slice times": "images",
}
#: A few people scanned raw: the fewest of whom all models of the built-in study can be fitted.
RAW_PARTICIPANTS, RAW_VOLUMES = 16, 110


@dataclass(frozen=True, eq=False)
class Demonstration:
    """What came of it: the study's outcome, planted_vs_found.tsv as a table, and where reports and faults differ.

    `runs` is planted_vs_found_runs.tsv, of raw runs; None where the images were preprocessed.
    """

    outcome: Outcome
    score: pd.DataFrame
    runs: pd.DataFrame | None
    surprises: list[str]
    report: Path


def run_demo(
    out: str | Path, settings: CohortSettings, options: RunOptions, progress: Progress | None = None
) -> Demonstration:
    """Simulate a cohort in OUT/simulated, run the built-in study on it into OUT, and score it.

    A cohort that is there already is taken again where it was made with the same settings.

    Raises
    ------
    InputError : OUT holds something else.
    ResourceError, BackendError : disk, memory, device.
    """
    folder = Path(out).resolve()
    dataset = _cohort(folder, settings, progress, options.jobs)
    unreported = RunOptions(**{**vars(options), "report": False})
    outcome = run_study(dataset, folder, load_study(None), unreported, progress)
    score = score_all(folder, dataset)
    write_tsv(score, folder / "planted_vs_found.tsv")
    runs = None
    if settings.level == "raw":
        runs = score_raw_runs(folder, dataset, SPACE, select_backend("cpu"))
        write_tsv(runs, folder / RUNS)
    return Demonstration(outcome, score, runs, surprises(folder, dataset), write_report(folder))


def score_all(out: Path, dataset: Path) -> pd.DataFrame:
    """planted_vs_found.tsv: the effects, what else was found, and the correlations with treatment."""
    effects = pd.read_csv(dataset / "planted.tsv", sep="\t", na_values="n/a")
    associations = pd.read_csv(out / "clinical" / "associations.tsv", sep="\t", na_values="n/a")
    score = score_planted(effects, maxima(out, dataset))
    correlations = score_associations(effects, score, associations)
    return pd.concat([score, correlations], ignore_index=True) if len(correlations) else score


def maxima(out: Path, dataset: Path) -> pd.DataFrame:
    """Every shown maximum of every cluster in the contrasts with planted effects, as `score_planted` takes them."""
    effects = pd.read_csv(dataset / "planted.tsv", sep="\t", na_values="n/a")
    clusters = pd.read_csv(out / "group" / "clusters.tsv", sep="\t", na_values="n/a")
    tables = [pd.DataFrame(columns=["kind", "seed", "sign", "cluster", "x", "y", "z", "q_fdr", "region", "touches"])]
    for kind, (model, contrast) in CONTRASTS.items():
        mine = clusters[(clusters["model"] == model) & (clusters["contrast"] == contrast)]
        for _, found in mine.groupby(["seed", "direction"] if (mine["test"] == "t").all() else ["seed"]):
            labels = cluster_label_file(out, next(found.itertuples()))
            touched = regions_touched(effects, kind, *load_volume(labels))
            peaks = pd.read_csv(str(labels).replace("dseg.nii.gz", "peaks.tsv"), sep="\t", na_values="n/a")
            peaks = peaks.merge(found[["cluster", "sign"]], on="cluster")
            tables.append(peaks.assign(kind=kind, seed=found["seed"].iloc[0], touches=peaks["cluster"].map(touched)))
    return pd.concat([table for table in tables if len(table)] or tables, ignore_index=True)


def surprises(out: Path, dataset: Path) -> list[str]:
    """Planted faults that were not reported, and reports of faults that were not planted; there should be none."""
    faults = pd.read_csv(dataset / "planted_faults.tsv", sep="\t", na_values="n/a")
    flow = pd.read_csv(out / "participants_flow.tsv", sep="\t", na_values="n/a")
    runs = flow[flow["bold"].notna() & flow["stage"].isin(STAGES.values()) & (flow["status"] != "kept")]
    stopped = dict(zip(_names(runs), runs["stage"].astype(str), strict=True))
    of_runs = faults[faults["fault"].isin(list(STAGES))]
    planted = dict(zip(_names(of_runs), of_runs["fault"].map(STAGES), strict=True))
    lines = [
        f"{name}: planted to stop at {stage}, reported {stopped.get(name, 'as usable')}"
        for name, stage in planted.items()
        if stopped.get(name) != stage
    ]
    lines += [
        f"{name}: stopped at {stage}, nothing was planted" for name, stage in stopped.items() if name not in planted
    ]
    model = json.loads((out / "group" / "model-patientscontrols" / "model.json").read_text(encoding="utf-8"))
    dropped = {row["participant_id"] for row in model["dropped"]}
    lacking = set(faults.loc[faults["fault"] == "missing covariate", "participant_id"])
    return lines + [f"{name}: missing covariate planted or reported, not both" for name in sorted(dropped ^ lacking)]


def _names(runs: pd.DataFrame) -> list[str]:
    """Participant and session of each run, as one name."""
    return list(runs["participant_id"] + " " + runs["session_id"].str.removeprefix("ses-"))


def _cohort(folder: Path, settings: CohortSettings, progress: Progress | None, jobs: int | None) -> Path:
    """The dataset in folder/simulated, made now or earlier with the same settings; it has that name when whole."""
    dataset = folder / "simulated"
    record = dataset / "planted_settings.json"
    wanted = {name: getattr(settings, name) for name in CohortSettings.__dataclass_fields__}
    if dataset.is_dir():
        if not record.is_file() or json.loads(record.read_text(encoding="utf-8")) != wanted:
            raise InputError(f"{dataset} was made with other settings: give another folder, or remove {folder}")
        return dataset
    if folder.is_dir() and any(one.name != "simulated.part" for one in folder.iterdir()):
        raise InputError(f"{folder}: not empty, and not a demonstration; give another folder")
    part = folder / "simulated.part"
    if part.is_dir():
        shutil.rmtree(part)  # a demonstration that was interrupted while it simulated
    simulate_cohort(part, settings, None if progress is None else _at_stage(progress), jobs=jobs)
    write_text(part / record.name, json.dumps(wanted, indent=2) + "\n")
    part.rename(dataset)
    return dataset


def _at_stage(progress: Progress) -> Callable[[int, int], None]:
    return lambda done, total: progress("simulating", done, total)
