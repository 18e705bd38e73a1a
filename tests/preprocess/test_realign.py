"""Realignment: against SPM, against the truth, and its laws."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from rsfc_gpu.backend.rigid import rigid_matrix, rigid_parameters
from rsfc_gpu.errors import InputError
from rsfc_gpu.preprocess import correct_slice_timing, exclusion_reason, realign
from rsfc_gpu.preprocess.realign import motion_matrices, motion_parameters, reslice

from .conftest import DEGREES

AFFINE = np.array([[-3.0, 0.1, 0.0, 70.0], [0.1, 3.0, 0.2, -80.0], [0.0, -0.2, 3.5, -50.0], [0.0, 0.0, 0.0, 1.0]])


def head(seed: int = 0, shape: tuple[int, int, int] = (44, 48, 28)) -> np.ndarray:
    """A smooth blob with structure, that fades towards the faces of the volume."""
    rng = np.random.default_rng(seed)
    grid = np.moveaxis(np.indices(shape), 0, -1) / (np.array(shape) - 1) * 2 - 1
    radius = np.sqrt((grid**2).sum(axis=-1))
    texture = ndimage.gaussian_filter(rng.normal(size=shape), 1.5)
    return np.asarray(1000.0 / (1 + np.exp((radius - 0.7) / 0.06)) * (1 + texture / texture.std() * 0.25))


def moved(volume: np.ndarray, parameters: np.ndarray, affine: np.ndarray = AFFINE) -> np.ndarray:
    """The head after a movement given as SPM reports it, read with an independent interpolator."""
    to_voxel = np.linalg.inv(affine) @ rigid_matrix(parameters) @ affine
    return ndimage.affine_transform(volume, to_voxel[:3, :3], to_voxel[:3, 3], order=5, mode="mirror")


def test_parameters_and_matrices_are_inverse() -> None:
    motion = np.random.default_rng(0).uniform(-0.4, 0.4, (20, 6))
    np.testing.assert_allclose(motion_parameters(motion_matrices(motion)), motion, atol=1e-12)
    np.testing.assert_allclose(rigid_parameters(rigid_matrix(motion[3])), motion[3], atol=1e-12)


def test_agrees_with_spm(backend, spm_run) -> None:
    times = spm_run.truth["slice_acq_time_s"]
    result = realign(correct_slice_timing(spm_run.bold, times, 2.0, backend=backend), backend=backend)
    assert result.converged.all()
    assert np.abs((result.motion - spm_run.motion("rtm1")) * DEGREES).max() < 0.02
    resliced = np.asarray(result.image.dataobj)
    for volume, name in ((0, "raf_00"), (9, "raf_09")):
        expected = spm_run.volume(name)
        common = np.isfinite(expected) & (resliced[..., volume] != 0)
        assert common.sum() > 0.999 * np.isfinite(expected).sum()
        assert np.corrcoef(resliced[common, volume], expected[common])[0, 1] > 0.99999


def test_reslicing_with_spms_own_movements_gives_spms_images(backend, spm_run) -> None:
    corrected = correct_slice_timing(spm_run.bold, spm_run.truth["slice_acq_time_s"], 2.0, backend=backend)
    volumes = np.ascontiguousarray(np.asarray(corrected.dataobj).T)
    mean = reslice(volumes, motion_matrices(spm_run.motion("rtm1")), corrected.affine, backend, out=volumes)
    for volume, name in ((0, "raf_00"), (9, "raf_09")):
        expected = spm_run.volume(name)
        found = volumes[volume].T
        np.testing.assert_array_equal(found != 0, np.isfinite(expected))
        assert np.nanmax(np.abs(found - expected)) < 0.02  # of 821, stored in steps of 1/32
    assert np.abs(mean.T - spm_run.volume("meanaf_00")).max() < 0.03


def test_raw_data_agrees_with_spm_and_with_the_truth(backend, spm_run) -> None:
    result = realign(spm_run.bold, backend=backend)
    assert np.abs((result.motion - spm_run.motion("raw_rtm0")) * DEGREES).max() < 0.02
    truth = motion_parameters(np.stack([rigid_matrix(row) for row in spm_run.truth["true_motion_mm_rad"]]))
    assert np.abs((result.motion - truth) * DEGREES).max() < 0.03


def test_realigning_again_finds_nothing(backend, spm_run) -> None:
    once = realign(spm_run.bold, backend=backend)
    again = realign(once.image, backend=backend)
    assert np.abs(again.motion * DEGREES).max() < 0.01


def test_a_known_movement_is_found_and_undone(backend) -> None:
    truth = np.zeros((4, 6))
    truth[1] = [1.5, -0.8, 0.6, *np.radians([1.5, -0.7, 0.9])]
    truth[2] = [-0.4, 1.5, -1.2, *np.radians([-1.0, 1.5, -0.4])]
    truth[3] = [0.2, 0.1, -0.3, *np.radians([0.1, 0.0, 0.2])]
    volume = head()
    # What SPM reports takes a volume's mm to mm of the first; the head is read at the inverse.
    run = np.stack([moved(volume, row) for row in truth], axis=-1).astype(np.float32)
    result = realign(nibabel.Nifti1Image(run, AFFINE), backend=backend)
    assert result.converged.all()
    assert np.abs((result.motion - truth) * DEGREES).max() < 0.02
    realigned = np.asarray(result.image.dataobj)
    common = (realigned != 0).all(axis=-1)
    for t in range(1, 4):
        before = np.corrcoef(run[common, t], run[common, 0])[0, 1]
        after = np.corrcoef(realigned[common, t], realigned[common, 0])[0, 1]
        assert after > 0.999
        assert after > before


def test_movements_are_about_the_worlds_origin_wherever_it_lies(backend) -> None:
    """The same head with its origin 150 mm away: the rotation stays, the translation changes by the lever."""
    truth = np.array([0.3, -0.2, 0.5, *np.radians([0.8, -0.5, 0.6])])
    far = AFFINE.copy()
    far[:3, 3] += [150.0, -120.0, 90.0]
    volume = head(1)
    run = np.stack([volume, moved(volume, truth, far)], axis=-1).astype(np.float32)
    result = realign(nibabel.Nifti1Image(run, far), backend=backend)
    assert np.abs((result.motion[1] - truth) * DEGREES)[3:].max() < 0.02
    assert np.abs((result.motion[1] - truth) * DEGREES)[:3].max() < 0.06


def test_a_volume_that_shows_something_else_is_named(backend) -> None:
    volume = head()
    run = np.stack([volume, volume, np.zeros_like(volume)], axis=-1).astype(np.float32)
    result = realign(nibabel.Nifti1Image(run, AFFINE), backend=backend)
    np.testing.assert_array_equal(result.converged, [True, True, False])


def test_too_few_samples_are_refused(backend) -> None:
    thin = np.random.default_rng(0).normal(size=(30, 30, 4, 5)).astype(np.float32)
    with pytest.raises(InputError, match="samples away from its faces"):
        realign(nibabel.Nifti1Image(thin, AFFINE), backend=backend)
    with pytest.raises(InputError, match="with contrast"):
        realign(nibabel.Nifti1Image(np.ones((30, 30, 20, 3), np.float32), AFFINE), backend=backend)
    with pytest.raises(InputError, match="expected a 4-D image"):
        realign(nibabel.Nifti1Image(thin[..., 0], AFFINE), backend=backend)


def test_reslicing_keeps_a_constant_inside_and_zeroes_what_a_volume_lacks(backend) -> None:
    run = np.full((3, 12, 14, 16), 400.0, np.float32)
    motion = np.zeros((3, 6))
    motion[1] = [2.0, -1.0, 0.5, 0.01, 0.0, 0.02]
    mean = reslice(run, motion_matrices(motion), AFFINE, backend, out=run)
    np.testing.assert_allclose(mean, 400.0, rtol=1e-6)  # of the volumes that have the voxel
    lacking = (run == 0).all(axis=0)
    assert 0 < lacking.sum() < 0.4 * lacking.size
    np.testing.assert_allclose(run[:, ~lacking], 400.0, rtol=1e-6)


def test_the_gate_is_strict_and_says_what_it_found() -> None:
    motion = np.zeros((5, 6))
    motion[3, 1] = -2.0
    motion[4, 3] = np.radians(2.0)
    assert exclusion_reason(motion) is None
    motion[3, 1] = -2.3
    assert exclusion_reason(motion) == "head motion: translation 2.30 mm > 2 mm"
    motion[4, 3] = np.radians(-3.1)
    assert exclusion_reason(motion) == "head motion: translation 2.30 mm > 2 mm and rotation 3.10 degrees > 2 degrees"
    assert exclusion_reason(motion, maximum_mm=3.0, maximum_degrees=4.0) is None
