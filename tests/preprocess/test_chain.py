"""The chain from a raw run to a normalised, smoothed one."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from rsfc_gpu.backend import select_backend
from rsfc_gpu.errors import InputError
from rsfc_gpu.preprocess import (
    NormalisationError,
    PreprocessSettings,
    correct_slice_timing,
    normalise,
    preprocess,
    realign,
    slice_times,
    smooth,
)
from rsfc_gpu.preprocess.realign import motion_matrices, voxel_maps
from rsfc_gpu.preprocess.template import brain_mask

from .conftest import DEGREES
from .raw_simulation import NATIVE_AFFINE, NATIVE_SHAPE, draw_head, raw_run

TIMES_S = slice_times("interleaved", NATIVE_SHAPE[2], 2.0)
SETTINGS = PreprocessSettings(discard_volumes=2)
N_VOLUMES = 22


@pytest.fixture(scope="module")
def motion() -> np.ndarray:
    walk = np.cumsum(np.random.default_rng(5).normal(size=(N_VOLUMES, 6)), axis=0) * [0.08] * 1
    walk[:, 3:] *= 0.012
    return walk - walk[2]  # relative to the first volume that is kept


@pytest.fixture(scope="module")
def raw(motion: np.ndarray, cpu) -> nibabel.Nifti1Image:
    return raw_run(draw_head(1), motion, TIMES_S, cpu)


@pytest.fixture(scope="module")
def result(raw, backend):
    return preprocess(raw, SETTINGS, backend, slice_times_s=TIMES_S)


def test_a_simulated_raw_run_arrives_where_it_belongs(result, motion: np.ndarray) -> None:
    assert result.exclusion is None
    assert result.motion.shape == (N_VOLUMES - 2, 6)
    assert np.abs((result.motion - motion[2:]) * DEGREES).max() < 0.08
    assert result.image.shape == (61, 73, 61, N_VOLUMES - 2)
    assert result.image.header.get_zooms()[3] == 2.0
    assert result.image.get_data_dtype() == np.float32
    points = np.array([[0.0, -60.0, 20.0], [-30.0, 10.0, 30.0], [24.0, -4.0, -18.0], [-23.0, -5.0, -18.0]])
    for point in points:
        found = result.warp.source_mm(*[[value] for value in point])[0, 0, 0]
        assert np.linalg.norm(draw_head(1).to_template(found) - point) < 3.0


def test_the_slow_wave_is_simultaneous_everywhere(result) -> None:
    """Every brain voxel carries the wave at the time of the reference slice, and little else."""
    series = np.asarray(result.image.dataobj)[brain_mask(3.0).T]
    series = series[(series > 300.0).all(axis=1)]
    assert len(series) > 20000
    reference_s = np.sort(TIMES_S)[16]
    wave = np.sin(2 * np.pi * 0.05 * (np.arange(2, N_VOLUMES) * 2.0 + reference_s))
    relative = series / series.mean(axis=1, keepdims=True) - 1.0
    middle = slice(3, -3)  # the ends of so short a run feel the bridge between them
    shared = np.median(relative, axis=0)
    assert np.corrcoef(shared[middle], wave[middle])[0, 1] > 0.99
    assert np.polyfit(wave[middle], shared[middle], 1)[0] == pytest.approx(0.03, rel=0.1)


def test_the_chain_is_its_steps(raw, result, backend) -> None:
    kept = nibabel.Nifti1Image(np.asarray(raw.dataobj)[..., 2:], raw.affine, raw.header)
    realigned = realign(correct_slice_timing(kept, TIMES_S, 2.0, backend=backend), backend=backend)
    np.testing.assert_allclose(result.motion, realigned.motion, atol=1e-9)
    np.testing.assert_allclose(
        np.asarray(result.mean.dataobj), np.asarray(realigned.mean.dataobj), rtol=1e-5, atol=1e-2
    )
    warp = normalise(realigned.mean, backend=backend)
    normalised = warp.apply(realigned.image)
    expected = np.asarray(smooth(normalised, 4.0, backend=backend).dataobj)
    np.testing.assert_allclose(np.asarray(result.image.dataobj), expected, atol=1e-2)
    np.testing.assert_array_equal(result.image.affine, normalised.affine)


def test_one_interpolation_reads_the_composed_positions(raw, result, backend) -> None:
    settings = SETTINGS.replace(single_interpolation=True, slice_timing="none", fwhm_mm=0.0)
    once = preprocess(raw, settings, backend)
    to_volume = voxel_maps(motion_matrices(once.motion), raw.affine)[5]
    points = once.warp.voxel_positions(raw.affine) @ to_volume[:, :3].T + to_volume[:, 3]
    volume = np.asarray(raw.dataobj, dtype=np.float64)[..., 7]
    expected = ndimage.map_coordinates(volume, np.moveaxis(points, -1, 0), order=4, mode="mirror").T
    found = np.asarray(once.image.dataobj)[..., 5]
    there = found != 0
    assert there[brain_mask(3.0).T].mean() > 0.9
    np.testing.assert_allclose(found[there], expected[there], atol=0.02)
    # Two interpolations blur more; where the images lie is the same.
    a, b = (np.asarray(run.normalised_mean.dataobj)[brain_mask(3.0).T] for run in (once, result))
    assert a.std() > b.std()
    assert np.corrcoef(a, b)[0, 1] > 0.95


def test_a_run_that_moved_too_far_stops_with_the_reason(raw, backend) -> None:
    result = preprocess(raw, SETTINGS.replace(maximum_mm=0.1), backend, slice_times_s=TIMES_S)
    assert result.exclusion is not None
    assert "mm > 0.1 mm" in result.exclusion
    assert result.image is None
    assert result.warp is None


def test_failures_are_named(raw, backend) -> None:
    with pytest.raises(InputError, match="no slice times"):
        preprocess(raw, SETTINGS, backend)
    with pytest.raises(InputError, match="cannot discard 30 of 22"):
        preprocess(raw, SETTINGS.replace(discard_volumes=30), backend, slice_times_s=TIMES_S)
    broken = np.array(raw.dataobj)
    broken[..., 9] = 0
    image = nibabel.Nifti1Image(broken, raw.affine, raw.header)
    with pytest.raises(InputError, match=r"1 of 20 volumes did not converge \(number 10, counted from 1\)"):
        preprocess(image, SETTINGS.replace(slice_timing="none"), backend)


def test_a_normalisation_that_failed_carries_its_picture(backend) -> None:
    """Half of a ball is no head."""
    index = np.moveaxis(np.indices(NATIVE_SHAPE), 0, -1)
    distance = np.linalg.norm((index @ NATIVE_AFFINE[:3, :3].T + NATIVE_AFFINE[:3, 3]) - [0.0, 40.0, 40.0], axis=-1)
    texture = np.random.default_rng(0).normal(size=NATIVE_SHAPE) * 40.0
    ball = (np.where(distance < 45.0, 800.0, 10.0) + texture).astype(np.float32)
    run = nibabel.Nifti1Image(np.stack([ball] * 3, axis=-1), NATIVE_AFFINE)
    settings = PreprocessSettings(discard_volumes=0, slice_timing="none")
    with pytest.raises(NormalisationError, match="Dice with the MNI brain") as caught:
        preprocess(run, settings, backend)
    assert caught.value.mean.shape == NATIVE_SHAPE
    assert caught.value.warp.dice < 0.9


def test_named_slice_orders_and_files_are_taken(raw, result, backend, tmp_path: Path) -> None:
    path = tmp_path / "bold.nii.gz"
    raw.to_filename(path)
    by_order = preprocess(path, SETTINGS.replace(slice_timing="interleaved"), backend)
    # The header stores the affine in float32.
    np.testing.assert_allclose(np.asarray(by_order.image.dataobj), np.asarray(result.image.dataobj), atol=0.05)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fwhm": 6.0}, "did you mean 'fwhm_mm'"),
        ({"slice_timing": "sideways"}, "expected one of sidecar"),
        ({"discard_volumes": -1}, "discard_volumes"),
        ({"voxel_mm": 0.0}, "voxel_mm"),
        ({"minimum_dice": 1.5}, "minimum_dice"),
        ({"stiffness": 0.0}, "stiffness"),
    ],
)
def test_impossible_settings_are_refused(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        PreprocessSettings().replace(**change)


def test_the_result_does_not_depend_on_the_number_of_threads(raw) -> None:
    one, three = (
        preprocess(raw, SETTINGS.replace(voxel_mm=5.0), select_backend("cpu", threads=n), slice_times_s=TIMES_S)
        for n in (1, 3)
    )
    np.testing.assert_array_equal(one.motion, three.motion)
    np.testing.assert_array_equal(np.asarray(one.mean.dataobj), np.asarray(three.mean.dataobj))
    np.testing.assert_allclose(np.asarray(one.image.dataobj), np.asarray(three.image.dataobj), atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "order", "tr_s"),
    [
        ("01_studyforrest_native_task/sub-02_task-oneback_run-1_bold.nii.gz", "ascending", 2.0),
        ("02_rapidtide_native_rest/sub-RAPIDTIDETEST.nii.gz", "none", 1.5),
    ],
)
def test_real_runs_arrive_in_the_brain(backend, reference_root: Path, name: str, order: str, tr_s: float) -> None:
    result = preprocess(reference_root / "realdata" / name, PreprocessSettings(slice_timing=order), backend)
    assert result.exclusion is None
    assert result.warp.dice > 0.94
    assert result.image.header.get_zooms()[3] == tr_s
    # Cropped below, both lack part of the cerebellum; what the run has of the brain is bright.
    mean = np.asarray(result.normalised_mean.dataobj)
    brain = brain_mask(3.0).T
    assert (mean[brain] > 0).mean() > 0.85
    assert np.median(mean[brain]) > 3.0 * np.median(mean[~brain])
    # Where the default template leads is a few mm from where SPM's does: their spaces and contrasts differ.
    by_spm = normalise(result.mean, reference_root / "reference" / "templates" / "EPI.nii", backend=backend)
    affine = result.mean.affine
    apart = (warp.voxel_positions(affine) @ affine[:3, :3].T for warp in (result.warp, by_spm))
    assert np.linalg.norm(np.subtract(*apart), axis=-1)[brain_mask(3.0)].mean() < 3.6
    assert by_spm.dice > 0.93
