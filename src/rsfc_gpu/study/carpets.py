"""What the report's carpet plots are drawn from: a few hundred voxels of a run, before and after cleaning."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.denoise import TemporalOperator
from rsfc_gpu.files import replacing
from rsfc_gpu.images.series import Series

CARPET_VOXELS, CARPET_SCALE = 400, 42.0


def write_carpets(beside: str, series: Series, operator: TemporalOperator) -> list[Path]:
    """Two int8 files, (voxels, T) before and (voxels, volumes kept) after cleaning: standard deviations times 42.

    Parameters
    ----------
    beside : start of their paths, folder and prefix. series : before cleaning; evenly spaced voxels are taken.
    """
    n_voxels = len(series.mask)
    at = np.unique(np.linspace(0, n_voxels - 1, min(CARPET_VOXELS, n_voxels)).astype(np.int64))
    before = series.samples[:, at].astype(np.float64) - series.centre[at]
    after = operator.expander @ (operator.compressor @ before)
    parts = {"desc-carpet_signals.npy": before, "desc-cleanedcarpet_signals.npy": after}
    return [_write(Path(f"{beside}{name}"), signals) for name, signals in parts.items()]


def _write(path: Path, signals: NDArray[np.float64]) -> Path:
    spread = signals.std(axis=0)
    scaled = np.divide(CARPET_SCALE * signals, spread, out=np.zeros_like(signals), where=spread > 0)
    with replacing(path) as temporary:
        np.save(temporary, np.clip(np.rint(scaled), -127, 127).astype(np.int8).T)
    return path
