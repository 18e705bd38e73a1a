"""A whole study, from a dataset to tables, maps and report: `run_study` reads like the methods section of a paper."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from rsfc_gpu.backend import Backend, BackendName
from rsfc_gpu.backend.cuda import visible_devices
from rsfc_gpu.errors import InputError, ResourceError
from rsfc_gpu.report.tables import write_tsv
from rsfc_gpu.study.clinical_stage import analyse_where_needed
from rsfc_gpu.study.clusters import cell_means, check_motion, cluster_values, collect_clusters
from rsfc_gpu.study.config import Study
from rsfc_gpu.study.device import DeviceChoice
from rsfc_gpu.study.executor import Workers, default_jobs, run_all
from rsfc_gpu.study.findings import Findings
from rsfc_gpu.study.models import BuiltModel, ModelTask, built, forget, forget_others, process_model
from rsfc_gpu.study.outputs import prepare
from rsfc_gpu.study.participant import Record, RunTask, process_run, stored_record
from rsfc_gpu.study.people import SCAN_COLUMNS
from rsfc_gpu.study.plan import Plan, expected_flow, expected_models, plan_study
from rsfc_gpu.study.provenance import write_description, write_models, write_provenance, write_study
from rsfc_gpu.study.scans import note_missing_variables, participant_flow, scan_maps, scan_table
from rsfc_gpu.study.single_run import Engine

log = logging.getLogger(__name__)
Level = Literal["participant", "group", "all"]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How, not what: where and by which way the work is done, and on whom.

    Attributes
    ----------
    level : "participant" (maps of each run), "group" (all that follows, from maps that are there) or "all".
    participants : labels; None: everybody.
    max_gpu_memory_bytes : of the GPU, per process; None: nine tenths of what is free.
    engine : as `seed_maps`.
    work : folder in which the masked series of each run is kept for another analysis; None: none is kept.
    jobs : runs at once; None: as many as processors and memory allow; of processes on GPUs one for each.
    workers : what the jobs are, "threads" or "processes".
    scheduler : address of a Dask scheduler, instead of this machine.
    template : that raw runs are normalised to; None: the default one.
    command : for the provenance. report : whether report.html is written.
    """

    level: Level = "all"
    participants: Collection[str] | None = None
    device: BackendName = "auto"
    max_gpu_memory_bytes: int | None = None
    engine: Engine = "operator"
    work: Path | None = None
    jobs: int | None = None
    workers: Workers = "threads"
    scheduler: str | None = None
    template: Path | None = None
    command: str = ""
    report: bool = True

    def __post_init__(self) -> None:
        if self.jobs is not None and self.jobs < 1:
            raise InputError(f"jobs = {self.jobs}: must be at least 1")


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a study came to: the flow of the runs (or their records, at participant level), where the report is, and
    why models, or models of a seed, were not fitted."""

    flow: pd.DataFrame
    n_reused: int
    report: Path | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    not_fitted: dict[str, str] = field(default_factory=dict)

    def count(self, status: str) -> int:
        """Runs with a status; people without images are not runs."""
        return int(((self.flow["status"] == status) & self.flow["bold"].notna()).sum())


def run_study(
    bids: str | Path, out: str | Path, study: Study, options: RunOptions | None = None, progress: Progress | None = None
) -> Outcome:
    """Run a study, or as much of it as is not done yet; every result is a file under `out`.

    Parameters
    ----------
    bids : a dataset as `find_runs` reads it. out : a folder that is new, empty, or of this study.
    progress : called with the stage, tasks done, and tasks in all.

    Raises
    ------
    InputError : the study does not fit the dataset; nothing has been computed then. A run that cannot be used is no
        error: it is a row of the flow.
    ResourceError, BackendError : disk, memory, workers, device.
    """
    options, out = options or RunOptions(), Path(out).resolve()
    seconds: dict[str, float] = {}
    plan = plan_study(bids, study, options.participants, template=options.template)
    if options.level != "participant":
        _check_models(plan, options)
    backend = DeviceChoice(options.device, max_gpu_memory_bytes=options.max_gpu_memory_bytes).open()
    prepare(out, plan.dataset.root)
    with _logged(out):
        write_study(out, study)
        if options.max_gpu_memory_bytes is not None and backend.name == "cpu":
            log.info("the limit of GPU memory is not used: the work is done on the CPU")
        write_description(out, plan, backend, options.command)
        with _timed(seconds, "participants"):
            records = _map_runs(plan, out, options, backend, progress)
        if options.level == "participant":
            return Outcome(pd.DataFrame(records), _reused(records), seconds=seconds)
        flow = participant_flow(records, plan.people, study)
        scans = scan_table(flow, plan.people)
        maps = scan_maps(scans, flow, plan.dataset, study, out, plan.seeds)
        with _timed(seconds, "group"):
            models, not_fitted = _fit_models(plan, scans, maps, out, backend, options, progress)
        note_missing_variables(flow, {one.model.name: one.dropped for one in models})
        write_tsv(flow, out / "participants_flow.tsv")
        with _timed(seconds, "clinical"):
            clusters = collect_clusters(study, plan.seeds, out)
            values = cluster_values(clusters, scans, maps, study, out)
            cell_means(values, models, out)
            check_motion(scans, maps, study, out)
            significant = clusters[clusters["significant"].astype(bool)]
            people = _analysed_people(plan.people, scans, study.participants.baseline)
            by_name = {one.model.name: one for one in models}
            findings = Findings(study, people, scans, values, by_name, significant, maps, out)
            analyse_where_needed(findings, _jobs(plan, options))
        how = {"command": options.command, "engine": options.engine}
        write_provenance(out, plan, backend, how, flow, _reused(records), seconds)
        report = None
        if options.report:
            with _timed(seconds, "report"):
                from rsfc_gpu.report import write_report

                report = write_report(out)
        return Outcome(flow, _reused(records), report, seconds, not_fitted)


def _check_models(plan: Plan, options: RunOptions) -> None:
    try:
        expected_models(plan, expected_flow(plan))
    except InputError as error:
        if options.participants is None:
            raise
        hint = "With --participant-label, level participant makes the maps alone; then level group needs no label."
        raise InputError(f"{error}. Only some participants were asked for. {hint}") from error


def _map_runs(plan: Plan, out: Path, options: RunOptions, backend: Backend, progress: Progress | None) -> list[Record]:
    """The participant stage: maps of every run, or the records of those that are there."""
    study, (jobs, gpus) = plan.study, _jobs_and_gpus(plan, options, backend)
    # On a cluster each worker has a device of its own; here it was chosen once.
    device = options.device if options.scheduler else _name(backend)
    threads = 1 if jobs > 1 or options.scheduler else None
    tasks = [
        RunTask(
            files=run,
            images=plan.dataset.images,
            out=out,
            tissues=tuple(plan.dataset.tissues.items()) if run.form == "normalised" else (),
            tr_s=plan.tr_s,
            scan=study.scan,
            denoise=study.denoise,
            seeds=study.seeds,
            gates=study.participants,
            device=DeviceChoice(device, threads, options.max_gpu_memory_bytes),
            engine=options.engine,
            work=None if options.work is None else options.work.resolve(),
            preprocess=plan.preprocess,
        )
        for run in plan.dataset.runs
    ]
    if options.level == "group":
        return [stored_record(task) for task in tasks]
    results = run_all(process_run, tasks, jobs=jobs, workers=options.workers, scheduler=options.scheduler, gpus=gpus)
    return _watched("runs", results, len(tasks), progress)


def _fit_models(
    plan: Plan,
    scans: pd.DataFrame,
    maps: dict[str, list[Path]],
    out: Path,
    backend: Backend,
    options: RunOptions,
    progress: Progress | None,
) -> tuple[list[BuiltModel], dict[str, str]]:
    """The group stage: every model for every seed; and why some were not fitted."""
    models = [built(model, scans) for model in plan.study.models]
    names = [(one.model.name, seed) for one in models for seed in one.model.seeds or plan.seeds]
    forget_others(out, names)
    for one in models:
        for seed in plan.seeds if one.design is None else ():
            forget(out, one.model.name, seed)
    tasks = [
        ModelTask(
            one.model,
            one.design,
            seed,
            one.table[["participant_id", "session_id", *_variables(one)]].reset_index(drop=True),
            [maps[seed][int(at)] for at in one.table.index],
            out,
            DeviceChoice(_name(backend), max_gpu_memory_bytes=options.max_gpu_memory_bytes),
        )
        for one in models
        if one.design is not None
        for seed in one.model.seeds or plan.seeds
    ]
    fits = _watched("models", run_all(process_model, tasks, jobs=_jobs(plan, options)), len(tasks), progress)
    write_models(out, models, fits, plan, scans)
    return models, _not_fitted(models, fits)


def _not_fitted(models: Sequence[BuiltModel], fits: Sequence[Record]) -> dict[str, str]:
    """Reasons by model; by model and seeds, where some of a model's seeds are concerned."""
    reasons = {one.model.name: one.problem for one in models if one.problem is not None}
    seeds: dict[tuple[str, str], list[str]] = {}
    for fit in fits:
        if fit.get("skipped"):
            seeds.setdefault((fit["model"], fit["skipped"]), []).append(fit["seed"])
    return reasons | {f"{model}, {', '.join(sorted(names))}": why for (model, why), names in seeds.items()}


def _variables(one: BuiltModel) -> list[str]:
    model = one.model
    named = [*([model.group] if model.group else []), *model.covariates, *model.regressors]
    return list(dict.fromkeys(named))


def _watched(stage: str, results: Any, total: int, progress: Progress | None) -> list[Record]:
    found = []
    for result in results:
        found.append(result)
        if progress:
            progress(stage, len(found), total)
    return found


def _analysed_people(people: pd.DataFrame, scans: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """The participants with an analysed scan, with the mean displacement of the one at baseline, or of another."""
    in_time = scans.assign(later=scans["session_id"] != baseline).sort_values("later", kind="stable")
    first = in_time.drop_duplicates("participant_id").set_index("participant_id")
    inside = people[people["participant_id"].isin(first.index)].reset_index(drop=True)
    measures = {name: inside["participant_id"].map(first[name]) for name in SCAN_COLUMNS if name in first}
    return inside.assign(**measures, analysed=True)


def _jobs(plan: Plan, options: RunOptions) -> int:
    return options.jobs or default_jobs(plan.bytes_each)


def _jobs_and_gpus(plan: Plan, options: RunOptions, backend: Backend) -> tuple[int, list[str]]:
    """Runs at once in the participant stage, and the GPUs that worker processes share out among them."""
    jobs = _jobs(plan, options)
    if backend.name != "cuda" or options.scheduler:
        return jobs, []
    gpus = visible_devices()
    if options.workers == "threads":
        if len(gpus) > 1:
            log.info("%d GPUs are there, and threads use one of them: --workers processes uses all", len(gpus))
        return jobs, []
    return options.jobs or len(gpus), gpus


def _name(backend: Backend) -> BackendName:
    return "cuda" if backend.name == "cuda" else "cpu"


def _reused(records: Sequence[Record]) -> int:
    return sum(bool(record.get("reused")) for record in records)


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Any:
    started = time.perf_counter()
    yield
    seconds[stage] = round(time.perf_counter() - started, 2)


@contextmanager
def _logged(out: Path) -> Any:
    """Everything the package logs goes to a file of this invocation too."""
    import os

    path = out / "logs" / f"{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.log"
    try:
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise ResourceError(f"cannot write {path}: {error.strerror}") from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("rsfc_gpu")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    except BaseException:  # an interrupt too: the log must say why it ends, and the error goes on
        logger.exception("stopped")
        raise
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
        handler.close()
