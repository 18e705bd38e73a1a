"""Motion measures: laws and hand-made cases; agreement with DPABI is in test_dpabi_reference."""

from __future__ import annotations

import numpy as np
import pytest

from rsfc_gpu.denoise import framewise_displacement, friston24, kept_volumes
from rsfc_gpu.errors import InputError

MOTION = np.array([[0.1, 0, 0, 0, 0, 0], [0.3, -0.2, 0, 0.01, 0, 0], [0.3, -0.2, 0.4, 0.01, 0, -0.02]])


def test_friston24_by_hand():
    lagged = friston24(MOTION)
    np.testing.assert_array_equal(lagged[:, :6], MOTION)
    np.testing.assert_array_equal(lagged[0, 6:12], 0)
    np.testing.assert_array_equal(lagged[1:, 6:12], MOTION[:-1])
    np.testing.assert_array_equal(lagged[:, 12:], lagged[:, :12] ** 2)
    derivative = friston24(MOTION, kind="derivative")
    np.testing.assert_array_equal(derivative[:, 6:12], np.vstack([np.zeros(6), np.diff(MOTION, axis=0)]))
    np.testing.assert_array_equal(derivative[:, 12:18], MOTION**2)


def test_power_and_van_dijk_by_hand():
    np.testing.assert_allclose(framewise_displacement(MOTION), [0, 0.2 + 0.2 + 0.5, 0.4 + 1.0])
    lengths = np.sqrt([0.01, 0.13, 0.29])
    np.testing.assert_allclose(framewise_displacement(MOTION, "van_dijk"), [0, *np.abs(np.diff(lengths))])


def test_jenkinson_of_a_pure_shift_is_its_length():
    shift = np.zeros((2, 6))
    shift[1, :3] = 0.3, 0.4, 1.2
    found = framewise_displacement(shift, "jenkinson", affine=np.diag([3, 3, 3, 1]), shape=(60, 70, 60))
    np.testing.assert_allclose(found, [0, 1.3])


def test_jenkinson_of_a_small_rotation_against_the_mean_over_a_sphere():
    """The closed form is the root mean square of the displacement over the sphere's volume."""
    motion = np.zeros((2, 6))
    motion[1] = 0.2, -0.1, 0.3, 0.004, -0.006, 0.005
    affine, shape = np.diag([2.0, 2, 2, 1]), (50, 60, 50)
    found = framewise_displacement(motion, "jenkinson", affine=affine, shape=shape)[1]
    points = np.random.default_rng(0).uniform(-80, 80, (400_000, 3))
    points = points[(points**2).sum(axis=1) <= 80**2] + 2.0 * (np.array(shape) / 2 - 1)
    pitch, roll, yaw = motion[1, 3:]
    x = np.array([[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]])
    y = np.array([[np.cos(roll), 0, np.sin(roll)], [0, 1, 0], [-np.sin(roll), 0, np.cos(roll)]])
    z = np.array([[np.cos(yaw), np.sin(yaw), 0], [-np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    inverse = np.linalg.inv(x @ y @ z)
    moved = (points - motion[1, :3]) @ inverse.T - points
    assert found == pytest.approx(np.sqrt((moved**2).sum(axis=1).mean()), rel=2e-3)


def test_kept_volumes():
    fd_mm = np.array([0.0, 0.5, 0.51, 0.1, 0.1, 0.1, 0.1, 0.9])
    np.testing.assert_array_equal(kept_volumes(fd_mm), [1, 0, 0, 0, 1, 1, 0, 0])
    np.testing.assert_array_equal(kept_volumes(fd_mm, before=0, after=2), [1, 1, 0, 0, 0, 1, 1, 0])
    assert kept_volumes(fd_mm, threshold_mm=1.0).all()


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (lambda: friston24(np.zeros((5, 5))), r"expected shape \(T, 6\), found \(5, 5\)"),
        (lambda: friston24(np.full((5, 6), np.nan)), "row 1 of 5"),
        (lambda: friston24(MOTION, kind="both"), "lagged or derivative"),
        (lambda: kept_volumes([0, 2, 0], before=-1), "not negative"),
        (lambda: kept_volumes([0, np.nan, 0]), "finite displacements"),
        (lambda: framewise_displacement(MOTION, "fsl"), "power, jenkinson or van_dijk"),
        (lambda: framewise_displacement(MOTION, "jenkinson"), "affine and the shape"),
    ],
)
def test_bad_motion_is_named(work, message):
    with pytest.raises(InputError, match=message):
        work()
