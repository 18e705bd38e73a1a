"""Errors against the truth of raw runs, on warps whose error is known."""

from __future__ import annotations

import numpy as np
import pytest

from rsfc_gpu.backend import Backend
from rsfc_gpu.backend.rigid import rigid_matrix
from rsfc_gpu.preprocess import Warp
from rsfc_gpu.simulate import Head
from rsfc_gpu.simulate.raw_score import motion_error, warp_error


def still_head(seed: int) -> Head:
    """A head that is placed and sized, but not warped: an affine undoes it exactly."""
    return Head.draw(np.random.default_rng(seed), warp_mm=0.0)


def warp_with(affine: np.ndarray, backend: Backend) -> Warp:
    return Warp(affine, np.zeros((3, 7, 9, 7)), 1.0, backend)


def test_the_true_warp_has_no_error(cpu: Backend) -> None:
    head = still_head(0)
    error = warp_error(head, warp_with(np.linalg.inv(head.affine), cpu))
    assert error.p95_mm < 1e-9 and error.seeds_mm < 1e-9
    assert error.dice == error.lowest_dice == 1.0


def test_a_shift_is_its_own_error_and_costs_overlap(cpu: Backend) -> None:
    head = still_head(1)
    shift = rigid_matrix([0.0, 3.0, 0.0, 0.0, 0.0, 0.0])
    error = warp_error(head, warp_with(np.linalg.inv(head.affine) @ shift, cpu))
    assert error.mean_mm == pytest.approx(3.0) and error.seeds_mm == pytest.approx(3.0)
    assert 0.2 < error.lowest_dice <= error.dice < 0.9
    # 40 mm off, no seed is written from inside itself.
    far = warp_error(head, warp_with(np.linalg.inv(head.affine) @ np.linalg.matrix_power(shift, 13), cpu))
    assert far.dice == 0.0


def test_waves_of_a_head_are_in_the_error(cpu: Backend) -> None:
    head = Head.draw(np.random.default_rng(2), warp_mm=3.0)
    error = warp_error(head, warp_with(np.linalg.inv(head.affine), cpu))
    amplitude = np.linalg.norm(head.amplitudes, axis=1).sum()
    assert 1.0 < error.mean_mm < error.p95_mm < amplitude


def test_motion_errors_are_the_largest_in_mm_and_degrees() -> None:
    true = np.zeros((5, 6))
    found = true.copy()
    found[3, 1], found[2, 4] = -0.02, np.radians(0.5)
    assert motion_error(true, found) == pytest.approx((0.02, 0.5))
