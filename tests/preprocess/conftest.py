"""SPM12's results on one small synthetic run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

DEGREES = np.array([1.0, 1.0, 1.0, *[180.0 / np.pi] * 3])  # parameters in mm and rad to mm and degrees


@dataclass(frozen=True)
class SpmRun:
    folder: Path
    truth: dict[str, Any]

    @property
    def bold(self) -> Any:
        return nibabel.load(self.folder / "epi.nii.gz")

    def volume(self, name: str) -> NDArray[np.float64]:
        return np.asarray(nibabel.load(self.folder / f"{name}.nii.gz").dataobj, dtype=np.float64)

    def motion(self, name: str) -> NDArray[np.float64]:
        return np.loadtxt(self.folder / f"rp_{name}.txt")


@pytest.fixture(scope="session")
def spm_run(reference_root: Path) -> SpmRun:
    folder = reference_root / "reference" / "spm_preproc"
    return SpmRun(folder, json.loads((folder / "truth.json").read_text()))
