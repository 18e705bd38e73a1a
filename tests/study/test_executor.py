"""Tasks side by side: threads and processes do the same; the default number follows what the process may use."""

from __future__ import annotations

import contextlib
import operator
import os
import subprocess
from types import SimpleNamespace

import pytest

from rsfc_gpu.errors import InputError, ResourceError
from rsfc_gpu.study import executor
from rsfc_gpu.study.executor import default_jobs, free_bytes, run_all


@pytest.mark.parametrize("workers", ["threads", "processes"])
def test_every_task_is_done_once(workers):
    found = sorted(run_all(operator.neg, list(range(20)), jobs=2, workers=workers))
    assert found == sorted(-n for n in range(20))


def _refuse(n):
    raise InputError(f"task {n}")


def test_an_error_ends_the_whole():
    with pytest.raises(InputError, match="task"):
        list(run_all(_refuse, [1, 2, 3], jobs=2))


def test_default_jobs_follow_memory_and_slurm(monkeypatch):
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    processors = default_jobs(1)
    assert 1 <= processors <= len(os.sched_getaffinity(0))
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    assert default_jobs(1) == 1
    monkeypatch.delenv("SLURM_CPUS_PER_TASK")
    assert default_jobs(free_bytes()) == 1
    assert default_jobs(2**60) == 1


def test_a_quota_of_the_control_group_counts(monkeypatch, tmp_path):
    monkeypatch.setattr(executor, "_CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    (tmp_path / "cpu.max").write_text("300000 100000\n")
    assert default_jobs(1) == 3
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    assert free_bytes() == 600000 and default_jobs(240000) == 2


#: What a worker process sees, after long enough that every worker gets a task.
SEEN = "sleep 0.5; echo $PPID GPU $CUDA_VISIBLE_DEVICES"


@pytest.mark.slow
def test_each_worker_process_sees_one_gpu(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    seen = set(run_all(subprocess.getoutput, [SEEN] * 8, jobs=3, workers="processes", gpus=["GPU-a", "3"]))
    found = dict(line.split(" GPU ") for line in seen)
    assert sorted(found.values()) in (["3", "GPU-a", "GPU-a"], ["3", "GPU-a"])  # a slow start leaves the third idle
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    assert next(run_all(subprocess.getoutput, [SEEN], jobs=2, workers="processes")).endswith(" GPU")


def test_a_worker_process_that_dies_is_a_clear_error():
    with pytest.raises(ResourceError, match="worker process died"):
        list(run_all(os._exit, [9, 9], jobs=2, workers="processes"))


def test_workers_of_a_cluster_that_die_again_and_again_are_a_clear_error(monkeypatch):
    distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed (extra: cluster)")

    class Killed:
        def result(self):
            raise distributed.KilledWorker("task", SimpleNamespace(address="tcp://there:2"), 3)

    class Client(contextlib.nullcontext):
        loop = None

        def __init__(self, *_, **__):
            super().__init__()

        def map(self, _, tasks, **__):
            return [Killed() for _ in tasks]

    monkeypatch.setattr(distributed, "Client", Client)
    monkeypatch.setattr(distributed, "as_completed", lambda futures, **_: iter(futures))
    with pytest.raises(ResourceError, match="workers of tcp://here:1 died again and again"):
        list(run_all(operator.neg, [1], jobs=1, scheduler="tcp://here:1"))
