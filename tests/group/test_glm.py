"""Fits against statsmodels and SPM12's own numbers, masks, files, and every input that must be refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rsfc_gpu.errors import InputError
from rsfc_gpu.group import fit, fit_many, flexible_factorial, one_sample, two_sample
from rsfc_gpu.images.mask import Mask
from spm_cases import spm_design

GOLDEN = Path(__file__).parents[1] / "reference" / "spm_models.npz"
COLUMNS = ["subject", "group", "time", "age", "sex", "fd"]
AFFINE = np.diag([-3.0, 3.0, 3.0, 1.0])


def _table(rng: np.random.Generator, sizes: tuple[int, int] = (9, 11)) -> pd.DataFrame:
    n = sum(sizes)
    return pd.DataFrame({"group": ["MDD"] * sizes[0] + ["HC"] * sizes[1], "age": rng.normal(40, 10, n)})


def _maps(rng: np.random.Generator, n: int = 20, shape: tuple[int, ...] = (7, 8, 6)) -> np.ndarray:
    return (rng.standard_normal((n, *shape)) + 0.5).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "kind", "contrast", "key"),
    [
        ("two_sample", "t2_equal", [1, -1], "spmT_0001"),
        ("factorial", "ff_iid", [1, -1, -1, 1], "spmF_0001"),
    ],
)
def test_golden_maps(name, kind, contrast, key, cpu) -> None:
    """A corner of SPM12's own data and statistic map."""
    stored = np.load(GOLDEN)
    design = spm_design(pd.DataFrame(stored[f"{name}_table"], columns=COLUMNS), kind)
    maps = (stored[f"{name}_maps"] * float(stored[f"{name}_quantum"])).astype(np.float32)
    fitted = fit(maps, design, mask=stored[f"{name}_mask"], backend=cpu)
    stat = fitted.t(contrast) if key.startswith("spmT") else fitted.f(contrast)
    np.testing.assert_array_equal(stat.mask, stored[f"{name}_mask"])
    np.testing.assert_allclose(stat.values[stat.mask], stored[f"{name}_{key}"][stat.mask], rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("variances", ["equal", "unequal"])
def test_fifty_voxels_equal_statsmodels(variances, backend) -> None:
    """Ordinary least squares, and generalised with the estimated covariance."""
    import statsmodels.api as sm

    rng = np.random.default_rng(0)
    maps, table = _maps(rng), _table(rng)
    maps[:9] += 1.0
    design = two_sample(table, covariates=["age"], variances=variances)
    fitted = fit(maps, design, backend=backend)
    t, f = fitted.t("MDD - HC"), fitted.f([[1, -1], [0, 0, 1]])
    for v in rng.choice(len(fitted.voxels), 50, replace=False):
        x, y, z = np.unravel_index(fitted.voxels.index[v], fitted.mask.shape, order="F")
        model = sm.GLS(maps[:, x, y, z].astype(np.float64), design.matrix, sigma=fitted.covariance).fit()
        np.testing.assert_allclose(fitted.estimates[:, v], model.params, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(fitted.variances[v], model.scale, rtol=1e-8)
        np.testing.assert_allclose(fitted.estimate_covariance * model.scale, model.cov_params(), rtol=1e-8)
        one = model.t_test([1, -1, 0])
        several = model.f_test([[1, -1, 0], [0, 0, 1]])
        assert t.values[x, y, z] == pytest.approx(float(one.tvalue.item()), rel=1e-6)
        assert t.effect[x, y, z] == pytest.approx(float(one.effect.item()), rel=1e-6)
        assert t.standard_error[x, y, z] == pytest.approx(float(one.sd.item()), rel=1e-6)
        assert f.values[x, y, z] == pytest.approx(float(several.fvalue), rel=1e-6)
        assert f.dof == (several.df_num, several.df_denom) == (2.0, 17.0)
    assert t.dof == (1.0, 17.0) and t.kind == "T" and t.name == "MDD - HC" and f.kind == "F"


def test_f_of_one_row_is_t_squared_with_the_same_effect(cpu) -> None:
    rng = np.random.default_rng(1)
    fitted = fit(_maps(rng), two_sample(_table(rng), variances="equal"), backend=cpu)
    t, f = fitted.t("MDD - HC"), fitted.f("group")
    np.testing.assert_allclose(f.values, t.values**2, rtol=1e-5)
    np.testing.assert_array_equal(f.effect, t.effect)
    np.testing.assert_array_equal(f.standard_error, t.standard_error)
    both = fitted.f([[1, -1], [2, -2]])  # the same row twice counts once
    assert both.dof == f.dof
    np.testing.assert_allclose(both.values, f.values, rtol=1e-5)


def test_several_rows_give_the_extra_mean_square(cpu) -> None:
    rng = np.random.default_rng(1)
    fitted = fit(_maps(rng), two_sample(_table(rng), variances="equal"), backend=cpu)
    f = fitted.f(np.eye(2))
    np.testing.assert_allclose(f.effect / f.standard_error**2, f.values, rtol=1e-5)


def test_maps_of_a_fit(cpu) -> None:
    rng = np.random.default_rng(2)
    maps, table = _maps(rng), _table(rng)
    fitted = fit(maps, two_sample(table, covariates=["age"], variances="equal"), affine=AFFINE, backend=cpu)
    means = fitted.cell_means()
    assert list(means) == ["MDD", "HC"]
    np.testing.assert_allclose(means["HC"], maps[9:].mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(fitted.coefficients(["age"])[0], fitted.coefficients()[2])
    assert fitted.residual_variance.shape == maps.shape[1:] and fitted.residual_variance.dtype == np.float32
    np.testing.assert_array_equal(fitted.affine, AFFINE)
    np.testing.assert_array_equal(fitted.covariance, np.eye(20))
    with pytest.raises(InputError, match="no column 'ages'"):
        fitted.coefficients(["ages"])


def test_outside_the_mask_is_nan(cpu) -> None:
    rng = np.random.default_rng(3)
    maps = _maps(rng)
    maps[3, 0, 0, 0], maps[4, 1, 1, 1], maps[:, 2, 2, 2], maps[5, 3, 3, 3] = np.nan, np.inf, 0.25, 0.0
    mask = np.ones(maps.shape[1:])
    mask[6, 7, 5] = 0
    fitted = fit(maps, two_sample(_table(rng), variances="equal"), mask=mask, backend=cpu)
    lost = {tuple(int(i) for i in ijk) for ijk in np.argwhere(~fitted.mask)}
    assert lost == {(0, 0, 0), (1, 1, 1), (2, 2, 2), (6, 7, 5)}  # a zero among floats is a value
    stat = fitted.t([1, -1])
    for volume in (stat.values, stat.effect, stat.standard_error, fitted.residual_variance):
        np.testing.assert_array_equal(np.isnan(volume), ~fitted.mask)


def test_a_zero_in_an_integer_image_is_outside(cpu) -> None:
    rng = np.random.default_rng(4)
    maps = rng.integers(1, 200, (20, 6, 6, 6)).astype(np.int16)
    maps[7, 2, 3, 4] = 0
    fitted = fit(maps, two_sample(_table(rng), variances="equal"), backend=cpu)
    assert [tuple(ijk) for ijk in np.argwhere(~fitted.mask)] == [(2, 3, 4)]


def test_mask_rules_of_spm(reference_root, cpu) -> None:
    """Float and integer images with NaN, zero and constant voxels; one-sample fits, with their smoothness."""
    import json

    nibabel = pytest.importorskip("nibabel")
    folder = reference_root / "reference" / "spm" / "functions"
    images = np.load(folder / "mask_rule_images.npz")
    explicit = np.asarray(nibabel.load(folder / "mr_explicit.nii.gz").dataobj)
    seen = 0
    for entry in json.loads((folder / "functions.json").read_text())["mask_rules"]:
        if entry["type"] == "int" and not entry["implicit_mask_setting"]:
            continue  # an option that this package does not have: zeros of integer images as values
        maps = np.array([images[f"{entry['type']}_{i}"] for i in range(6)])
        mask = explicit if entry["explicit"] else None
        fitted = fit(maps, one_sample(pd.DataFrame({"n": range(6)})), mask=mask, backend=cpu)
        expected = np.asarray(nibabel.load(folder / f"{entry['mask']}.gz").dataobj) > 0
        infinite = np.isinf(maps).any(axis=0) & expected  # SPM keeps infinite values
        assert infinite.sum() == (entry["type"] == "float")
        np.testing.assert_array_equal(fitted.mask, expected & ~infinite)
        if not infinite.any():
            np.testing.assert_allclose(fitted.smoothness.fwhm_voxels, entry["FWHM_vox"], rtol=1e-6)
            np.testing.assert_allclose(fitted.smoothness.resels, entry["R"], rtol=1e-6)
        seen += 1
    assert seen == 6


def test_files_and_arrays_agree(tmp_path, cpu) -> None:
    nibabel = pytest.importorskip("nibabel")
    rng = np.random.default_rng(5)
    maps, design = _maps(rng), two_sample(_table(rng))
    maps[:9] += 1
    maps[2, 1, 1, 1] = np.nan
    paths = [tmp_path / f"map{i}.nii.gz" for i in range(20)]
    for path, volume in zip(paths, maps, strict=True):
        nibabel.save(nibabel.Nifti1Image(volume, AFFINE), path)
    mask = tmp_path / "mask.nii"
    nibabel.save(nibabel.Nifti1Image((maps[0] > -1).astype(np.uint8), AFFINE), mask)
    of_files = fit([str(path) for path in paths], design, mask=mask, backend=cpu)
    of_array = fit(maps, design, mask=Mask.from_array(maps[0] > -1, AFFINE), affine=AFFINE, backend=cpu)
    np.testing.assert_array_equal(of_files.t("MDD - HC").values, of_array.t("MDD - HC").values)
    np.testing.assert_array_equal(of_files.affine, AFFINE)
    nibabel.save(nibabel.Nifti1Image(maps[7], 2 * AFFINE), paths[7])
    with pytest.raises(InputError, match=r"map 7 .*map7.nii.gz.* different grids"):
        fit(paths, design, backend=cpu)


def test_integer_files_with_a_scale_drop_their_zeros(tmp_path, cpu) -> None:
    nibabel = pytest.importorskip("nibabel")
    rng = np.random.default_rng(6)
    maps = rng.integers(1, 200, (8, 5, 5, 5)).astype(np.int16)
    maps[3, 2, 2, 2] = 0
    paths = []
    for i, volume in enumerate(maps):
        paths.append(tmp_path / f"{i}.nii")
        image = nibabel.Nifti1Image(volume, AFFINE)
        image.header.set_slope_inter(0.5, 0)
        nibabel.save(image, paths[-1])
    assert np.asanyarray(nibabel.load(paths[0]).dataobj).dtype == np.float64
    fitted = fit(paths, one_sample(pd.DataFrame({"n": range(8)})), backend=cpu)
    assert [tuple(ijk) for ijk in np.argwhere(~fitted.mask)] == [(2, 2, 2)]


def test_memory_layout_does_not_matter(cpu) -> None:
    rng = np.random.default_rng(7)
    maps, design = _maps(rng), two_sample(_table(rng), variances="equal")
    expected = fit(maps, design, backend=cpu).t([1, -1]).values
    fortran = np.array([np.asfortranarray(volume).T for volume in maps]).transpose(0, 3, 2, 1)
    np.testing.assert_array_equal(fit(fortran, design, backend=cpu).t([1, -1]).values, expected)
    np.testing.assert_array_equal(fit(np.asfortranarray(maps), design, backend=cpu).t([1, -1]).values, expected)
    np.testing.assert_array_equal(fit(list(maps), design, backend=cpu).t([1, -1]).values, expected)


def test_dropped_rows_are_left_out_of_the_maps(cpu) -> None:
    rng = np.random.default_rng(8)
    maps, table = _maps(rng), _table(rng)
    table.loc[4, "age"] = np.nan
    maps[4] = np.nan  # would empty the mask
    design = two_sample(table, covariates=["age"], variances="equal")
    kept = np.delete(np.arange(20), 4)
    np.testing.assert_array_equal(design.rows, kept)
    expected = fit(maps[kept], two_sample(table.iloc[kept], covariates=["age"], variances="equal"), backend=cpu)
    np.testing.assert_array_equal(fit(maps, design, backend=cpu).t([1, -1]).values, expected.t([1, -1]).values)


def test_many_seeds_equal_one_at_a_time(cpu) -> None:
    rng = np.random.default_rng(9)
    seeds, design = {"left": _maps(rng) + 1, "right": _maps(rng) + 1}, two_sample(_table(rng))
    fits = fit_many(seeds, design, affine=AFFINE, backend=cpu)
    assert list(fits) == ["left", "right"]
    for name, maps in seeds.items():
        alone = fit(maps, design, affine=AFFINE, backend=cpu)
        np.testing.assert_array_equal(fits[name].t([1, -1]).values, alone.t([1, -1]).values)
        np.testing.assert_array_equal(fits[name].covariance, alone.covariance)


def test_a_voxel_without_error_drops_out(cpu) -> None:
    rng = np.random.default_rng(10)
    maps = _maps(rng)
    maps[:9, 3, 3, 3], maps[9:, 3, 3, 3] = 1.7, 0.3
    fitted = fit(maps, two_sample(_table(rng), variances="equal"), backend=cpu)
    assert [tuple(ijk) for ijk in np.argwhere(~fitted.mask)] == [(3, 3, 3)]


def test_inputs_stay_as_they_are(cpu) -> None:
    rng = np.random.default_rng(11)
    maps, table = _maps(rng), _table(rng)
    before, rows = maps.copy(), table.copy()
    maps.setflags(write=False)
    fit(maps, two_sample(table, covariates=["age"], variances="equal"), backend=cpu)
    np.testing.assert_array_equal(maps, before)
    pd.testing.assert_frame_equal(table, rows)


def test_what_cannot_be_fitted_is_refused(cpu) -> None:
    rng = np.random.default_rng(12)
    maps, table = _maps(rng), _table(rng)
    design = two_sample(table, variances="equal")
    with pytest.raises(InputError, match="19 maps for a table of 20 rows"):
        fit(maps[1:], design, backend=cpu)
    with pytest.raises(InputError, match="no voxel is left of 336"):
        fit(np.full_like(maps, np.nan), design, backend=cpu)
    with pytest.raises(InputError, match="different grids"):
        fit(maps, design, mask=np.ones((3, 3, 3)), backend=cpu)
    with pytest.raises(InputError, match="expected real numbers"):
        fit(maps[:, 0], design, backend=cpu)
    with pytest.raises(InputError, match="two_sample"):
        fit(rng.standard_normal((20, 3, 3, 3)), two_sample(table), backend=cpu)
    with pytest.raises(InputError, match="needs one"):
        fit(maps, design, backend=cpu).t(np.eye(2))


def test_an_infeasible_factorial_names_the_way_out(cpu) -> None:
    rng = np.random.default_rng(13)
    table = pd.DataFrame(
        {"subject": np.repeat(range(8), 2), "group": np.repeat(["a", "b"], 8), "time": ["t1", "t2"] * 8}
    )
    with pytest.raises(InputError, match="covariance='independent'"):
        fit(rng.standard_normal((16, 3, 3, 3)), flexible_factorial(table), backend=cpu)
