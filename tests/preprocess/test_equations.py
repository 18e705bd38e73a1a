"""The warp's normal equations and the B-spline matrices, against slow and obvious versions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from rsfc_gpu.backend.dct import CosineBasis
from rsfc_gpu.backend.smoothing_kernel import smoothing_weights
from rsfc_gpu.backend.splines import coefficient_filters, coefficient_matrix, smoothing_matrix


@pytest.mark.parametrize("step", [(1, 1, 1), (2, 2, 2)])
def test_normal_equations_are_those_of_the_dense_design(backend, step: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    basis = CosineBasis((8, 10, 7), (3, 4, 2), step)
    z, y, x = (basis.cosines(axis) for axis in range(3))
    dense = np.einsum("za,yb,xc->zyxabc", z, y, x).reshape(len(z) * len(y) * len(x), basis.size)
    gradient = rng.normal(size=(len(z), len(y), len(x), 3))
    residual, *templates = rng.normal(size=(4, *gradient.shape[:3]))
    columns = [gradient[..., c].reshape(-1, 1) * dense for c in range(3)] + [
        -field.reshape(-1, 1) for field in templates
    ]
    design = np.hstack(columns)
    normal, right = backend.warp_equations(gradient, residual, np.stack(templates), basis)
    np.testing.assert_allclose(normal, design.T @ design, atol=1e-10)
    np.testing.assert_allclose(right, -design.T @ residual.ravel(), atol=1e-10)
    coefficients = rng.normal(size=(1, *basis.counts))
    np.testing.assert_allclose(basis.expand(coefficients)[0].ravel(), dense @ coefficients.ravel(), atol=1e-12)


def test_the_basis_is_orthonormal_and_its_roughness_is_the_integral() -> None:
    basis = CosineBasis((40, 36, 44), (3, 3, 3))
    z, y, x = (basis.cosines(axis) for axis in range(3))
    np.testing.assert_allclose(y.T @ y, np.eye(3), atol=1e-12)
    voxel_mm = np.array([2.0, 2.0, 2.0])
    wave = np.einsum("z,y,x->zyx", z[:, 1], y[:, 2], x[:, 0])
    laplacian = sum(np.gradient(np.gradient(wave, 2.0, axis=axis), 2.0, axis=axis) for axis in range(3))
    inner = (laplacian[4:-4, 4:-4] ** 2).sum() * 8.0
    share = (wave[4:-4, 4:-4] ** 2).sum()
    assert inner / share == pytest.approx(basis.roughness(voxel_mm)[1, 2, 0], rel=0.02)


@pytest.mark.parametrize("degree", [1, 2, 4])
def test_resampling_agrees_with_scipy(backend, degree: int) -> None:
    rng = np.random.default_rng(0)
    volumes = rng.normal(size=(3, 9, 12, 10)).astype(np.float32)
    points = rng.uniform(0, 1, (5, 6, 7, 3)) * [9, 11, 8]
    out = np.empty((3, 5, 6, 7), np.float32)
    mean = backend.resample(volumes, points, np.tile(np.eye(4)[:3], (3, 1, 1)), degree=degree, out=out)
    expected = [
        ndimage.map_coordinates(
            v.astype(np.float64), np.moveaxis(points[..., ::-1], -1, 0), order=degree, mode="mirror"
        )
        for v in volumes
    ]
    np.testing.assert_allclose(out, expected, atol=1e-5)
    np.testing.assert_allclose(mean, np.mean(expected, axis=0), atol=1e-5)


def test_gradients_are_the_slopes_of_the_values(backend) -> None:
    rng = np.random.default_rng(1)
    volume = ndimage.gaussian_filter(rng.normal(size=(9, 12, 10)), 1.0).astype(np.float32)
    filters = coefficient_filters(volume.shape, 2, (1.0, 2.0, 0.0))
    points = rng.uniform(1, 2, (50, 3)) * [3.5, 4.0, 3.0]
    values, gradient = backend.sample_gradient(volume, filters, points)
    for axis in range(3):
        step = np.eye(3)[axis] * 1e-3
        higher, _ = backend.sample_gradient(volume, filters, points + step)
        lower, _ = backend.sample_gradient(volume, filters, points - step)
        np.testing.assert_allclose(gradient[:, axis], (higher - lower) / 2e-3, atol=1e-4)
    assert np.isfinite(values).all()
    outside, _ = backend.sample_gradient(volume, filters, np.array([[-0.01, 3.0, 3.0], [3.0, 3.0, 8.01]]))
    assert np.isnan(outside).all()


def test_the_matrices_interpolate_and_keep_constants() -> None:
    for degree in (1, 2, 4):
        np.testing.assert_allclose(coefficient_matrix(11, degree, 2.0).sum(axis=1), 1.0, atol=1e-6)
    middle = smoothing_matrix(31, 2.5)[15]
    weights = smoothing_weights(2.5)
    radius = len(weights) // 2
    np.testing.assert_allclose(middle[15 - radius : 16 + radius], weights, atol=1e-7)
    np.testing.assert_allclose(coefficient_matrix(1, 4), 1.0)
