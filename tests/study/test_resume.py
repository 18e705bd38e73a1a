"""A study that is killed at any moment, or whose workers are, ends with the same bytes as an undisturbed one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from dying_worker import process_run_and_die
from rsfc_gpu.study.config import parse_study
from rsfc_gpu.study.executor import run_all
from rsfc_gpu.study.participant import process_run
from rsfc_gpu.study.run import RunOptions, run_study
from study_dataset import STUDY, write_dataset

pytestmark = pytest.mark.slow
SETTINGS = parse_study(STUDY, "small")
PROGRAM = """
import sys
from rsfc_gpu.study.config import parse_study
from rsfc_gpu.study.run import RunOptions, run_study
from study_dataset import STUDY
run_study(sys.argv[1], sys.argv[2], parse_study(STUDY, "small"), RunOptions(device="cpu", jobs=2, report=False))
"""


def files_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and "logs" not in path.parts
        and path.name not in ("provenance.json", "dataset_description.json")
    }


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("bids"), n_patients=10, n_controls=4)


@pytest.fixture(scope="module")
def undisturbed(dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    run_study(dataset, out, SETTINGS, RunOptions(device="cpu", jobs=2, report=False))
    return files_of(out)


def test_killed_ten_times(dataset, undisturbed, tmp_path):
    rng = np.random.default_rng(0)
    out = tmp_path / "out"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", PROGRAM, str(dataset), str(out)]
    killed = 0
    for _ in range(10):
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        while process.poll() is None and not out.exists():
            time.sleep(0.01)  # the imports are not what is to be disturbed
        time.sleep(rng.uniform(0, 1.5))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
    assert killed >= 3
    run_study(dataset, out, SETTINGS, RunOptions(device="cpu", jobs=2, report=False))
    left_over = {name for name in files_of(out) if name.rsplit("/", 1)[-1].startswith(".")}
    assert {name: data for name, data in files_of(out).items() if name not in left_over} == undisturbed


def test_a_cluster_loses_a_worker(dataset, undisturbed, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed (extra: cluster)")
    import rsfc_gpu.study.run as study_run

    monkeypatch.setattr(study_run, "process_run", process_run_and_die)
    out = tmp_path / "out"
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as cluster:
        options = RunOptions(device="cpu", scheduler=cluster.scheduler_address, report=False)
        outcome = run_study(dataset, out, SETTINGS, options)
    assert outcome.count("kept") == 24 and (out / "killed").exists()
    (out / "killed").unlink()
    assert files_of(out) == undisturbed


def test_no_scheduler_is_a_clear_error():
    from rsfc_gpu.errors import ResourceError

    with pytest.raises(ResourceError, match=r"distributed|no Dask scheduler"):
        list(run_all(process_run, [], jobs=1, scheduler="tcp://127.0.0.1:1"))
