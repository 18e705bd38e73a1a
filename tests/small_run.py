"""A small run on disk with a planted connection, for the tests of whole runs and of the command line."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pandas as pd

from rsfc_gpu.bids.confounds import MOTION_COLUMNS

SHAPE, N_VOLUMES, TR_S = (12, 14, 10), 120, 2.0
AFFINE = np.array([[-4.0, 0, 0, 24], [0, 4, 0, -28], [0, 0, 4, -20], [0, 0, 0, 1]])
SEED, TARGET = (slice(2, 4), slice(5, 7), slice(3, 5)), (slice(8, 10), slice(9, 11), slice(6, 8))


def write_run(folder: Path, *, seed: int = 0, dtype: type = np.int16) -> Path:
    """bold, mask, wm, csf, seeds (.nii.gz), rp.txt and confounds.tsv; the target follows the seed."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    inside = np.zeros(SHAPE, bool)
    inside[1:-1, 1:-1, 1:-1] = True
    t = np.arange(N_VOLUMES) * TR_S
    slow = np.sin(2 * np.pi * 0.04 * t) + np.sin(2 * np.pi * 0.063 * t + 1)
    data = 1000 + 10 * rng.standard_normal((*SHAPE, N_VOLUMES)) + 0.05 * t
    for region in (SEED, TARGET):
        data[region] += 12 * slow
    data[~inside] = 0
    motion = np.cumsum(rng.normal(0, 0.01, (N_VOLUMES, 6)), axis=0) * [1, 1, 1, 0.01, 0.01, 0.01]
    motion[60:, 0] += 0.7
    white_matter, csf, labels = (np.zeros(SHAPE, np.uint8) for _ in range(3))
    white_matter[4:6, 2:4, 2:4], csf[6:8, 2:4, 7:9] = 1, 1
    labels[SEED], labels[6:8, 6:8, 5:7] = 1, 2

    def save(name: str, values: np.ndarray) -> None:
        image = nibabel.Nifti1Image(values, AFFINE)
        image.header.set_xyzt_units("mm", "sec")
        if values.ndim == 4:
            image.header.set_zooms((4, 4, 4, TR_S))
        nibabel.save(image, folder / f"{name}.nii.gz")

    save("bold", data.astype(dtype))
    for name, mask in {"mask": inside.astype(np.uint8), "wm": white_matter, "csf": csf, "seeds": labels}.items():
        save(name, mask)
    np.savetxt(folder / "rp.txt", motion)
    confounds = pd.DataFrame(motion, columns=list(MOTION_COLUMNS))
    for name, mask in {"white_matter": white_matter, "csf": csf, "global_signal": inside}.items():
        confounds[name] = data.astype(dtype)[mask > 0].mean(axis=0)
    steps = np.abs(np.diff(motion, axis=0))
    displacement = ["n/a", *(steps[:, :3].sum(axis=1) + 50 * steps[:, 3:].sum(axis=1))]
    confounds["framewise_displacement"] = displacement
    confounds.to_csv(folder / "confounds.tsv", sep="\t", index=False)
    return folder
