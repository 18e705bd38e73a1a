"""What a pass over a file gathers, against get_fdata and plain NumPy."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from rsfc_gpu.errors import InputError
from rsfc_gpu.images.mask import Mask
from rsfc_gpu.images.nifti import BoldSource
from rsfc_gpu.images.series import read_series

SHAPE, N_VOLUMES = (7, 6, 5), 12
AFFINE = np.array([[-3.0, 0, 0, 9], [0, 3, 0, -6], [0, 0, 3, -3], [0, 0, 0, 1]])


@pytest.fixture
def inside():
    return np.random.default_rng(1).random(SHAPE) > 0.4


def bold_of(values, *, slope=None):
    image = nibabel.Nifti1Image(values, AFFINE)
    if slope:
        image.header.set_slope_inter(*slope)
    return image


def saved(tmp_path, values, slope=(1, 0)):
    image = bold_of(values, slope=slope)
    image.header.set_data_dtype(values.dtype)
    raw = nibabel.Nifti1Image(values, AFFINE, image.header)
    path = tmp_path / "bold.nii.gz"
    nibabel.save(raw, path)
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_series_and_regional_means(tmp_path, cpu, inside, dtype):
    values = np.random.default_rng(2).integers(0, 200, (*SHAPE, N_VOLUMES)).astype(dtype)
    path = saved(tmp_path, values)
    region = np.random.default_rng(4).random(SHAPE) > 0.7  # reaches outside the mask, zeros included
    series = read_series(
        BoldSource.open(path), Mask.from_array(inside, AFFINE), cpu, regions={"csf": Mask.from_array(region, AFFINE)}
    )
    data = nibabel.load(path).get_fdata()
    expected = np.stack([series.mask.take(data[..., t]) for t in range(N_VOLUMES)])
    np.testing.assert_allclose(
        series.slope * (series.samples - series.centre) + series.baseline, expected, rtol=1e-6, atol=1e-4
    )
    np.testing.assert_allclose(series.baseline, expected.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(series.regions["csf"], data[region].mean(axis=0), rtol=1e-12)


def test_slope_and_intercept_reach_means_and_baseline(tmp_path, cpu, inside):
    values = np.random.default_rng(2).integers(0, 200, (*SHAPE, N_VOLUMES)).astype(np.int16)
    path = tmp_path / "bold.nii"
    image = nibabel.Nifti1Image(values, AFFINE)
    nibabel.save(image, path)
    raw = bytearray(path.read_bytes())
    raw[112:120] = np.array([0.25, -3.0], "<f4").tobytes()  # scl_slope, scl_inter
    path.write_bytes(raw)
    data = nibabel.load(path).get_fdata()
    assert data.min() == pytest.approx(values.min() * 0.25 - 3)
    mask = Mask.from_array(inside, AFFINE)
    series = read_series(BoldSource.open(path), mask, cpu, regions={"csf": mask})
    np.testing.assert_allclose(series.regions["csf"], data[inside].mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(series.baseline, mask.take(data.mean(axis=-1)), rtol=1e-12)
    assert series.slope == 0.25


def test_float32_keeps_small_fluctuations_on_a_large_baseline(tmp_path, cpu, inside):
    fluctuation = np.random.default_rng(0).standard_normal((*SHAPE, N_VOLUMES))
    path = saved(tmp_path, 1e7 + 1e-3 * fluctuation)
    series = read_series(BoldSource.open(path), Mask.from_array(inside, AFFINE), cpu)
    expected = np.stack([series.mask.take(fluctuation[..., t]) for t in range(N_VOLUMES)])
    expected -= expected.mean(axis=0)
    found = series.samples - series.centre
    assert series.samples.dtype == np.float32
    np.testing.assert_allclose(found * 1e3, expected, atol=1e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_and_constant_voxels_leave_the_mask_and_are_counted(tmp_path, cpu, bad):
    values = np.random.default_rng(0).standard_normal((*SHAPE, N_VOLUMES)).astype(np.float32)
    values[1, 2, 3, 5] = bad
    values[2, 2, 2] = bad
    values[3, 3, 3] = 4.5
    everywhere = Mask.from_array(np.ones(SHAPE), AFFINE)
    series = read_series(BoldSource.open(saved(tmp_path, values)), everywhere, cpu, regions={"global": everywhere})
    assert (series.n_not_finite, series.n_constant, len(series.mask)) == (2, 1, values[..., 0].size - 3)
    assert not series.mask.inside[1, 2, 3] and not series.mask.inside[2, 2, 2] and not series.mask.inside[3, 3, 3]
    expected = np.stack([series.mask.take(values[..., t]) for t in range(N_VOLUMES)])
    np.testing.assert_allclose(series.samples - series.centre, expected - expected.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(
        series.regions["global"], np.where(np.isfinite(values), values, 0).mean(axis=(0, 1, 2), dtype=float), atol=1e-7
    )


def test_constant_integers_leave_the_mask(tmp_path, cpu):
    values = np.random.default_rng(0).integers(0, 50, (*SHAPE, N_VOLUMES)).astype(np.int16)
    values[0, 0, 0] = 7
    values[0, 0, 1] = 0
    series = read_series(BoldSource.open(saved(tmp_path, values)), Mask.from_array(np.ones(SHAPE), AFFINE), cpu)
    assert series.n_constant == 2
    assert series.samples.shape[1] == len(series.mask) == values[..., 0].size - 2


def test_discard_drops_the_first_volumes(tmp_path, cpu, inside):
    values = np.random.default_rng(0).integers(0, 50, (*SHAPE, N_VOLUMES)).astype(np.int16)
    mask = Mask.from_array(inside, AFFINE)
    path = saved(tmp_path, values)
    series = read_series(BoldSource.open(path), mask, cpu, discard=4, regions={"csf": mask})
    assert series.samples.shape[0] == N_VOLUMES - 4
    np.testing.assert_allclose(series.regions["csf"], values[inside].mean(axis=0)[4:], rtol=1e-12)
    with pytest.raises(InputError, match="cannot discard 11"):
        read_series(BoldSource.open(path), mask, cpu, discard=11)


def test_smoothing_while_reading_equals_smoothing_each_volume(tmp_path, backend, inside):
    values = np.random.default_rng(0).integers(0, 500, (*SHAPE, N_VOLUMES)).astype(np.int16)
    mask = Mask.from_array(inside, AFFINE)
    series = read_series(BoldSource.open(saved(tmp_path, values)), mask, backend, fwhm_mm=6.0, regions={"csf": mask})
    for t in range(N_VOLUMES):
        expected = mask.take(backend.smooth(values[..., t].astype(np.float32), [2.0, 2.0, 2.0]))
        np.testing.assert_allclose(series.samples[t] - series.centre + series.baseline, expected, atol=1e-3)
        assert series.regions["csf"][t] == pytest.approx(expected.mean(dtype=float), rel=1e-6)


def test_smoothing_takes_a_missing_voxel_as_zero_and_drops_it(tmp_path, cpu):
    values = np.random.default_rng(0).standard_normal((*SHAPE, N_VOLUMES)).astype(np.float32)
    zeroed = values.copy()
    values[3, 3, 2, 1] = np.nan
    zeroed[3, 3, 2, 1] = 0
    mask = Mask.from_array(np.ones(SHAPE), AFFINE)
    series = read_series(BoldSource.open(saved(tmp_path, values)), mask, cpu, fwhm_mm=6.0)
    assert series.n_not_finite == 1 and not series.mask.inside[3, 3, 2]
    same = read_series(BoldSource.open(saved(tmp_path, zeroed)), series.mask, cpu, fwhm_mm=6.0)
    np.testing.assert_array_equal(series.samples, same.samples)


def test_grids_must_agree(tmp_path, cpu, inside):
    path = saved(tmp_path, np.ones((*SHAPE, N_VOLUMES), np.int16))
    moved = AFFINE.copy()
    moved[0, 3] += 0.01
    with pytest.raises(InputError, match=r"the mask and .*different grids: 7x6x5 .* 9.01\].*against|different grids"):
        read_series(BoldSource.open(path), Mask.from_array(inside, moved), cpu)
    with pytest.raises(InputError, match="the csf mask"):
        other = Mask.from_array(np.ones((7, 6, 4)), AFFINE)
        read_series(BoldSource.open(path), Mask.from_array(inside, AFFINE), cpu, regions={"csf": other})
    with pytest.raises(InputError, match="empty"):
        read_series(BoldSource.open(path), Mask.from_array(np.zeros(SHAPE), AFFINE), cpu)
    with pytest.raises(InputError, match="no voxel of the mask varies"):
        read_series(BoldSource.open(path), Mask.from_array(inside, AFFINE), cpu)


def test_an_integer_voxel_whose_mean_is_its_first_value_still_varies(tmp_path, cpu):
    values = np.full((*SHAPE, 5), 7, dtype=np.int16)
    values[2, 1, 3] = [7, 9, 5, 8, 6]
    series = read_series(BoldSource.open(saved(tmp_path, values)), Mask.from_array(np.ones(SHAPE), AFFINE), cpu)
    assert series.n_constant == values[..., 0].size - 1
    np.testing.assert_array_equal(series.samples[:, 0], values[2, 1, 3])


def test_constant_voxels_leave_the_mask_also_under_smoothing(tmp_path, cpu):
    values = np.random.default_rng(0).integers(0, 50, (*SHAPE, N_VOLUMES)).astype(np.int16)
    values[3, 3, 2] = 7
    series = read_series(
        BoldSource.open(saved(tmp_path, values)), Mask.from_array(np.ones(SHAPE), AFFINE), cpu, fwhm_mm=6.0
    )
    assert series.n_constant == 1 and not series.mask.inside[3, 3, 2]


@pytest.mark.parametrize("n_volumes", [32768, 32769], ids=["sums of 32 bits", "sums of 64 bits"])
def test_sums_of_the_largest_integers_do_not_overflow(tmp_path, cpu, n_volumes):
    values = np.full((2, 2, 1, n_volumes), np.iinfo(np.uint16).max, dtype=np.uint16)
    values[..., -1] = 0
    nibabel.save(nibabel.Nifti2Image(values, AFFINE), tmp_path / "bold.nii")  # NIfTI-1 ends at 32767 volumes
    bold = BoldSource.open(tmp_path / "bold.nii")
    series = read_series(bold, Mask.from_array(np.ones((2, 2, 1)), AFFINE), cpu)
    np.testing.assert_allclose(series.centre, values.mean(axis=-1, dtype=np.float64).ravel(), rtol=1e-15)
