"""Components of covariance and restricted maximum likelihood against SPM12, and what it must recover."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from rsfc_gpu.backend import cpu_group
from rsfc_gpu.errors import InputError
from rsfc_gpu.group import fit, two_sample
from rsfc_gpu.group.covariance import (
    column_space,
    factorial_components,
    group_components,
    restricted_maximum_likelihood,
    scaled_to_unit_variance,
    whitening,
)
from rsfc_gpu.group.glm import _covariance
from rsfc_gpu.images.mask import Mask
from spm_cases import spm_cases, spm_design

GOLDEN = Path(__file__).parents[1] / "reference" / "spm_models.npz"
COLUMNS = ["subject", "group", "time", "age", "sex", "fd"]


@pytest.mark.parametrize(("name", "kind"), [("two_sample", "t2_unequal"), ("factorial", "ff_paper")])
def test_golden_covariance(name, kind) -> None:
    """From the second moment that SPM12 pooled to its weights, V and W."""
    stored = np.load(GOLDEN)
    design = spm_design(pd.DataFrame(stored[f"{name}_table"], columns=COLUMNS), kind)
    weights, covariance = restricted_maximum_likelihood(stored[f"{name}_Cy"], design.matrix, design.components)
    # Beside subject columns, differences in rounding grow along what is not identified.
    np.testing.assert_allclose(weights, stored[f"{name}_h"], rtol=1e-8 if name == "two_sample" else 1e-5)
    covariance = scaled_to_unit_variance(covariance)
    np.testing.assert_allclose(covariance, stored[f"{name}_V"], atol=1e-10 if name == "two_sample" else 1e-6)
    np.testing.assert_allclose(whitening(covariance), stored[f"{name}_W"], atol=1e-10 if name == "two_sample" else 1e-6)


def test_pooled_moment_and_components_of_every_reference(reference_root, cpu) -> None:
    seen = 0
    for case in spm_cases(reference_root):
        if not case.design.components:
            continue
        covariance = _covariance_of(case, cpu)
        expected = np.loadtxt(case.folder / "V.csv.gz", delimiter=",")
        np.testing.assert_allclose(covariance, expected, atol=1e-8, err_msg=case.name)
        triplets = np.loadtxt(case.folder / "Vi_triplets.csv.gz", delimiter=",", ndmin=2, skiprows=_header(case.folder))
        components = np.zeros((len(case.design.components), *covariance.shape))
        components[tuple(triplets[:, :3].astype(int).T - 1)] = triplets[:, 3]
        np.testing.assert_array_equal(np.array(case.design.components), components)
        seen += 1
    assert seen == 4


def _header(folder: Path) -> int:
    import gzip

    with gzip.open(folder / "Vi_triplets.csv.gz", "rt") as lines:
        return 0 if lines.readline()[0].isdigit() else 1


def _covariance_of(case, backend) -> np.ndarray:
    mask = np.isfinite(case.maps).all(axis=0) & (case.mask > 0) & (np.ptp(np.nan_to_num(case.maps), axis=0) > 0)
    voxels = Mask(mask, case.affine)
    samples = np.array([voxels.take(volume) for volume in case.maps])
    return _covariance(samples, case.design, backend)


def test_small_problem_of_spm(reference_root) -> None:
    path = reference_root / "reference" / "spm" / "functions" / "functions.json"
    entry = json.loads(path.read_text())["spm_reml"]
    components = tuple(np.diag(np.array(diagonal, dtype=float)) for diagonal in entry["Vi_diag"])
    weights, covariance = restricted_maximum_likelihood(np.array(entry["YY"]), np.array(entry["X"]), components)
    np.testing.assert_allclose(weights, entry["h"], rtol=1e-6)
    np.testing.assert_allclose(np.diag(covariance), entry["V_diag"], rtol=1e-6)


def test_pooling_equals_a_plain_loop(backend) -> None:
    rng = np.random.default_rng(2)
    n, n_voxels = 14, 5000
    groups = np.repeat([0, 1], 7)
    samples = rng.standard_normal((n, n_voxels)).astype(np.float32)
    samples[:, ::3] += 2.0
    basis, blocks = column_space(np.eye(2)[groups]), np.zeros((n, 0))
    total, count = np.zeros((n, n)), 0
    for y in samples.T.astype(np.float64):
        residual = float(((y - basis @ (basis.T @ y)) ** 2).sum()) / (n - 2)
        if float(((basis.T @ y) ** 2).sum()) / 2 / residual > 9.0:
            total += np.outer(y, y) / residual
            count += 1
    moment, pooled = backend.pool_second_moment(samples, basis, blocks, 9.0)
    assert pooled == count > 100
    np.testing.assert_allclose(moment, total / count, rtol=1e-10, atol=1e-12)


def test_pooling_does_not_depend_on_which_block_ends_first() -> None:
    """Equal to the last bit: a rerun of a study gives the same bytes."""
    rng = np.random.default_rng(4)
    samples = rng.standard_normal((14, 9 * cpu_group.POOL_VOXELS + 5)).astype(np.float32)
    basis = column_space(np.eye(2)[np.repeat([0, 1], 7)])

    def pooled(order: Callable[[list[int]], list[int]]) -> tuple[NDArray[np.float64], int]:
        def for_blocks(n: int, width: int, work: Callable[[int, int], None]) -> None:
            for start in order(list(range(0, n, width))):
                work(start, min(start + width, n))

        return cpu_group.pool_second_moment(samples, basis, np.zeros((14, 0)), 0.5, for_blocks)

    moment, count = pooled(lambda starts: starts)
    for order in (lambda starts: starts[::-1], lambda starts: rng.permutation(starts).tolist()):
        again, again_count = pooled(order)
        assert again_count == count > 1000
        np.testing.assert_array_equal(again, moment)


def test_unequal_variances_are_recovered(cpu) -> None:
    """Standard deviations 1 and 2: a ratio of variances near 4, read low as each voxel is scaled by its residuals and
    the iteration stops early."""
    rng = np.random.default_rng(3)
    table = pd.DataFrame({"group": ["a"] * 20 + ["b"] * 30})
    maps = rng.standard_normal((50, 16, 16, 16)) + 1.0
    maps[20:] = (maps[20:] - 1) * 2 + 1
    variances = np.diag(fit(maps, two_sample(table), backend=cpu).covariance)
    assert variances[-1] / variances[0] == pytest.approx(4.0, rel=0.12)
    assert variances.sum() == pytest.approx(50)


def test_components_of_a_factorial() -> None:
    groups, subjects = np.array([0, 0, 1, 1, 0, 0]), np.array([0, 0, 1, 1, 2, 2])
    first, second, shared_first, shared_second = factorial_components(groups, subjects)
    np.testing.assert_array_equal(first + second, np.eye(6))
    assert [tuple(pair) for pair in np.argwhere(shared_first)] == [(0, 1), (1, 0), (4, 5), (5, 4)]
    assert [tuple(pair) for pair in np.argwhere(shared_second)] == [(2, 3), (3, 2)]
    assert len(group_components(groups)) == 2


def test_whitening_is_the_symmetric_inverse_root() -> None:
    rng = np.random.default_rng(4)
    root = rng.standard_normal((6, 6))
    covariance = root @ root.T + np.eye(6)
    w = whitening(covariance)
    np.testing.assert_allclose(w, w.T, atol=1e-12)
    np.testing.assert_allclose(w @ covariance @ w.T, np.eye(6), atol=1e-10)


def test_a_singular_covariance_is_refused() -> None:
    with pytest.raises(InputError, match="positive definite"):
        scaled_to_unit_variance(np.ones((4, 4)))
