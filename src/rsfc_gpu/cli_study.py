"""The commands of a whole study, `rsfc run`, `check` and `init`: parse, call, print."""

from __future__ import annotations

import argparse
import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsfc_gpu.cli_progress import progress_bars
from rsfc_gpu.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from rsfc_gpu.study.models import BuiltModel
    from rsfc_gpu.study.plan import Plan
    from rsfc_gpu.study.run import Outcome

EXIT_SOME_FAILED, EXIT_NONE_LEFT = 4, 5


def add_study_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add run, check and init."""
    run = commands.add_parser("run", help="a whole study, from a BIDS dataset to the report", description=_run.__doc__)
    _add_dataset(run)
    run.add_argument(
        "out_dir", type=Path, metavar="OUT_DIR", help="folder for the results; a rerun does what is missing"
    )
    run.add_argument(
        "level",
        nargs="?",
        choices=["participant", "group", "all"],
        default="all",
        help="participant: the maps of each run; group: all that follows; before the options; default %(default)s",
    )
    run.add_argument("--participant-label", nargs="+", metavar="ID", help="only these participants")
    _add_how(run)
    run.set_defaults(run=_run, refuse=run.error)

    check = commands.add_parser(
        "check", help="find every file and build every design, reading no volume", description=_check.__doc__
    )
    _add_dataset(check)
    check.set_defaults(run=_check)

    demo = commands.add_parser(
        "demo", help="simulate a cohort, run the whole study on it, and score it", description=_demo.__doc__
    )
    demo.add_argument(
        "out", nargs="?", type=Path, default=Path("rsfc-demo"), metavar="OUT", help="folder (default %(default)s)"
    )
    demo.add_argument(
        "--effects", choices=["clear", "paper", "none"], default="clear", help="effect sizes (default %(default)s)"
    )
    demo.add_argument(
        "--raw", action="store_true", help="a few participants as a scanner gives them, preprocessed by the study"
    )
    demo.add_argument("--seed", type=int, default=0, metavar="N", help="of all random numbers (default 0)")
    demo.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="default %(default)s")
    demo.add_argument("--jobs", type=int, metavar="N", help="runs at once (default: as processors and memory allow)")
    demo.set_defaults(run=_demo)

    init = commands.add_parser("init", help="a commented study file to edit", description=_init.__doc__)
    init.add_argument("file", type=Path, metavar="FILE.toml", help="file to write; must not exist")
    init.set_defaults(run=_init)


def _add_how(run: argparse.ArgumentParser) -> None:
    """Options that say where and how the work is done; the numbers of a study hang on `--engine` alone."""
    run.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="default %(default)s")
    run.add_argument(
        "--max-gpu-memory",
        type=_gigabytes,
        metavar="GB",
        help="of the GPU, per process, in 10^9 bytes (default: nine tenths of what is free)",
    )
    run.add_argument(
        "--engine",
        choices=["operator", "stages"],
        default="operator",
        help="operator: all cleaning as one product; stages: regress, filter and scrub the voxels one after the other, "
        "slower, as a check; default %(default)s",
    )
    run.add_argument(
        "--cache",
        action="store_true",
        help="keep the masked series of each run, so that another analysis of the same runs decodes nothing",
    )
    run.add_argument("--work-dir", type=Path, metavar="DIR", help="where --cache keeps them (default OUT_DIR/work)")
    run.add_argument("--jobs", type=int, metavar="N", help="runs at once (default: as processors and memory allow)")
    run.add_argument(
        "--workers",
        choices=["threads", "processes"],
        default="threads",
        help="what the jobs are; of several GPUs each process takes one; default %(default)s",
    )
    run.add_argument("--scheduler", metavar="ADDRESS", help="Dask scheduler that hands out the runs, tcp://HOST:8786")


def _gigabytes(text: str) -> int:
    """Bytes, of a number of 10^9 bytes."""
    with suppress(ValueError):
        if 0 < float(text) < 1e6:
            return int(float(text) * 1e9)
    raise argparse.ArgumentTypeError(f"expected a positive number of gigabytes, found {text!r}")


def _add_dataset(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "bids_dir", type=Path, metavar="BIDS_DIR", help="raw runs, fMRIPrep derivatives, or images in MNI space"
    )
    parser.add_argument("--study", type=Path, metavar="FILE.toml", help="default: the built-in study amygdala-ketamine")
    parser.add_argument(
        "--template", type=Path, metavar="IMAGE", help="EPI template in MNI space for raw runs, such as SPM's EPI.nii"
    )


def _run(arguments: argparse.Namespace) -> int:
    """Run a study: maps of every run, group models, clinical tables and the report. Exit code 4 where runs failed, 5
    where all did; a run left out by a gate is a result."""
    from rsfc_gpu.study.config import load_study
    from rsfc_gpu.study.run import RunOptions, run_study

    if arguments.work_dir is not None and not arguments.cache:
        arguments.refuse("--work-dir is where --cache keeps series: give --cache too")
    if arguments.max_gpu_memory is not None and arguments.device == "cpu":
        arguments.refuse("--max-gpu-memory has no meaning with --device cpu")
    options = RunOptions(
        level=arguments.level,
        participants=arguments.participant_label,
        device=arguments.device,
        max_gpu_memory_bytes=arguments.max_gpu_memory,
        engine=arguments.engine,
        work=(arguments.work_dir or arguments.out_dir / "work") if arguments.cache else None,
        jobs=arguments.jobs,
        workers=arguments.workers,
        scheduler=arguments.scheduler,
        template=arguments.template,
        command=shlex.join(["rsfc", *sys.argv[1:]]),
    )
    outcome = run_study(arguments.bids_dir, arguments.out_dir, load_study(arguments.study), options, progress_bars())
    _print_outcome(outcome, arguments.out_dir)
    # A participant whose runs are left out by a gate is a result; a study without any run is none.
    left = outcome.count("kept") + (outcome.count("excluded") if arguments.level == "participant" else 0)
    if not left:
        print(
            "rsfc: no run is left to analyse: see the reasons in participants_flow.tsv, or in the log", file=sys.stderr
        )
        return EXIT_NONE_LEFT
    return EXIT_SOME_FAILED if outcome.count("failed") else 0


def _demo(arguments: argparse.Namespace) -> int:
    """Simulate the published study's cohort with planted effects, run the whole study, and hold what was found against
    what was planted: OUT/report.html and OUT/planted_vs_found.tsv. Exit code 0 where the planted faults, and nothing
    else, were reported; 4 otherwise."""
    from dataclasses import replace

    from rsfc_gpu.simulate import CohortSettings, summarise_score
    from rsfc_gpu.study.demo import RAW_PARTICIPANTS, RAW_VOLUMES, run_demo
    from rsfc_gpu.study.run import RunOptions

    options = RunOptions(device=arguments.device, jobs=arguments.jobs, command=shlex.join(["rsfc", *sys.argv[1:]]))
    # Skull-stripped, because the noise outside would triple what a demonstration leaves on a disk.
    settings = CohortSettings(effects=arguments.effects, skull_stripped=not arguments.raw, seed=arguments.seed)
    if arguments.raw:
        settings = replace(settings, level="raw", participants=RAW_PARTICIPANTS, n_volumes=RAW_VOLUMES)
    done = run_demo(arguments.out, settings, options, progress_bars())
    _print_outcome(done.outcome, arguments.out)
    print(summarise_score(done.score).to_string(index=False, float_format="%.2f"))
    correlations = done.score[done.score["kind"].str.startswith("association")]
    if len(correlations):
        print(f"correlations with treatment: {(correlations['result'] == 'found').sum()} of {len(correlations)} found")
    if done.runs is not None:
        _print_raw_errors(done.runs)
    for line in done.surprises:
        print(f"  not as planted: {line}")
    print(f"planted and found: {arguments.out / 'planted_vs_found.tsv'}\nreport: {done.report}")
    return EXIT_SOME_FAILED if done.surprises else 0


def _print_raw_errors(runs: pd.DataFrame) -> None:
    """How far the preprocessing was from the truth, on average and in the worst run; and what so few people show."""
    print(f"{len(runs)} raw runs against their truth   mean over runs, worst run")
    for name in runs.columns.drop("file"):
        worst = runs[name].min() if name == "seed_dice" else runs[name].max()
        print(f"  {name:<20} {runs[name].mean():>8.3f} {worst:>8.3f}")
    print(
        "The largest errors of motion are beside sudden movements, where slice timing mixes neighbouring volumes.\n"
        "With so few people most planted effects are missed, and most clusters of the F tests are false: these have a\n"
        "handful of degrees of freedom for error. The demonstration without --raw has the whole cohort."
    )


def _print_outcome(outcome: Outcome, out: Path) -> None:
    counts = ", ".join(f"{outcome.count(status)} {status}" for status in ("kept", "excluded", "failed"))
    reused = f"; {outcome.n_reused} were up to date" if outcome.n_reused else ""
    print(f"runs: {counts}{reused}")
    for row in outcome.flow[outcome.flow["status"] == "failed"].itertuples():
        print(f"  failed: {row.participant_id} {row.session_id}: {row.reason}")
    for model, reason in outcome.not_fitted.items():
        print(f"  not fitted: {model}: {reason}")
    times = ", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in outcome.seconds.items())
    print(f"{out}: {times}")
    if outcome.report is not None:
        print(f"report: {outcome.report}")


def _check(arguments: argparse.Namespace) -> int:
    """Find every file, read the tables and headers, and build every design; no volume is read, nothing is written.
    Exit code 4 where runs would fail."""
    from rsfc_gpu.study.config import load_study
    from rsfc_gpu.study.plan import expected_flow, expected_models, plan_study

    plan = plan_study(arguments.bids_dir, load_study(arguments.study), template=arguments.template)
    flow = expected_flow(plan)
    _print_plan(plan)
    runs = flow[flow["bold"].notna()]
    counts = runs["status"].value_counts()
    print("runs      " + ", ".join(f"{counts.get(name, 0)} {name}" for name in ("kept", "excluded", "failed")))
    for row in runs[runs["status"] != "kept"].itertuples():
        print(f"          {row.status}: {row.participant_id} {row.session_id}: {row.reason}")
    for one in expected_models(plan, flow):
        _print_model(one)
    return EXIT_SOME_FAILED if counts.get("failed", 0) else 0


def _print_model(one: BuiltModel) -> None:
    """A model as it will be fitted: how many maps each cell has, covariates with the levels found, who is left out."""
    assert one.design is not None
    maps = one.table.iloc[one.design.rows]
    per_cell = (one.design.matrix[:, : len(one.design.cells)] != 0).sum(axis=0)
    cells = ", ".join(f"{name} {count}" for name, count in zip(one.design.cells, per_cell, strict=True))
    left = f", {len(one.dropped)} left out" if len(one.dropped) else ""
    print(f"model     {one.model.name}: {one.model.kind}, {len(maps)} maps ({cells}){left}")
    if one.model.covariates:
        print(f"          covariates: {', '.join(_with_levels(maps[name]) for name in one.model.covariates)}")
    for row in one.dropped.itertuples():
        print(f"          {row.participant_id} {row.session_id}: {row.reason}")


def _with_levels(column: pd.Series[Any]) -> str:
    """The name of a covariate; of a text column with what stands in it."""
    is_number = column.dtype.kind in "fiu"
    return f"{column.name}" if is_number else f"{column.name} ({', '.join(map(str, column.unique()))})"


def _print_plan(plan: Plan) -> None:
    run = plan.dataset.runs[0]
    print(f"study     {plan.study.name}")
    print(
        f"dataset   {plan.dataset.images}: {len(plan.dataset.runs)} runs ({run.form}), {run.space}, TR {plan.tr_s:g} s"
    )
    if plan.preprocess is not None:
        done = plan.preprocess
        print(
            f"raw runs  {done.discard_volumes} volumes discarded, slice timing: {done.slice_timing}, template: "
            f"{done.template or 'the default one'}, {done.voxel_mm:g} mm voxels, smoothed {done.fwhm_mm:g} mm; "
            "their motion is known once they are realigned"
        )
    low, high = plan.study.denoise.low_hz, plan.study.denoise.high_hz
    open_end = " (no upper end: beyond the Nyquist frequency)" if not 0 < high <= 0.5 / plan.tr_s else ""
    print(f"band      {low:g} to {high:g} Hz{open_end}")
    print(f"people    {len(plan.people)} in participants.tsv")
    print(f"seeds     {', '.join(plan.seeds)}")


def _init(arguments: argparse.Namespace) -> None:
    """Write the built-in study as a commented file to edit."""
    from rsfc_gpu.files import write_text
    from rsfc_gpu.study.config import builtin_text

    if arguments.file.exists():
        raise InputError(f"{arguments.file} exists; give another name")
    write_text(arguments.file, builtin_text())
    print(f"{arguments.file}: edit it, then rsfc check BIDS_DIR --study {arguments.file}")
