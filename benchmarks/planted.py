"""How much of what is planted in a simulated cohort the analysis finds, and what else it reports.

Each cohort is made, cleaned and analysed in memory: the runs without planted faults, the preset `dparsf`, six seeds,
and the models of the study: patients against controls, group by time with the main effect of time, responders against
nonresponders at baseline. An effect is found where a cluster with q < 0.05 in the right contrast, seed and direction
has its peak within 10 mm.

    python benchmarks/planted.py [--effects clear|paper|none] [--cohorts 5] [--seed 0] [--json RESULTS.json]
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from threadpoolctl import threadpool_limits

import rsfc_gpu as rg
from rsfc_gpu.simulate import (
    Cohort,
    CohortSettings,
    plan_cohort,
    planted_truth,
    regions_touched,
    score_planted,
    summarise_score,
)

JOBS = 2
FOUND_SHARE, FALSE_SHARE = 0.95, 0.10
#: contrast: weights of the flexible factorial; -1 where they are those of baseline - Day 13.
FACTORIAL = {"interaction": ([1, -1, -1, 1], -1), "time": ([1, -1, 1, -1], -1)}


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    began = time.perf_counter()
    cohorts = []
    for seed in range(options.seed, options.seed + options.cohorts):
        started = time.perf_counter()
        settings = CohortSettings(
            effects=options.effects, grid_mm=options.grid, n_volumes=options.volumes, faults=False, seed=seed
        )
        cohorts.append(examine(plan_cohort(settings)) | {"seed": seed, "seconds": time.perf_counter() - started})
        print(json.dumps(cohorts[-1]["summary"]), f"{cohorts[-1]['seconds']:.0f} s", flush=True)
    report = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"rsfc_gpu": rg.__version__, "numpy": np.__version__, "python": platform.python_version()},
        "options": {key: value for key, value in vars(options).items() if key != "json"},
        "seconds": round(time.perf_counter() - began, 1),
        "kinds": by_kind(cohorts),
        "alarms": alarms(cohorts),
        "cohorts": cohorts,
    }
    report["problems"] = find_problems(report)
    print(json.dumps({key: report[key] for key in ("kinds", "alarms", "problems", "seconds")}, indent=1))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 1 if report["problems"] else 0


def examine(cohort: Cohort) -> dict[str, Any]:
    """Make, clean and analyse one cohort: what was found, by kind, and in how many contrasts anything was."""
    effects = planted_truth(cohort).effects
    maps = z_maps(cohort)
    people = cohort.people.table
    table = people.loc[[scan.row for scan in cohort.scans], ["age", "sex", "medication_load", "response"]]
    table = table.reset_index(drop=True)
    table["subject"] = [scan.participant_id for scan in cohort.scans]
    table["time"] = [scan.session_id for scan in cohort.scans]
    table["fd"] = [maps_fd for maps_fd in maps.pop("fd")]
    table["group"] = np.where(table["response"] == "control", "HC", "MDD")
    found = pd.concat(list(contrasts(table, maps, cohort, effects)), ignore_index=True)
    contrast = found.groupby(["kind", "seed", "direction"])["q_fdr"].min() < 0.05
    score = score_planted(effects, found.dropna(subset="x"))
    return {
        "summary": without_nan(summarise_score(score)),
        "missed": score.loc[score["result"] == "missed", "name"].tolist(),
        "others": [
            {key: row[key] for key in ("result", "kind", "seed", "sign", "x", "y", "z", "q", "name")}
            for row in json.loads(score[score["result"].isin(["leak", "false"])].to_json(orient="records"))
        ],
        "contrasts": len(contrast),
        "alarms": int(contrast.sum()),
    }


def z_maps(cohort: Cohort) -> dict[str, NDArray[np.float32]]:
    """Fisher z (scans, X, Y, Z) by seed, and under "fd" the mean displacement of each scan."""
    anatomy, backend = cohort.anatomy, rg.select_backend("cpu", threads=1)
    brain = nibabel.Nifti1Image(anatomy.brain.inside.astype(np.uint8), anatomy.brain.affine)
    settings = rg.DenoiseSettings.preset("dparsf").replace(minimum_dof=0)
    z = np.empty((len(anatomy.seeds), len(cohort.scans), *anatomy.brain.shape), dtype=np.float32)
    fd = np.empty(len(cohort.scans))
    cohort.blobs  # noqa: B018 - made here once, before threads ask for it

    def one(row: int) -> None:
        run = cohort.simulate(cohort.scans[row])
        given = rg.Run(bold=run.image(), mask=brain, tr_s=run.tr_s, motion=run.motion, tissues=run.tissues())
        maps = rg.seed_maps(given, anatomy.seeds, settings, backend)
        z[:, row] = np.where(maps.usable, maps.z, np.float32(np.nan))
        fd[row] = maps.fd_mm.mean()

    with threadpool_limits(1), ThreadPoolExecutor(JOBS) as pool:
        list(pool.map(one, range(len(cohort.scans))))
    return {**dict(zip(anatomy.seeds.names, z, strict=True)), "fd": fd}


def contrasts(
    table: pd.DataFrame, maps: Mapping[str, NDArray[np.float32]], cohort: Cohort, effects: pd.DataFrame
) -> Iterator[pd.DataFrame]:
    """Local maxima with the q of their cluster, for every contrast and seed."""
    brain = cohort.anatomy.brain
    baseline = (table["time"] == "ses-baseline").to_numpy()
    patients = (table["group"] == "MDD").to_numpy()
    for kind, rows, column, levels in (
        ("patients-controls", baseline, "group", ["MDD", "HC"]),
        ("responders-nonresponders", baseline & patients, "response", ["responder", "nonresponder"]),
    ):
        part = table[rows].reset_index(drop=True)
        design = rg.group.two_sample(part, group=column, levels=levels, covariates=["age", "sex", "fd"])
        for seed, z in maps.items():
            fit = rg.group.fit(z[rows], design, mask=brain.inside, affine=brain.affine)
            for sign in (1, -1):
                yield maxima(fit.t([sign, -sign]), effects, kind=kind, seed=seed, sign=sign)
    part = table[patients].reset_index(drop=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rg.group.AbsorbedCovariateWarning)
        design = rg.group.flexible_factorial(
            part,
            group="response",
            levels={"response": ["responder", "nonresponder"], "time": ["ses-baseline", "ses-day13"]},
            covariates=["age", "sex", "fd", "medication_load"],
        )
    for seed, z in maps.items():
        fit = rg.group.fit(z[patients], design, mask=brain.inside, affine=brain.affine)
        for kind, (weights, orientation) in FACTORIAL.items():
            yield maxima(fit.f(weights), effects, kind=kind, seed=seed, orientation=orientation)


def maxima(
    stat: rg.group.Stat, effects: pd.DataFrame, *, kind: str, seed: str, sign: int = 0, orientation: int = 1
) -> pd.DataFrame:
    """Local maxima of one map for `score_planted`; one empty row where there is none, so that it is counted.

    `sign` 0 takes the direction of an F from its effect at the peak, times `orientation`.
    """
    table = rg.group.peaks(stat)
    table = table.merge(rg.group.clusters(stat)[["cluster", "q_fdr"]], on="cluster")
    touched = regions_touched(effects, kind, rg.group.cluster_labels(stat), stat.affine)
    table["touches"] = table["cluster"].map(touched)
    voxels = np.linalg.solve(stat.affine, np.vstack([table[["x", "y", "z"]].to_numpy().T, np.ones(len(table))]))
    at = tuple(np.rint(voxels[:3]).astype(int))
    table["sign"] = sign or (orientation * np.sign(stat.effect[at])).astype(int)
    if table.empty:
        table = pd.DataFrame([{"cluster": 0, "q_fdr": 1.0}])
    return table.assign(kind=kind, seed=seed, direction=sign)


def by_kind(cohorts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sums over cohorts: found of planted, leaks and false clusters; the mean of the cohorts' false shares."""
    table = pd.DataFrame([row for cohort in cohorts for row in cohort["summary"]])
    summed = table.groupby("kind", sort=False)[["maps", "planted", "found", "leaks", "false_clusters"]].sum()
    summed["found_share"] = summed["found"] / summed["planted"].where(summed["planted"] > 0)
    summed["mean_false_share"] = table.groupby("kind")["false_share"].mean()
    return without_nan(summed.reset_index())


def without_nan(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table, for JSON, which knows no NaN."""
    return table.round(4).astype(object).where(lambda cell: cell.notna(), None).to_dict("records")


def alarms(cohorts: list[dict[str, Any]]) -> dict[str, Any]:
    """Contrasts with anything significant, and the 99 % binomial bound of 5 %."""
    n, found = (sum(cohort[key] for cohort in cohorts) for key in ("contrasts", "alarms"))
    return {"contrasts": n, "with_a_finding": found, "share": found / n, "bound": stats.binom.ppf(0.99, n, 0.05) / n}


def find_problems(report: dict[str, Any]) -> list[str]:
    """What misses its target: recovery and false clusters at `clear`, false alarms at `none`."""
    level, found = report["options"]["effects"], []
    if level == "clear":
        total = {key: sum(row[key] for row in report["kinds"]) for key in ("planted", "found")}
        if total["found"] < FOUND_SHARE * total["planted"]:
            found.append(f"found {total['found']} of {total['planted']} planted effects")
    if level != "none":
        n_maps = sum(row["maps"] for row in report["kinds"])
        share = sum(row["mean_false_share"] * row["maps"] for row in report["kinds"]) / n_maps
        if share > FALSE_SHARE:
            found.append(f"mean false share per contrast {share:.3f}")
    elif report["alarms"]["share"] > report["alarms"]["bound"]:
        found.append(f"{report['alarms']['with_a_finding']} of {report['alarms']['contrasts']} null contrasts")
    return found


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--effects", choices=("clear", "paper", "none"), default="clear")
    parser.add_argument("--cohorts", type=int, default=5)
    parser.add_argument("--grid", type=float, default=4.0, help="mm")
    parser.add_argument("--volumes", type=int, default=110)
    parser.add_argument("--seed", type=int, default=0, help="of the first cohort")
    parser.add_argument("--json", type=Path)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
