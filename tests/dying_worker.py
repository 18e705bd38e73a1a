"""A worker that dies once with its work half done; in a module of its own, so that worker processes can import it."""

from __future__ import annotations

import os
import signal

from rsfc_gpu.study.participant import process_run


def process_run_and_die(task):
    """As `process_run`, but the first worker to come here dies with its work half done."""
    marker = task.out / "killed"
    record = process_run(task)
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return record
    os.kill(os.getpid(), signal.SIGKILL)
    return record
