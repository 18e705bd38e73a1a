"""What was planted in a cohort: effects, associations, faults, connectivity, and in raw runs heads and movements."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from rsfc_gpu.simulate.anatomy import SPACE
from rsfc_gpu.simulate.bold import observed_sd
from rsfc_gpu.simulate.cohort import BLOB_FWHM_MM, Cohort, Scan, analysed_patients
from rsfc_gpu.simulate.effects import D_MEANING, planted_association, planted_effects
from rsfc_gpu.simulate.participants import NONRESPONDER, RESPONDER, VISITS

TASK = "rest"
#: Fate of a participant: the fault, and what a study must make of it.
_FAULTS = {
    "moved": ("motion", "run left out: a translation beyond 2 mm; the patient with it"),
    "damaged": ("damaged file", "run reported as failed: the file ends early; the patient left out with it"),
    "no-age": ("missing covariate", "participant left out of every model with age"),
    "no-seed": ("region without signal", "run left out: right seeds are not covered"),
}
#: Of raw runs instead: a scanner's noise covers every voxel.
_RAW_FAULTS = {"no-seed": ("no slice times", "run reported as failed: its sidecar has no SliceTiming")}


@dataclass(frozen=True, eq=False)
class Truth:
    """What was planted in a dataset.

    Attributes
    ----------
    effects : as planted.tsv.
    faults : as planted_faults.tsv.
    connectivity : as planted_z.tsv.
    """

    effects: pd.DataFrame
    faults: pd.DataFrame
    connectivity: pd.DataFrame


def planted_truth(cohort: Cohort) -> Truth:
    """The tables of what a cohort carries."""
    table, rows = cohort.people.table, []
    known = _FAULTS | (_RAW_FAULTS if cohort.settings.level == "raw" else {})
    for scan in cohort.scans:
        fate = str(table.loc[scan.row, "fate"])
        if fate not in known or (fate == "moved" and not scan.excursion_mm):
            continue
        if fate == "damaged" and scan.session == 0:
            continue
        fault, expected = known[fate]
        ids = {"participant_id": scan.participant_id, "session_id": scan.session_id}
        rows.append({"fault": fault, **ids, "file": bold_file(cohort, scan), "expected": expected})
    faults = pd.DataFrame(rows, columns=["fault", "participant_id", "session_id", "file", "expected"])
    connectivity = pd.DataFrame(cohort.true_z.round(6), columns=[effect.name for effect in planted_effects()])
    connectivity.insert(0, "participant_id", [scan.participant_id for scan in cohort.scans])
    connectivity.insert(1, "session_id", [scan.session_id for scan in cohort.scans])
    return Truth(effects_table(cohort), faults, connectivity)


def scan_name(scan: Scan) -> str:
    """What the names of a scan's files share."""
    return f"{scan.participant_id}_{scan.session_id}_task-{TASK}"


def bold_file(cohort: Cohort, scan: Scan) -> str:
    """Path of a scan's image inside the dataset."""
    space = "" if cohort.settings.level == "raw" else f"space-{SPACE}_desc-preproc_"
    return f"{scan.participant_id}/{scan.session_id}/func/{scan_name(scan)}_{space}bold.nii.gz"


def effects_table(cohort: Cohort) -> pd.DataFrame:
    """planted.tsv: one row per effect and per association, with its true size; no row at the level `none`."""
    level = cohort.settings.effects
    sd = observed_sd(cohort.settings.n_volumes)
    where = cohort.anatomy.voxels_mm()[cohort.blobs[1]]
    rows = []
    for effect, centre in zip(planted_effects(), where, strict=True):
        change = effect.kind in ("time", "interaction")
        row = {
            "name": effect.name,
            "kind": effect.kind,
            "role": "planted",
            "seed": effect.seed,
            "region": effect.region,
            "x": centre[0],
            "y": centre[1],
            "z": centre[2],
            "fwhm_mm": BLOB_FWHM_MM,
            "sign": effect.sign,
            "d": round(effect.d(level), 4),
            "d_is": D_MEANING[effect.kind],
            "sd_of_z": round(sd * (math.sqrt(2) if change else 1.0), 4),
            "r": None,
            "r_given_medication": None,
        }
        rows.append(row)
    if level == "none":
        return pd.DataFrame(columns=list(rows[0]))
    rows += _association_rows(cohort, rows)
    implied = planted_association(level)
    assert implied is not None
    rows.append(_implied_row(cohort, next(row for row in rows if row["name"] == implied.effect)))
    return pd.DataFrame(rows)


def _implied_row(cohort: Cohort, row: dict[str, object]) -> dict[str, object]:
    """Responders differ from nonresponders where connectivity follows the reduction; nobody planted that as such."""
    column = [effect.name for effect in planted_effects()].index(str(row["name"]))
    table = cohort.people.table
    response = np.array([table.loc[scan.row, "response"] for scan in cohort.scans])
    baseline = np.array([scan.session == 0 and table.loc[scan.row, "fate"] == "analysed" for scan in cohort.scans])
    true = {name: cohort.true_z[baseline & (response == name), column] for name in (RESPONDER, NONRESPONDER)}
    weights = {name: len(values) for name, values in true.items()}
    spread = sum(weights[name] * float(true[name].var()) for name in true) / sum(weights.values())
    sd = math.sqrt(observed_sd(cohort.settings.n_volumes) ** 2 + spread)
    d = (float(true[RESPONDER].mean()) - float(true[NONRESPONDER].mean())) / sd
    kind = "responders-nonresponders"
    more = {"kind": kind, "role": "implied", "d": round(d, 4), "d_is": D_MEANING[kind], "sd_of_z": round(sd, 4)}
    return {**row, "name": f"{row['name']}_implied", **more, "sign": int(np.sign(d))}


def _association_rows(cohort: Cohort, effects: list[dict[str, object]]) -> list[dict[str, object]]:
    """Correlation of true baseline connectivity, noise counted, with each reduction rate, for two effects."""
    association = planted_association(cohort.settings.effects)
    noise = observed_sd(cohort.settings.n_volumes)
    analysed = analysed_patients(cohort.people)
    baseline = [i for i, scan in enumerate(cohort.scans) if scan.session == 0 and analysed[scan.row]]
    people = [cohort.scans[i].row for i in baseline]
    load = cohort.people.table["medication_load"].to_numpy(dtype=float)[people]
    rows = []
    for column, effect in enumerate(planted_effects()):
        associated = association is not None and effect.name == association.effect
        if not associated and effect.kind != "responders-nonresponders":
            continue
        true = cohort.true_z[baseline, column]
        for visit, reduction in zip(VISITS[1:], cohort.people.reduction[people].T, strict=True):
            attenuation = math.sqrt(true.var() / (true.var() + noise**2))
            among = np.corrcoef(np.stack([true, reduction, load]))
            r, with_load = attenuation * among[0, 1:]
            partial = (r - with_load * among[1, 2]) / math.sqrt((1 - with_load**2) * (1 - among[1, 2] ** 2))
            name = f"{effect.name}_reduction-{visit}"
            rows.append({**effects[column], "name": name, "kind": f"association-{visit}", "d": None})
            rows[-1] |= {"r": round(float(r), 4), "r_given_medication": round(float(partial), 4)}
            rows[-1]["d_is"] = "r: correlation of z at baseline with the reduction rate of HAMD-17, analysed patients"
            rows[-1]["sign"] = int(np.sign(r))
    return rows
