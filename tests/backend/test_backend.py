"""Every operation on a run's voxels against float64 NumPy, on each backend."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
import scipy.ndimage

from rsfc_gpu.backend import cuda, select_backend
from rsfc_gpu.backend.cpu import CpuBackend
from rsfc_gpu.backend.smoothing_kernel import smoothing_weights
from rsfc_gpu.errors import BackendError, InputError


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(40, 1), (40, 33), (57, 2100)])
def test_correlate_against_float64(backend, dtype, shape):
    rng = np.random.default_rng(0)
    n_volumes, n_voxels = shape
    samples = (100 + 20 * rng.standard_normal(shape)).astype(dtype)
    samples.setflags(write=False)
    compressor = np.linalg.qr(rng.standard_normal((n_volumes, 25)))[0].T
    compressor -= compressor.mean(axis=1, keepdims=True)
    seeds = rng.standard_normal((n_volumes, 3))
    r, z, retained = backend.correlate(samples, samples.mean(axis=0, dtype=float), compressor, seeds)
    centred = samples - samples.mean(axis=0, dtype=float)
    signal, seed_signal = compressor @ centred, compressor @ (seeds - seeds.mean(axis=0))
    norm = np.linalg.norm(signal, axis=0)
    expected = seed_signal.T @ signal / np.outer(np.linalg.norm(seed_signal, axis=0), norm)
    assert (r.dtype, z.dtype, r.shape) == (np.float32, np.float32, (3, n_voxels))
    np.testing.assert_allclose(r, expected, atol=1e-5)
    np.testing.assert_allclose(z, np.arctanh(expected), atol=1e-5)
    np.testing.assert_allclose(retained, norm / np.linalg.norm(centred, axis=0), rtol=1e-5)


def test_correlate_at_the_limits(backend):
    """A voxel equal to the seed gives the largest z there is; one without variance gives 0, not NaN."""
    rng = np.random.default_rng(0)
    samples = rng.standard_normal((30, 4)).astype(np.float32)
    samples[:, 1] = -samples[:, 0]
    samples[:, 2] = 5.0
    compressor = np.eye(30) - 1 / 30
    centre = samples.mean(axis=0, dtype=float)
    seeds = np.column_stack([samples[:, 0], np.ones(30)]).astype(float)
    r, z, retained = backend.correlate(samples, centre, compressor, seeds)
    largest = np.arctanh(1 - 1e-7)
    np.testing.assert_allclose(z[0, :2], [largest, -largest], rtol=1e-6)
    assert (np.abs(r) < 1).all() or np.abs(r).max() <= np.float32(1 - 1e-7)
    assert not r[:, 2].any() and not z[1].any() and retained[2] == 0


def test_clean_against_float64(backend):
    rng = np.random.default_rng(0)
    samples = rng.integers(0, 1000, (40, 1500)).astype(np.int16)
    compressor, expander = rng.standard_normal((9, 40)) / 7, rng.standard_normal((33, 9)) / 3
    centre = samples.mean(axis=0, dtype=float)
    expected = expander @ (compressor @ (samples - centre))
    found = backend.clean(samples, centre, compressor, expander)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("fwhm_voxels", [0.5, 4 / 3, 2.0, 3.7])
def test_smoothing_weights_are_the_gaussian_against_the_tent(fwhm_voxels):
    """Integrated numerically instead of in closed form."""
    sigma = fwhm_voxels / np.sqrt(8 * np.log(2))
    radius = round(6 * sigma)
    x = np.linspace(-radius - 2, radius + 2, 200_001)
    gaussian = np.exp(-0.5 * (x / sigma) ** 2)
    expected = [np.sum(gaussian * np.maximum(0, 1 - np.abs(x - k))) for k in range(-radius, radius + 1)]
    np.testing.assert_allclose(smoothing_weights(fwhm_voxels), expected / np.sum(expected), atol=1e-6)


def test_smooth_against_scipy_with_its_edges(backend):
    """Zero outside in the plane, weights renormalised across planes."""
    volume = np.random.default_rng(0).standard_normal((13, 11, 9)).astype(np.float32)
    widths = [1.5, 2.0, 1.2]
    expected = volume.astype(np.float64)
    for axis in range(3):
        weights = smoothing_weights(widths[axis]).astype(np.float64)
        expected = scipy.ndimage.convolve1d(expected, weights, axis=axis, mode="constant")
    inside = scipy.ndimage.convolve1d(np.ones(9), smoothing_weights(widths[2]).astype(float), mode="constant")
    found = backend.smooth(volume, widths)
    assert found.dtype == np.float32 and found.shape == volume.shape
    np.testing.assert_allclose(found, expected / inside, atol=1e-5)


def test_smooth_laws(backend):
    volume = np.zeros((21, 21, 21), dtype=np.float32)
    volume[10, 10, 10] = 1
    smoothed = backend.smooth(volume, [2.0, 2.0, 2.0])
    assert smoothed.sum(dtype=float) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(smoothed, smoothed[::-1], atol=1e-8)
    np.testing.assert_allclose(smoothed, smoothed.transpose(1, 0, 2), atol=1e-8)
    np.testing.assert_array_equal(backend.smooth(volume, [0, 0, 0]), volume)


def test_number_of_threads_changes_nothing():
    rng = np.random.default_rng(0)
    samples = rng.integers(0, 1000, (40, 5000)).astype(np.int16)
    arguments = (samples, samples.mean(axis=0), np.linalg.qr(rng.standard_normal((40, 20)))[0].T, rng.random((40, 2)))
    one, two = CpuBackend(threads=1), CpuBackend(threads=2)
    for a, b in zip(one.correlate(*arguments), two.correlate(*arguments), strict=True):
        np.testing.assert_array_equal(a, b)


def test_cpu_backend_travels_to_a_worker():
    assert pickle.loads(pickle.dumps(CpuBackend(threads=3))).threads == 3


def test_selection_is_decided_once_and_never_silently():
    with pytest.raises(InputError, match="auto, cpu or cuda"):
        select_backend("gpu")
    assert select_backend("cpu").name == "cpu"
    missing = cuda.why_unusable()
    if missing is None:
        assert select_backend("auto").name == select_backend("cuda").name == "cuda"
    else:
        assert "\n" not in missing
        assert select_backend("auto").name == "cpu"
        with pytest.raises(BackendError) as error:
            select_backend("cuda")
        assert str(error.value) == missing


@pytest.mark.parametrize("module", ["backend", "denoise", "connectivity", "group"])
def test_core_modules_import_without_files_figures_and_the_command_line(module):
    unwanted = ("nibabel", "nilearn", "rsfc_gpu.cli", "cupy")
    code = f"import sys, rsfc_gpu.{module}; print([name for name in {unwanted} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
