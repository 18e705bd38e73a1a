"""SPM12's group cases: their maps, designs and contrasts, for tests that fit them again."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rsfc_gpu.group.design import AbsorbedCovariateWarning, Design
from rsfc_gpu.group.models import flexible_factorial, two_sample

KINDS = ("t2_unequal", "t2_equal", "ff_paper", "ff_iid")


@dataclass(frozen=True, eq=False)
class SpmCase:
    """One model that SPM12 fitted: `folder` holds its results, `record` is its stats.json."""

    folder: Path
    record: dict[str, Any]
    design: Design
    maps: np.ndarray
    mask: np.ndarray
    affine: np.ndarray

    @property
    def name(self) -> str:
        return f"{self.folder.parent.name}/{self.folder.name}"


def spm_cases(reference_root: Path) -> Iterator[SpmCase]:
    """The models with and without estimated covariance, in a fixed order."""
    import nibabel

    for case in sorted((reference_root / "reference" / "spm").glob("A*")):
        image = nibabel.load(case / "inputs" / "data.nii.gz")
        maps = np.moveaxis(np.asarray(image.dataobj, dtype=np.float32), 3, 0)
        mask = np.asarray(nibabel.load(case / "inputs" / "mask_explicit.nii.gz").dataobj)
        table = pd.read_csv(case / "inputs" / "design.csv")
        for kind in KINDS:
            folder = case / kind
            if not (folder / "stats.json").exists():
                continue
            record = json.loads((folder / "stats.json").read_text())
            assert record["scan_order"] == list(range(len(table)))
            yield SpmCase(folder, record, spm_design(table, kind), maps, mask, np.asarray(image.affine))


def spm_design(table: pd.DataFrame, kind: str) -> Design:
    """The design of a variant of the reference."""
    covariates = ["age", "sex", "fd"]
    if kind.startswith("t2"):
        return two_sample(
            table, levels=[1, 2], covariates=covariates, variances="unequal" if kind == "t2_unequal" else "equal"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AbsorbedCovariateWarning)
        return flexible_factorial(
            table,
            levels={"group": [1, 2], "time": [1, 2]},
            covariates=covariates,
            covariance="spm" if kind == "ff_paper" else "independent",
        )
