"""The loop of the simulated scanner against SciPy's linear interpolation in space and time."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from rsfc_gpu.backend.numba_scan import read_head

N_STEPS, N_BRAIN = 4, 150


def test_a_head_is_read_linearly_in_space_and_time() -> None:
    rng = np.random.default_rng(0)
    contrast = rng.random((7, 8, 9), dtype=np.float32)
    steps = rng.normal(size=(N_STEPS + 1, N_BRAIN + 1)).astype(np.float32)
    steps[:, -1] = 0.0
    column = np.full(5 * 6 * 7, N_BRAIN)
    column[rng.permutation(column.size)[:N_BRAIN]] = np.arange(N_BRAIN)
    column = column.reshape(5, 6, 7)
    to_contrast = np.array([[0.5, 0.02, 0, 2.0], [0, 0.5, -0.03, 1.5], [0.01, 0, 0.5, 1.0], [0, 0, 0, 1.0]])
    to_column = np.array([[-0.4, 0, 0, 4.0], [0, 0.4, 0, 1.0], [0, 0, 0.4, 1.0], [0, 0, 0, 1.0]])
    points = rng.uniform(-8.0, 16.0, (4000, 3))
    moment = rng.uniform(0.0, N_STEPS - 1e-9, len(points))
    values = np.full(len(points), np.nan)
    read_head(contrast, to_contrast, steps, column, to_column, moment, points, values)

    at, where = (points @ affine[:3, :3].T + affine[:3, 3] for affine in (to_contrast, to_column))
    in_contrast, in_column = (
        ((voxels >= 0) & (voxels < np.array(volume.shape[::-1]) - 1)).all(axis=1)
        for voxels, volume in ((at, contrast), (where, column))
    )
    assert 200 < (in_contrast & in_column).sum() < in_contrast.sum() < len(points)
    still = ndimage.map_coordinates(contrast.astype(np.float64), at.T[::-1], order=1, mode="nearest")
    series = steps.astype(np.float64)[:, column]
    change = ndimage.map_coordinates(series, np.vstack([moment, where.T[::-1]]), order=1, mode="nearest")
    expected = np.where(in_contrast, still * (1.0 + np.where(in_column, change, 0.0)), 0.0)
    np.testing.assert_allclose(values, expected, atol=1e-6)
