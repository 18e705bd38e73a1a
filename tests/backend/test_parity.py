"""Every backend gives what the CPU gives: the same test bodies on the CPU, on CUDA, and on CUDA's code on the host."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cuda_on_host import checks
from rsfc_gpu.backend import Backend
from rsfc_gpu.backend.dct import CosineBasis
from rsfc_gpu.backend.numba_labels import neighbour_table
from rsfc_gpu.backend.rigid import RigidTarget, rigid_matrix
from rsfc_gpu.backend.splines import coefficient_filters
from rsfc_gpu.backend.stages import BandPass, Projection, Selection


def run_of(n_volumes: int = 120, n_voxels: int = 3000) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(0)
    samples = rng.normal(500, 40, (n_volumes, n_voxels)).astype(np.int16)
    samples[:, 7] = 400  # constant
    compressor = np.linalg.qr(rng.standard_normal((n_volumes, 60)))[0].T
    compressor -= compressor.mean(axis=1, keepdims=True)
    seeds = samples[:, ::1000].astype(np.float64)
    return samples, samples.mean(axis=0), compressor, np.column_stack([seeds, np.ones(n_volumes)])


def test_maps(backend: Backend, cpu: Backend) -> None:
    arguments = run_of()
    found, expected = backend.correlate(*arguments), cpu.correlate(*arguments)
    np.testing.assert_allclose(found[0], expected[0], rtol=0, atol=1e-5)
    low = np.abs(expected[0]) < 0.999  # close to 1 the atanh magnifies the last digit of r
    np.testing.assert_allclose(found[1][low], expected[1][low], rtol=0, atol=1e-5)
    np.testing.assert_allclose(found[2], expected[2], rtol=0, atol=1e-5)
    assert (found[0][-1] == 0).all(), "a seed without variance"
    assert (found[0][:, 7] == 0).all(), "a voxel without variance"


def test_cleaned_series(backend: Backend, cpu: Backend) -> None:
    samples, centre, compressor, _ = run_of()
    found = backend.clean(samples, centre, compressor, compressor.T)
    np.testing.assert_allclose(found, cpu.clean(samples, centre, compressor, compressor.T), rtol=0, atol=1e-3)


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4"])
def test_series_cleaned_by_stages_against_float64(backend: Backend, dtype: str) -> None:
    """Written out with a matrix of the Fourier transform; a constant voxel retains nothing and gives no NaN."""
    rng = np.random.default_rng(1)
    samples = rng.normal(120, 30, (90, 1300)).clip(0, 255).astype(dtype)
    samples[:, 7] = 100
    samples.setflags(write=False)
    basis, rows = np.linalg.qr(rng.standard_normal((90, 9)))[0], np.flatnonzero(np.arange(90) % 10 != 3)
    centred = samples - samples.mean(axis=0, dtype=float)
    left = centred - basis @ np.linalg.lstsq(basis, centred, rcond=None)[0]
    waves = np.exp(-2j * np.pi * np.outer(np.arange(128), np.arange(90)) / 128)
    band = (np.minimum(np.arange(128), 128 - np.arange(128)) >= 4) & (
        np.minimum(np.arange(128), 128 - np.arange(128)) <= 30
    )
    spectrum = (waves @ (left - left.mean(axis=0))) * band[:, None]
    expected = (np.conj(waves.T) @ spectrum / 128).real[rows]
    expected -= expected.mean(axis=0)
    stages = [Projection(basis), BandPass(128, 4, 30), Selection(rows)]
    found, retained = backend.clean_by_stages(samples, samples.mean(axis=0, dtype=float), stages)
    assert found.dtype == retained.dtype == np.float32 and found.shape == (81, 1300)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    norms = np.linalg.norm(centred, axis=0)
    share = np.divide(np.linalg.norm(expected, axis=0), norms, out=np.zeros(1300), where=norms > 0)
    np.testing.assert_allclose(retained, share, rtol=1e-5, atol=1e-7)
    assert retained[7] == 0 and not found[:, 7].any()


def test_pooled_second_moment(backend: Backend, cpu: Backend) -> None:
    rng = np.random.default_rng(6)
    design = np.column_stack([np.ones(20), np.repeat([0, 1], 10), rng.standard_normal(20)])
    samples = rng.standard_normal((20, 5000)).astype(np.float32)
    samples[10:, ::7] += 2
    basis, blocks = np.linalg.qr(design)[0], np.full((20, 1), 20**-0.5)
    found, expected = (one.pool_second_moment(samples, basis, blocks, 4.0) for one in (backend, cpu))
    assert found[1] == expected[1] > 100
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6, atol=1e-6)
    nothing, count = backend.pool_second_moment(samples, basis, blocks, np.inf)
    assert count == 0 and not nothing.any()


def test_t_of_a_linear_model(backend: Backend, cpu: Backend) -> None:
    rng = np.random.default_rng(7)
    design = np.column_stack([np.repeat([1.0, 0.0], 8), np.repeat([0.0, 1.0], 8)])
    inside = rng.uniform(size=(12, 11, 10)) < 0.9
    samples = rng.standard_normal((16, int(inside.sum()))).astype(np.float32)
    pseudo = np.linalg.pinv(design)
    found, expected = (
        one.fit_linear_model(samples, np.eye(16) - design @ pseudo, pseudo, 16, inside) for one in (backend, cpu)
    )

    def t(fit: Any) -> np.ndarray:
        return np.asarray((fit.linear[0] - fit.linear[1]) / np.sqrt(fit.residual_squares))

    np.testing.assert_allclose(t(found), t(expected), rtol=1e-4, atol=1e-8)
    np.testing.assert_allclose(found.products, expected.products, rtol=1e-5, atol=1e-10)
    np.testing.assert_array_equal(found.complete, expected.complete)


def test_ten_repeats_label_and_count_the_same(backend: Backend) -> None:
    """Labels to the bit; sums within a stated tolerance."""
    rng = np.random.default_rng(8)
    inside = np.ones((20, 20, 20), dtype=bool)
    table, values = neighbour_table(inside, 18), rng.standard_normal(8000).astype(np.float32)
    first, maps = backend.label_clusters(values, table, 0.6), backend.correlate(*run_of())
    for _ in range(9):
        np.testing.assert_array_equal(backend.label_clusters(values, table, 0.6), first)
        for one, other in zip(backend.correlate(*run_of()), maps, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


def test_a_labelled_map_of_any_type(backend: Backend, cpu: Backend) -> None:
    rng = np.random.default_rng(1)
    inside = rng.uniform(size=(9, 8, 7)) < 0.8
    table = neighbour_table(inside, 18)
    values = rng.standard_normal(len(table))
    for dtype in ("f4", "f8", "i2"):
        given = (values * 3).astype(dtype)
        expected = cpu.label_clusters(given, table, 1.25)
        np.testing.assert_array_equal(backend.label_clusters(given, table, 1.25), expected)
        assert backend.label_clusters(given, table, 1.25).dtype == np.int32
    assert backend.label_clusters(values, table, np.inf).max() == 0


def test_a_mask_without_voxels_in_some_planes(backend: Backend, cpu: Backend) -> None:
    rng = np.random.default_rng(2)
    inside = rng.uniform(size=(6, 5, 8)) < 0.9
    inside[:, :, [0, 3, 4]] = False
    samples = rng.standard_normal((12, int(inside.sum()))).astype(np.float32)
    residuals = np.eye(12) - 1 / 12
    arguments = (samples, residuals, np.full((2, 12), 1 / 12), 9, inside)
    found, expected = backend.fit_linear_model(*arguments), cpu.fit_linear_model(*arguments)
    for name in ("linear", "residual_squares", "products", "complete"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-11, atol=1e-14)


def test_smoothing(backend: Backend, cpu: Backend) -> None:
    volume = np.random.default_rng(3).standard_normal((11, 9, 7)).astype(np.float32)
    for width in ((2.0, 1.5, 3.0), (0.0, 0.0, 2.0), (0.0, 0.0, 0.0)):
        np.testing.assert_allclose(backend.smooth(volume, width), cpu.smooth(volume, width), atol=1e-6)


def test_raw_runs(backend: Backend, cpu: Backend) -> None:
    rng = np.random.default_rng(4)
    run = rng.normal(100, 10, (7, 6, 8, 9)).astype(np.float32)
    operators = rng.standard_normal((6, 7, 7))
    operators += (1 - operators.sum(axis=2, keepdims=True)) / 7
    np.testing.assert_allclose(backend.shift_slices(run, operators), cpu.shift_slices(run, operators), atol=1e-3)

    points = np.moveaxis(np.indices((5, 6, 7), dtype=float)[::-1], 0, -1) + 0.3
    maps = np.stack([rigid_matrix(0.03 * rng.standard_normal(6))[:3] for _ in range(7)])
    for degree in (1, 2, 4):
        outs = [run.copy()[:, :5, :6, :7].copy() for _ in range(2)]
        means = [
            one.resample(run, points, maps, degree=degree, fwhm_voxels=(1.5, 0.0, 2.0), out=out)
            for one, out in zip((backend, cpu), outs, strict=True)
        ]
        np.testing.assert_allclose(means[0], means[1], atol=1e-3)
        np.testing.assert_allclose(outs[0], outs[1], atol=1e-3)

    filters = coefficient_filters(run.shape[1:], 2, (0.0, 0.0, 0.0))
    anywhere = rng.uniform(-1, 9, (50, 3))
    for found, expected in zip(
        backend.sample_gradient(run[0], filters, anywhere), cpu.sample_gradient(run[0], filters, anywhere), strict=True
    ):
        assert np.isnan(expected).any() and np.isfinite(expected).any()
        np.testing.assert_allclose(found, expected, atol=1e-3)


def test_registration_and_warps(backend: Backend, cpu: Backend) -> None:
    rng = np.random.default_rng(5)
    shape = (8, 9, 10)
    z, y, x = np.indices(shape)
    reference = (100 * np.exp(-((x - 4.5) ** 2 / 8 + (y - 4) ** 2 / 6 + (z - 3.5) ** 2 / 5))).astype(np.float32)
    points = np.stack([x, y, z], axis=-1).reshape(-1, 3)[::2].astype(float)
    filters = coefficient_filters(shape, 2, (0.0, 0.0, 0.0))
    inner = points[((points > 1) & (points < np.array(shape[::-1]) - 2)).all(axis=1)]
    values, gradient = cpu.sample_gradient(reference, filters, inner)
    turned = np.stack([-np.cross(gradient, inner)[:, axis] for axis in range(3)], axis=1)
    target = RigidTarget(inner, np.column_stack([values, gradient, turned]), filters, np.eye(4))
    run = np.stack([reference, np.roll(reference, 1, axis=2)])
    start = np.stack([np.eye(4)] * 2)
    found, expected = (one.register_rigid(run, target, start) for one in (backend, cpu))
    np.testing.assert_allclose(found.matrices, expected.matrices, atol=1e-4)
    np.testing.assert_array_equal(found.converged, expected.converged)

    basis = CosineBasis(shape, (2, 3, 2))
    equations = (rng.standard_normal((*shape, 3)), rng.standard_normal(shape), rng.standard_normal((2, *shape)), basis)
    for one, other in zip(backend.warp_equations(*equations), cpu.warp_equations(*equations), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10)


# ---- on a GPU only ----


@pytest.mark.parametrize(
    "check", [check for file in checks.CHECKS.values() for check in file], ids=lambda c: c.__name__
)
def test_kernels_on_the_device(real_gpu: None, check: Callable[[checks.Launches], None]) -> None:
    import cupy

    from rsfc_gpu.backend import cuda_kernels

    check(checks.Launches(cuda_kernels, cupy, None))


@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "initcheck"])
def test_compute_sanitizer_finds_nothing(real_gpu: None, tool: str) -> None:
    if shutil.which("compute-sanitizer") is None:
        pytest.skip("compute-sanitizer is not installed")
    run = "from rsfc_gpu.backend.cuda_self_test import run_each_kernel; print(run_each_kernel())"
    command = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "9", sys.executable, "-c", run]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
