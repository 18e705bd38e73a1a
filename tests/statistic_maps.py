"""Statistic maps for tests of inference: SPM12's group results with SPM's own smoothness, and a small made-up one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from rsfc_gpu.group.stat import Smoothness, Stat

STUDY_AFFINE = np.array([[-3.0, 0, 0, 60], [0, 3, 0, -80], [0, 0, 3, -50], [0, 0, 0, 1]])


def spm_maps(reference_root: Path) -> Iterator[tuple[Stat, dict[str, Any], dict[str, Any], Path]]:
    """Each stored map: Stat, SPM's record of the contrast, its record of the model, and the model's folder."""
    import nibabel

    for record in sorted((reference_root / "reference" / "spm").glob("*/*/stats.json")):
        model = json.loads(record.read_text())
        if model["variant"]["nonstat"]:
            continue
        folder = record.parent
        image = nibabel.load(folder / "mask.nii.gz")
        mask = np.asarray(image.dataobj) > 0
        smoothness = Smoothness(
            fwhm_voxels=np.array(model["FWHM_vox"], dtype=float),
            resels=np.array(model["R"], dtype=float),
            rpv=np.where(mask, model["V2R"], np.nan),
        )
        for contrast in model["contrasts"]:
            path = folder / f"spm{contrast['STAT']}_{contrast['index']:04d}.nii.gz"
            if not path.exists():
                continue
            values = np.where(mask, np.asarray(nibabel.load(path).dataobj), np.nan).astype(np.float32)
            stat = Stat(
                values=values,
                effect=values,
                standard_error=values,
                dof=tuple(contrast["df"]),
                kind=contrast["STAT"],
                mask=mask,
                affine=np.asarray(image.affine, dtype=float),
                smoothness=smoothness,
                name=contrast["name"],
            )
            yield stat, contrast, model, folder


def blobs(seed: int = 0, *, shape: tuple[int, int, int] = (36, 40, 34), kind: str = "T") -> Stat:
    """A smooth map with three planted blobs, inside a ball."""
    rng = np.random.default_rng(seed)
    values = ndimage.gaussian_filter(rng.standard_normal(shape), 1.2)
    values /= values.std()
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"))
    for centre, height in (((12, 20, 16), 6.0), ((24, 14, 20), 5.0), ((20, 30, 10), 4.5)):
        values += height * np.exp(-((grid - np.reshape(centre, (3, 1, 1, 1))) ** 2).sum(axis=0) / 12)
    middle = (np.array(shape) - 1) / 2
    inside = ((grid - middle.reshape(3, 1, 1, 1)) ** 2).sum(axis=0) < (min(shape) / 2) ** 2
    values = values**2 if kind == "F" else values
    values = np.where(inside, values, np.nan).astype(np.float32)
    fwhm = np.array([2.8, 2.9, 3.0])
    resels = np.array([1.0, 17.0, 180.0, inside.sum() / fwhm.prod()])
    return Stat(
        values=values,
        effect=values,
        standard_error=values,
        dof=(1.0, 60.0),
        kind=kind,
        mask=inside,
        affine=STUDY_AFFINE,
        smoothness=Smoothness(fwhm_voxels=fwhm, resels=resels, rpv=np.where(inside, 1 / fwhm.prod(), np.nan)),
        name="patients > controls",
    )
