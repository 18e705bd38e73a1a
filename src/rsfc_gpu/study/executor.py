"""Work side by side: threads or processes of this machine, or the workers of a Dask cluster, behind one function."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal, TypeVar

from threadpoolctl import threadpool_limits

from rsfc_gpu.backend.blas import one_blas_thread
from rsfc_gpu.errors import ResourceError

Task = TypeVar("Task")
Result = TypeVar("Result")
Workers = Literal["threads", "processes"]
_CGROUP = Path("/sys/fs/cgroup")


def default_jobs(bytes_each: int) -> int:
    """How many tasks to run at once: the processors that this process may use, as far as memory goes.

    Processors: the affinity, the CPU quota of the control group, SLURM_CPUS_PER_TASK, whichever is smallest.

    Parameters
    ----------
    bytes_each : memory that one task needs.
    """
    processors = [float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)]
    quota = _words(_CGROUP / "cpu.max")
    if len(quota) == 2 and quota[0].isdigit():
        processors.append(int(quota[0]) / int(quota[1]))
    slurm = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if slurm.isdigit():
        processors.append(int(slurm))
    return max(1, min(int(min(processors)), int(0.8 * free_bytes() // max(bytes_each, 1))))


def free_bytes() -> int:
    """Memory that this process may still take: of the machine, or of its control group where that is less."""
    free = [2**62]
    for line in _lines(Path("/proc/meminfo")):
        if line.startswith("MemAvailable:"):
            free.append(1024 * int(line.split()[1]))
    limit, used = _words(_CGROUP / "memory.max"), _words(_CGROUP / "memory.current")
    if limit and limit[0].isdigit() and used:
        free.append(max(0, int(limit[0]) - int(used[0])))
    return min(free)


def run_all(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    *,
    jobs: int,
    workers: Workers = "threads",
    scheduler: str | None = None,
    gpus: Sequence[str] = (),
) -> Iterator[Result]:
    """`function` of every task, as they finish. An exception of a task ends the whole; nothing is left running.

    Parameters
    ----------
    function, tasks : for processes and clusters both must pickle.
    jobs : tasks at the same time; of a cluster its workers decide.
    gpus : of this machine, as CUDA_VISIBLE_DEVICES names them. Each worker process sees one of them, in turn.
    scheduler : address of a Dask scheduler ("tcp://host:8786"). A task whose worker dies is done by another.

    Raises
    ------
    ResourceError : no scheduler at the address, or dask.distributed is not installed; worker processes died, those of a
        cluster several times.
    """
    if scheduler is not None:
        yield from _on_cluster(function, tasks, scheduler)
        return
    pool: Executor
    if workers == "processes" and jobs > 1:
        # Not forked: libraries with threads of their own do not survive it.
        context = get_context("spawn")
        started = context.Value("i", 0)
        pool = ProcessPoolExecutor(jobs, context, initializer=_start_worker, initargs=(started, tuple(gpus)))
    else:
        pool = ThreadPoolExecutor(jobs, thread_name_prefix="rsfc")
    with one_blas_thread():
        try:
            for future in as_completed([pool.submit(function, task) for task in tasks]):
                yield future.result()
        except Exception as error:
            if type(error).__name__ == "BrokenProcessPool":
                raise ResourceError("a worker process died (out of memory?); use fewer --jobs") from error
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(started: Any, gpus: Sequence[str]) -> None:
    """In a new worker process: one BLAS thread, and a GPU of its own where there are several."""
    threadpool_limits(limits=1, user_api="blas")
    with started.get_lock():
        turn = started.value
        started.value += 1
    if gpus:
        # CUDA looks at this when it is first used, and nothing has used it here yet.
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[turn % len(gpus)]


def _on_cluster(function: Callable[[Task], Result], tasks: Sequence[Task], scheduler: str) -> Iterator[Result]:
    try:
        from distributed import Client, KilledWorker
        from distributed import as_completed as as_they_finish
    except ImportError as error:
        raise ResourceError("--scheduler needs dask.distributed: pip install 'rsfc-gpu[cluster]'") from error
    try:
        client: Any = Client(scheduler, timeout="10s", set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise ResourceError(f"no Dask scheduler at {scheduler} ({error})") from error
    with client:
        futures = client.map(function, tasks, pure=False, retries=2)
        for future in as_they_finish(futures, loop=client.loop):
            try:
                yield future.result()
            except KilledWorker as error:
                raise ResourceError(f"workers of {scheduler} died again and again (out of memory?): {error}") from error


def _words(path: Path) -> list[str]:
    return [word for line in _lines(path) for word in line.split()]


def _lines(path: Path) -> list[str]:
    with suppress(OSError):
        return path.read_text().splitlines()
    return []
