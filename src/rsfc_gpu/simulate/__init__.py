"""Synthetic cohorts with planted truth, in BIDS form.

`simulate_cohort` writes a study: patients before and after treatment, controls once, with known connectivity effects,
known faults, and the participants' tables. Effects are in the BOLD series, beneath noise, drift, physiology and motion;
a program finds them only if its cleaning, its maps and its statistics work.

The dataset is a BIDS derivative, already in MNI space::

    dataset_description.json    DatasetType derivative
    participants.tsv, .json     one row per participant; group (MDD, HC), age, sex, clinical columns, medication,
                                reason_for_leaving (a treated patient without images; n/a for everybody else)
    phenotype/hamd17.tsv, .json one row per patient and visit: participant_id, session_id (ses-baseline, ses-day13,
                                ses-day19), hamd17; n/a where the score is missing
    tpl-MNI152NLin6Asym/        masks on the grid of the runs, the same for all:
        tpl-MNI152NLin6Asym_label-WM_mask.nii.gz, ..._label-CSF_mask.nii.gz, ..._desc-brain_mask.nii.gz
    sub-MDD001/ses-baseline/func/                   patients: also ses-day13; controls (sub-HC001): ses-baseline
        sub-MDD001_ses-baseline_task-rest_space-MNI152NLin6Asym_desc-preproc_bold.nii.gz, .json (RepetitionTime)
        sub-MDD001_ses-baseline_task-rest_space-MNI152NLin6Asym_desc-brain_mask.nii.gz
        rp_sub-MDD001_ses-baseline_task-rest.txt    (T, 6) as SPM12 writes it: mm, then radians
    planted.tsv                 the truth: one row per effect and association
    planted_faults.tsv          what is wrong with which run, and what a study should do about it
    planted_z.tsv               true Fisher z at the centre of every effect, by scan
    README, .bidsignore

Columns of planted.tsv: name; kind (patients-controls, time, responders-nonresponders, interaction, association-day13,
association-day19); role (planted, or implied by another effect: responders differ where connectivity follows the
reduction); seed; region; x, y, z in mm; fwhm_mm of the Gaussian profile; sign; d with its meaning in d_is and
the SD of z that it is measured in; r, and r given the medication
load, for associations.

Columns of planted_faults.tsv: fault (motion, damaged file, missing covariate, region without signal), participant_id,
session_id, file, expected. The faulty are not among the analysed.

At the level `raw` the same cohort is written as a scanner gives it, 64x64x33 voxels of 3.44x3.44x4.6 mm, int16: a head
that lies, is sized and is warped in a known way, moves, and is read slice by slice, with noise everywhere, and 10
volumes in front whose magnetisation is not steady::

    sub-MDD001/ses-baseline/func/sub-MDD001_ses-baseline_task-rest_bold.nii.gz, .json (RepetitionTime, SliceTiming)
    planted_heads.json          where each point of a scanner lies in the template, by run; see `Head`
    planted_motion/             by run, every volume: mm and radians in SPM's order, 0 in the first after those 10

There are no masks, templates or rp files, and the fault "no slice times" takes the place of the region without signal.
Effect sizes of planted.tsv are those of preprocessed images. Preprocessing costs some of them: over 24 runs of 110
volumes z at the places of the effects came out as 0.71 of what was planted, where preprocessed runs give 1.01.

The images are as smooth as data with a point spread of 6 mm after smoothing with 8 mm. The seeds' signals are put in
afterwards, so that subdivisions of a few voxels keep their own.
"""

from __future__ import annotations

from rsfc_gpu.simulate.anatomy import Anatomy, build_anatomy
from rsfc_gpu.simulate.bold import SimulatedRun, simulate_run
from rsfc_gpu.simulate.cohort import Cohort, CohortSettings, Scan, plan_cohort
from rsfc_gpu.simulate.dataset import HEADS, MOTION_FOLDER, simulate_cohort
from rsfc_gpu.simulate.effects import Effect, planted_effects
from rsfc_gpu.simulate.head import Head
from rsfc_gpu.simulate.score import regions_touched, score_associations, score_planted, summarise_score
from rsfc_gpu.simulate.truth import Truth, planted_truth

__all__ = [
    "HEADS",
    "MOTION_FOLDER",
    "Anatomy",
    "Cohort",
    "CohortSettings",
    "Effect",
    "Head",
    "Scan",
    "SimulatedRun",
    "Truth",
    "build_anatomy",
    "plan_cohort",
    "planted_effects",
    "planted_truth",
    "regions_touched",
    "score_associations",
    "score_planted",
    "simulate_cohort",
    "simulate_run",
    "summarise_score",
]
