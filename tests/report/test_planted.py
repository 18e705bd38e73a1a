"""What was planted in simulated data, on the page."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pandas as pd

from rsfc_gpu.report.exhibits import Exhibits
from rsfc_gpu.report.outputs import Outputs
from rsfc_gpu.report.page import Text
from rsfc_gpu.report.planted import NAME, RUNS, planted_blocks


def blocks(folder):
    with ThreadPoolExecutor(1) as pool:
        return list(planted_blocks(Outputs(folder), Exhibits(folder, pool)))


def test_real_data_have_no_such_section(tmp_path):
    assert blocks(tmp_path) == []


def test_effects_and_raw_runs_are_shown(tmp_path):
    results = ["found", "found", "missed", "false"]
    pd.DataFrame({"result": results, "name": list("abcd")}).to_csv(tmp_path / NAME, sep="\t", index=False)
    alone = blocks(tmp_path)
    assert any(isinstance(one, Text) and "2 found, 1 missed, 0 leak, 1 false" in str(one) for one in alone)
    runs = pd.DataFrame({"file": ["sub-01.nii.gz"], "motion_rms_mm": [0.0123]})
    runs.to_csv(tmp_path / RUNS, sep="\t", index=False)
    more = blocks(tmp_path)[len(alone) :]
    assert len(more) == 2 and "0.012" in str(more[1])
