"""One run: its noise, its motion, and the connectivity that the analysis finds in it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

import rsfc_gpu as rg
from rsfc_gpu.simulate import Anatomy, build_anatomy, simulate_run
from rsfc_gpu.simulate.anatomy import NOISE_FWHM_MM
from rsfc_gpu.simulate.bold import nominal_dof, observed_sd
from rsfc_gpu.simulate.motion import simulate_motion

GRID_MM = 4.0
#: Far apart, in grey matter: where each seed is coupled, and the planted z.
PLACES = ((-42, -26, 48), (42, -26, 52), (26, -82, 28), (-22, 36, 36), (-6, -58, 48), (46, 50, 4))
PLANTED_Z = 0.35


@pytest.fixture(scope="module")
def anatomy() -> Anatomy:
    return build_anatomy(GRID_MM)


def test_grid_is_that_of_normalised_data(anatomy: Anatomy) -> None:
    assert anatomy.brain.shape == (46, 55, 46)
    np.testing.assert_array_equal(anatomy.brain.affine @ [0, 0, 0, 1], [90, -126, -72, 1])
    np.testing.assert_array_equal(np.diag(anatomy.brain.affine), [-4, 4, 4, 1])
    sizes = dict(zip(anatomy.seeds.names, map(len, anatomy.seeds.members), strict=True))
    assert sizes == {"CMleft": 6, "CMright": 9, "LBleft": 38, "LBright": 43, "SFleft": 25, "SFright": 21}
    _, coverage = anatomy.seeds.within(anatomy.brain)
    np.testing.assert_array_equal(coverage, 1.0)
    for tissue in (anatomy.white_matter, anatomy.csf):
        assert len(tissue) >= 50
        assert not (tissue.inside & ~anatomy.brain.inside).any()


def test_noise_has_unit_variance_everywhere_and_the_stated_smoothness(anatomy: Anatomy) -> None:
    noise = anatomy.noise(np.random.default_rng(0), 200)
    variance = noise.var(axis=0)
    assert variance.mean() == pytest.approx(1, abs=0.01)
    assert variance.min() > 0.5  # the smallest of 30,000 with 200 degrees of freedom
    assert np.abs(np.corrcoef(noise[:-1].ravel(), noise[1:].ravel())[0, 1]) < 0.01
    volume = anatomy.brain.put(noise)
    both = anatomy.brain.inside[:-1] & anatomy.brain.inside[1:]
    neighbours = np.corrcoef(volume[:, :-1][:, both].ravel(), volume[:, 1:][:, both].ravel())[0, 1]
    # Gaussian smoothing: correlation exp(-d^2 / 4 sigma^2) at distance d.
    sigma = NOISE_FWHM_MM / np.sqrt(8 * np.log(2))
    assert neighbours == pytest.approx(np.exp(-(GRID_MM**2) / (4 * sigma**2)), abs=0.03)


@pytest.mark.parametrize("mean_fd_mm", [0.02, 0.05, 0.12])
def test_motion_has_the_wanted_displacement(mean_fd_mm: float) -> None:
    runs = [simulate_motion(np.random.default_rng(i), 110, mean_fd_mm=mean_fd_mm) for i in range(20)]
    fd = [rg.denoise.framewise_displacement(motion).mean() for motion in runs]
    np.testing.assert_allclose(fd, mean_fd_mm, rtol=0.15)
    assert all((motion[0] == 0).all() for motion in runs)
    assert max(np.abs(motion[:, :3]).max() for motion in runs) < 2


def test_an_excursion_passes_the_limit_and_ordinary_spikes_are_censored() -> None:
    moved = simulate_motion(np.random.default_rng(0), 110, mean_fd_mm=0.05, excursion_mm=3.0)
    assert np.abs(moved[:, :3]).max() > 2
    runs = [simulate_motion(np.random.default_rng(i), 110, mean_fd_mm=0.1) for i in range(30)]
    lost = [(~rg.denoise.kept_volumes(rg.denoise.framewise_displacement(motion))).sum() for motion in runs]
    assert 1 < np.mean(lost) < 15


def test_a_run_depends_on_its_generator_alone(anatomy: Anatomy) -> None:
    nothing = np.zeros((6, len(anatomy.brain)), dtype=np.float32)
    first = simulate_run(anatomy, nothing, np.random.default_rng(3), n_volumes=100)
    simulate_run(anatomy, nothing, np.random.default_rng(4), n_volumes=100)
    again = simulate_run(anatomy, nothing, np.random.default_rng(3), n_volumes=100)
    np.testing.assert_array_equal(first.samples, again.samples)
    np.testing.assert_array_equal(first.motion, again.motion)
    assert first.samples.min() > 0


def measured_z(anatomy: Anatomy, z_maps: NDArray[np.float32], at: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    """(n, S, places) z of n runs after the published cleaning."""
    backend, settings = rg.select_backend("cpu", threads=1), rg.DenoiseSettings.preset("dparsf")
    brain = nibabel.Nifti1Image(anatomy.brain.inside.astype(np.uint8), anatomy.brain.affine)

    def one(i: int) -> NDArray[np.float32]:
        run = simulate_run(anatomy, z_maps, np.random.default_rng([11, i]), n_volumes=110)
        given = rg.Run(bold=run.image(), mask=brain, tr_s=run.tr_s, motion=run.motion, tissues=run.tissues())
        maps = rg.seed_maps(given, anatomy.seeds, settings.replace(minimum_dof=0), backend)
        return np.array([anatomy.brain.take(z)[at] for z in maps.z])

    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(2) as pool:
        return np.array(list(pool.map(one, range(n))), dtype=np.float64)


@pytest.mark.slow
def test_the_planted_z_arrives_under_its_seed_and_under_no_other(anatomy: Anatomy) -> None:
    """Six seeds are neighbours; a target of one must not show under the others."""
    n = 40
    blobs, at = anatomy.blobs(PLACES, 12.0)
    signs = np.array([1, -1, 1, -1, 1, -1])
    z = measured_z(anatomy, (PLANTED_Z * signs[:, None] * blobs).astype(np.float32), at, n)
    own = np.arange(6)
    # The standard error of the mean of a seed is 0.2 / sqrt(40) = 0.032; of all six, a hundredth.
    found = z.mean(axis=0)[own, own] * signs
    np.testing.assert_allclose(found, PLANTED_Z, atol=4 * 0.2 / np.sqrt(n))
    assert found.mean() == pytest.approx(PLANTED_Z, abs=0.045)
    others = ~np.eye(6, dtype=bool)
    assert np.abs((z.mean(axis=0) * signs)[others].mean()) < 0.025
    assert np.abs(z.mean(axis=0)[others]).max() < 4.5 * 0.2 / np.sqrt(n)
    assert z.std(axis=0, ddof=1).mean() == pytest.approx(observed_sd(110), rel=0.07)


def test_degrees_of_freedom_are_those_of_the_cleaning() -> None:
    assert nominal_dof(100) == pytest.approx(25, abs=1.5)
    assert 0.19 < observed_sd(110) < 0.22
    assert observed_sd(240) == pytest.approx(0.20, abs=1e-3)
