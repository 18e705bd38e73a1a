"""A study of one's own, from a dataset to tables: simulate, write a study file, check, run, read, and fit once more.

    python docs/examples/a_study.py [FOLDER]

The cells (`# %%`) run one after the other in an editor that knows them, or all at once as a script. The dataset is
simulated, with known effects, so that what comes out can be held against what was put in.
"""

# %% Where everything goes
from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

import rsfc_gpu as rg
from rsfc_gpu.cli import main as rsfc

FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else "a-study")
DATASET, STUDY, OUT = FOLDER / "dataset", FOLDER / "study.toml", FOLDER / "out"


def run(*words: str | Path) -> None:
    """A command as it would be typed; anything but success ends the script."""
    print("\n$ rsfc", *words)
    if code := rsfc([str(word) for word in words]):
        sys.exit(code)


def table(path: str) -> pd.DataFrame:
    """A table of the study; missing cells are n/a."""
    return pd.read_csv(OUT / path, sep="\t", na_values="n/a", keep_default_na=False)


# %% A dataset: 40 people on a coarse grid. Yours would be fMRIPrep's output.
FOLDER.mkdir(parents=True, exist_ok=True)
if not DATASET.exists():
    run("simulate", DATASET, "--participants", "40", "--grid", "5", "--volumes", "100", "--seed", "4")

# %% What the study decides. Keys that are left out have the defaults that docs/study-file.md lists.
STUDY.write_text("""
name = "patients-against-controls"

[denoise]
preset = "dparsf"
motion_model = "6"                  # a short run: 24 motion regressors would leave too little

[seeds]
atlas = "juelich-amygdala"
names = ["LBleft", "SFleft"]

[participants]
every_visit = false                 # only the first visit is used: a bad second one excludes nobody
reason_column = "reason_for_leaving"

[[models]]
name = "patients-controls"
kind = "two_sample"
group = "group"
levels = ["MDD", "HC"]
covariates = ["age", "sex", "mean_fd_power_mm"]
contrasts = [{ name = "patients-controls", weights = "MDD - HC" }]

[report]
title = "Left amygdala, patients and controls"
""")

# %% Is everything there? `rsfc check` reads names, tables and headers; a damaged run shows when it is read.
run("check", DATASET, "--study", STUDY)

# %% All of it. One planted run is damaged: the exit code 4 says that some runs failed and the rest is usable.
print("\n$ rsfc run", DATASET, OUT, "--study", STUDY)
code = rsfc(["run", str(DATASET), str(OUT), "--study", str(STUDY), "--device", "cpu"])
assert code in (0, 4), code

# %% Who is in, and who is not, and why
flow = table("participants_flow.tsv")
print(flow.groupby(["stage", "status"]).size().to_string())
for row in flow[flow["bold"].notna() & (flow["status"] != "kept")].itertuples():
    print(f"{row.participant_id} {row.session_id}: {row.reason}")

# %% What was found, and what had been planted
clusters = table("group/clusters.tsv")
found = clusters[clusters["significant"]]
print(found[["seed", "direction", "voxels", "q_fdr", "x", "y", "z", "region"]].to_string(index=False))
planted = pd.read_csv(DATASET / "planted.tsv", sep="\t")
planted = planted[(planted["kind"] == "patients-controls") & planted["seed"].isin(["LBleft", "SFleft"])]
print(planted[["seed", "region", "x", "y", "z", "sign", "d"]].to_string(index=False))

# %% The same maps once more in Python, with age left out: any model can be fitted to what is on disk
scans = flow[(flow["status"] == "kept") & (flow["session_id"] == "baseline")]
people = table("clinical/participants.tsv").set_index("participant_id").loc[scans["participant_id"]].reset_index()
paths = [
    next((OUT / person / "ses-baseline" / "func").glob("*_seed-LBleft_stat-z_statmap.nii.gz"))
    for person in scans["participant_id"]
]
design = rg.group.two_sample(people, group="group", levels=["MDD", "HC"], covariates=["sex", "mean_fd_power_mm"])
stat = rg.group.fit(paths, design, backend=rg.select_backend("cpu")).t("MDD - HC")
print(rg.group.clusters(stat, height_p=0.001).head().to_string(index=False))
print(f"\nThe report is {OUT / 'report.html'}")
