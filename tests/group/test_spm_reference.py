"""Whole models against SPM12: every reference fitted anew, judged by the reference's own comparison program."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from rsfc_gpu.group.cluster_tables import clusters
from rsfc_gpu.group.glm import Fit, fit
from rsfc_gpu.group.stat import Stat
from rsfc_gpu.group.topology import height_threshold
from spm_cases import KINDS, SpmCase, spm_cases


def _contrasts(case: SpmCase, fitted: Fit) -> dict[int, Stat]:
    """The contrasts of SPM's record, under its numbers."""
    maps = {}
    for contrast in case.record["contrasts"]:
        make = fitted.t if contrast["STAT"] == "T" else fitted.f
        maps[contrast["index"]] = make(contrast["c"], name=contrast["name"])
    return maps


def _computed(case: SpmCase, fitted: Fit, target: Path) -> None:
    """Write what compare.py reads: <case>/<variant>.npz and .json."""
    arrays = {
        "mask": fitted.mask,
        "ResMS": fitted.residual_variance,
        "RPV": fitted.smoothness.rpv,
        "FWHM": fitted.smoothness.fwhm_voxels,
        "R": fitted.smoothness.resels,
        "S": fitted.mask.sum(),
        "erdf": fitted.dof,
        "V": fitted.covariance,
    }
    tables = {}
    for index, stat in _contrasts(case, fitted).items():
        arrays[f"{stat.kind}{index}"] = stat.values
        arrays[f"con{index}"] = stat.effect
        rows = [
            {
                "k": int(row.voxels),
                "xyz": [row.x, row.y, row.z],
                **{
                    key: float(getattr(row, key))
                    for key in ("peak", "p_unc", "p_fwe", "q_fdr", "peak_p_fwe", "peak_q_fdr")
                },
            }
            for row in clusters(stat).itertuples()
        ]
        tables[str(index)] = {"u": height_threshold(stat), "clusters": rows}
    folder = target / case.folder.parent.name
    folder.mkdir(exist_ok=True)
    np.savez(folder / f"{case.folder.name}.npz", **arrays)
    (folder / f"{case.folder.name}.json").write_text(json.dumps(tables))


def test_every_model_passes_the_comparison_program(reference_root, tmp_path, cpu) -> None:
    """No FAIL, and no SKIP but for the variants that are left out: local smoothness and 42 components."""
    names = []
    for case in spm_cases(reference_root):
        _computed(case, fit(case.maps, case.design, mask=case.mask, affine=case.affine, backend=cpu), tmp_path)
        names.append(case.name)
    assert len(names) == 8 and {name.split("/")[1] for name in names} == set(KINDS), names
    root = reference_root / "reference" / "spm"
    done = subprocess.run(
        [sys.executable, root / "compare.py", root, tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    sections, current = {}, ""
    for line in done.stdout.splitlines():
        if " / " in line and not line.startswith(" "):
            current = line.split("   ")[0].replace(" / ", "/")
        elif line.strip().startswith(("FAIL", "SKIP")):
            sections.setdefault(current, []).append(line.strip())
    assert not set(sections) & set(names), done.stdout
