"""The signals of a carpet plot are those of the run, and of its cleaned image."""

from __future__ import annotations

import numpy as np
import pytest

import rsfc_gpu as rg
from rsfc_gpu.study.carpets import CARPET_SCALE, CARPET_VOXELS, write_carpets
from rsfc_gpu.study.single_run import map_run
from small_run import write_run


@pytest.mark.parametrize("scrub", ["cut", "regress"])
def test_carpets_are_the_series_and_the_cleaned_image(tmp_path, cpu, scrub):
    folder = write_run(tmp_path)
    masks = {"white_matter": "wm", "csf": "csf", "global": "mask"}
    run = rg.Run(
        bold=folder / "bold.nii.gz",
        mask=folder / "mask.nii.gz",
        motion=folder / "rp.txt",
        tissues={tissue: folder / f"{name}.nii.gz" for tissue, name in masks.items()},
    )
    settings = rg.DenoiseSettings.preset("dparsf").replace(minimum_dof=10, scrub=scrub, add_mean=False)
    maps, series, operator = map_run(run, folder / "seeds.nii.gz", settings, cpu)
    before, after = (np.load(path) for path in write_carpets(f"{tmp_path}/x_", series, operator))
    n_voxels = min(CARPET_VOXELS, len(series.mask))
    at = np.unique(np.linspace(0, len(series.mask) - 1, n_voxels).astype(int))
    assert before.dtype == after.dtype == np.int8
    raw = series.samples[:, at].T.astype(float)
    cleaned = np.asarray(rg.cleaned_image(run, settings, cpu).dataobj)
    inside = np.stack([series.mask.take(volume)[at] for volume in np.moveaxis(cleaned, -1, 0)], axis=1).astype(float)
    assert inside.shape[1] == (maps.kept.sum() if scrub == "cut" else len(maps.kept))
    for found, expected in ((before, raw), (after, inside)):
        centred = expected - expected.mean(axis=1, keepdims=True)
        spread = centred.std(axis=1, keepdims=True)
        wanted = np.divide(CARPET_SCALE * centred, spread, out=np.zeros_like(centred), where=spread > 0)
        np.testing.assert_allclose(found, np.clip(wanted, -127, 127), atol=0.51)
