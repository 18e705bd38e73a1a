"""What must hold for any data: equivalent models agree, and what carries no meaning changes nothing."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from rsfc_gpu.group import AbsorbedCovariateWarning, clusters, fit, flexible_factorial, one_sample, paired, two_sample
from spm_cases import spm_cases

AFFINE = np.array([[-3.0, 0, 0, 40], [0, 3, 0, -50], [0, 0, 3, -30], [0, 0, 0, 1]])
SHAPE = (12, 13, 11)


def _study(seed: int = 0) -> tuple[np.ndarray, pd.DataFrame]:
    """Two visits of 9 + 11 people: smooth maps with subject effects, unequal variances and an interaction."""
    rng = np.random.default_rng(seed)
    n = 20
    groups = np.array(["responder"] * 9 + ["nonresponder"] * 11)
    table = pd.DataFrame(
        {
            "subject": np.repeat([f"s{i}" for i in range(n)], 2),
            "group": np.repeat(groups, 2),
            "time": ["baseline", "Day13"] * n,
            "age": np.repeat(rng.normal(40, 9, n), 2),
            "fd": rng.gamma(4, 0.02, 2 * n),
        }
    )
    noise = rng.standard_normal((2 * n, *SHAPE)) * np.where(table.group == "responder", 1.4, 1.0)[:, None, None, None]
    maps = np.array([ndimage.gaussian_filter(volume, 1.0) for volume in noise])
    maps += np.repeat(ndimage.gaussian_filter(rng.standard_normal((n, *SHAPE)), (0, 1, 1, 1)), 2, axis=0)
    blob = np.exp(-((np.stack(np.indices(SHAPE)) - 5) ** 2).sum(axis=0) / 8)
    maps[(table.group == "responder") & (table.time == "Day13")] += 2.0 * blob
    return maps.astype(np.float32), table


def _differences(maps: np.ndarray, table: pd.DataFrame) -> tuple[np.ndarray, pd.DataFrame]:
    """Baseline minus Day 13 of each subject; the covariate that varies enters as a difference."""
    first, second = table.iloc[::2].reset_index(drop=True), table.iloc[1::2].reset_index(drop=True)
    return maps[::2].astype(np.float64) - maps[1::2], first.assign(fd=first.fd - second.fd)


@pytest.mark.parametrize(
    ("covariance", "variances", "tolerance"), [("independent", "equal", 1e-6), ("spm", "unequal", 1e-4)]
)
def test_interaction_is_the_two_sample_test_of_differences(covariance, variances, tolerance, backend) -> None:
    """F = t^2. With estimated covariance the prior weighs on other components in either model, a little."""
    maps, table = _study()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AbsorbedCovariateWarning)
        design = flexible_factorial(table, covariates=["age", "fd"], covariance=covariance)
    f = fit(maps, design, affine=AFFINE, backend=backend).f("group:time")
    change, people = _differences(maps, table)
    t = fit(change, two_sample(people, covariates=["fd"], variances=variances), affine=AFFINE, backend=backend).t(
        "responder - nonresponder"
    )
    assert f.dof == (1.0, t.dof[1])
    np.testing.assert_allclose(f.values, t.values**2, rtol=tolerance, atol=tolerance)


def test_interaction_is_the_two_sample_test_of_differences_on_reference_data(reference_root, cpu) -> None:
    case = next(case for case in spm_cases(reference_root) if case.folder.name == "ff_paper")
    table = pd.read_csv(case.folder.parent / "inputs" / "design.csv")
    f = fit(case.maps, case.design, mask=case.mask, affine=case.affine, backend=cpu).f("group:time")
    change, people = _differences(case.maps, table)
    design = two_sample(people, covariates=["fd"])
    t = fit(change, design, mask=case.mask, affine=case.affine, backend=cpu).t("1 - 2")
    both = f.mask & t.mask
    assert both.sum() > 40_000
    np.testing.assert_allclose(f.values[both], t.values[both] ** 2, rtol=6e-6, atol=6e-6)


def test_time_of_pairs_is_the_one_sample_test_of_differences(backend) -> None:
    maps, table = _study()
    pairs = fit(maps, paired(table, condition="time"), affine=AFFINE, backend=backend).t("baseline - Day13")
    change, people = _differences(maps, table)
    alone = fit(change, one_sample(people), affine=AFFINE, backend=backend).t("mean")
    assert pairs.dof == alone.dof
    np.testing.assert_allclose(pairs.values, alone.values, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(pairs.effect, alone.effect, rtol=1e-5, atol=1e-6)


def _two_groups(maps: np.ndarray, table: pd.DataFrame, **arguments):
    fitted = fit(maps, two_sample(table, covariates=["age"]), **{"affine": AFFINE, **arguments})
    return fitted, fitted.t("responder - nonresponder")


def _baseline() -> tuple[np.ndarray, pd.DataFrame]:
    maps, table = _study()
    return maps[1::2], table.iloc[1::2].reset_index(drop=True)


def test_flipping_the_grid_changes_nothing_but_its_order(cpu) -> None:
    """A flip puts other voxels at the forward edge, so smoothness may move a little; the statistics may not."""
    maps, table = _baseline()
    fitted, expected = _two_groups(maps, table, backend=cpu)
    flip = AFFINE.copy()
    flip[:3, 3] += AFFINE[:3, 0] * (SHAPE[0] - 1)
    flip[:3, 0] *= -1
    mirrored, found = _two_groups(maps[:, ::-1], table, affine=flip, backend=cpu)
    np.testing.assert_allclose(found.values[::-1], expected.values, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(mirrored.covariance, fitted.covariance, atol=1e-10)
    np.testing.assert_allclose(mirrored.smoothness.fwhm_voxels, fitted.smoothness.fwhm_voxels, rtol=0.05)
    columns = ["voxels", "x", "y", "z"]
    pd.testing.assert_frame_equal(clusters(found)[columns], clusters(expected)[columns])
    assert len(clusters(found))


def test_padding_the_grid_changes_nothing(cpu) -> None:
    """With the mask off the edges of both grids."""
    maps, table = _baseline()
    inside = np.zeros(SHAPE, dtype=bool)
    inside[1:-1, 1:-1, 1:-1] = True
    fitted, expected = _two_groups(maps, table, mask=inside, backend=cpu)
    margin = [(0, 0), (2, 1), (3, 0), (1, 4)]
    shifted = AFFINE.copy()
    shifted[:3, 3] -= AFFINE[:3, :3] @ [2, 3, 1]
    padded, found = _two_groups(
        np.pad(maps, margin), table, mask=np.pad(inside, margin[1:]), affine=shifted, backend=cpu
    )
    np.testing.assert_array_equal(padded.mask.sum(), fitted.mask.sum())
    np.testing.assert_allclose(found.values[2:-1, 3:, 1:-4], expected.values, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(padded.smoothness.resels, fitted.smoothness.resels, rtol=1e-10)
    pd.testing.assert_frame_equal(clusters(found), clusters(expected), rtol=1e-6)


def test_names_and_order_of_people_and_groups_change_nothing(cpu) -> None:
    maps, table = _baseline()
    fitted, expected = _two_groups(maps, table, backend=cpu)
    order = np.random.default_rng(1).permutation(len(table))
    shuffled = table.iloc[order].assign(subject=[f"p{i}" for i in range(len(table))])
    refitted, found = _two_groups(maps[order], shuffled, backend=cpu)
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(refitted.smoothness.fwhm_voxels, fitted.smoothness.fwhm_voxels, rtol=1e-9)
    renamed = table.replace({"group": {"responder": "b", "nonresponder": "a"}})
    swapped = fit(maps, two_sample(renamed, levels=["a", "b"], covariates=["age"]), affine=AFFINE, backend=cpu)
    np.testing.assert_allclose(swapped.t("b - a").values, expected.values, rtol=1e-5, atol=1e-6)


def test_scale_and_units_change_nothing(cpu) -> None:
    """T does not depend on the unit of the maps, nor on unit and origin of a covariate."""
    maps, table = _baseline()
    _, expected = _two_groups(maps, table, backend=cpu)
    _, found = _two_groups(maps * 1024, table.assign(age=table.age * 12 + 7), backend=cpu)
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.effect, expected.effect * 1024, rtol=1e-5, atol=1e-3)


def test_one_thread_and_two_give_the_same_numbers() -> None:
    from rsfc_gpu.backend import select_backend

    maps, table = _baseline()
    one, two = (_two_groups(maps, table, backend=select_backend("cpu", threads=n))[0] for n in (1, 2))
    np.testing.assert_allclose(one.variances, two.variances, rtol=1e-9)
    np.testing.assert_allclose(one.smoothness.rpv, two.smoothness.rpv, rtol=1e-5)
