"""The series of a run in a file: comes back bit for bit, or not at all."""

from __future__ import annotations

import logging
import resource

import numpy as np
import pytest

from rsfc_gpu.errors import ResourceError
from rsfc_gpu.images.mask import Mask
from rsfc_gpu.images.series import Series
from rsfc_gpu.images.series_file import open_series, write_series

AFFINE = np.array([[-3.0, 0, 0, 9], [0, 3, 0, -6], [0, 0, 3, -3.1], [0, 0, 0, 1]])


def series_of(dtype="i2", regions=("csf", "global"), n_volumes=11):
    rng = np.random.default_rng(0)
    inside = rng.random((5, 7, 3)) > 0.4
    n_voxels = int(inside.sum())
    samples = rng.integers(0, 250, (n_volumes, n_voxels)).astype(dtype)
    means = {name: rng.standard_normal(n_volumes) for name in regions}
    return Series(
        samples=samples,
        centre=samples.mean(axis=0),
        mask=Mask(inside, AFFINE),
        baseline=rng.standard_normal(n_voxels),
        slope=0.1 + 1e-17,
        regions=means,
        n_not_finite=3,
        n_constant=4,
    )


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4"])
@pytest.mark.parametrize("regions", [(), ("csf", "global")])
def test_everything_comes_back_bit_for_bit(tmp_path, dtype, regions):
    series, path = series_of(dtype, regions), tmp_path / "deeper" / "run.series"
    motion = np.random.default_rng(1).standard_normal((11, 6))
    write_series(path, "key", series, arrays={"motion": motion}, notes={"dice": 0.97, "words": ["é"]})
    stored = open_series(path, "key")
    for name in ("samples", "centre", "baseline"):
        found, expected = getattr(stored.series, name), getattr(series, name)
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype and not found.flags.writeable
    np.testing.assert_array_equal(stored.series.mask.inside, series.mask.inside)
    np.testing.assert_array_equal(stored.series.mask.affine, AFFINE)
    assert (stored.series.slope, stored.series.n_not_finite, stored.series.n_constant) == (series.slope, 3, 4)
    assert tuple(stored.series.regions) == regions
    for name in regions:
        np.testing.assert_array_equal(stored.series.regions[name], series.regions[name])
    np.testing.assert_array_equal(stored.arrays["motion"], motion)
    assert stored.notes == {"dice": 0.97, "words": ["é"]}


def test_equal_series_are_equal_bytes(tmp_path):
    for name in ("a", "b"):
        write_series(tmp_path / name, "key", series_of())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_another_key_or_no_file_is_none(tmp_path):
    write_series(tmp_path / "run", "key", series_of())
    assert open_series(tmp_path / "run", "other") is None
    assert open_series(tmp_path / "nothing", "key") is None


def test_every_flipped_bit_is_noticed(tmp_path):
    path = tmp_path / "run"
    write_series(path, "key", series_of(regions=("csf",), n_volumes=3))
    content = path.read_bytes()
    for at in range(0, len(content), 7):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :])
        assert open_series(path, "key") is None, at


@pytest.mark.parametrize("length", [0, 5, 16, 100, 600, -1])
def test_a_cut_file_is_none_and_the_log_says_why(tmp_path, caplog, length):
    path = tmp_path / "run"
    write_series(path, "key", series_of())
    path.write_bytes(path.read_bytes()[:length])
    with caplog.at_level(logging.WARNING, "rsfc_gpu"):
        assert open_series(path, "key") is None
    assert "run is damaged" in caplog.text and "made again" in caplog.text


def test_a_mapped_series_survives_its_file(tmp_path):
    path, series = tmp_path / "run", series_of()
    write_series(path, "key", series)
    stored = open_series(path, "key")
    write_series(path, "other", series_of("u1"))
    path.unlink()
    np.testing.assert_array_equal(stored.series.samples, series.samples)


def test_a_disk_that_is_full_says_what_to_do_and_leaves_nothing(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(ResourceError, match=r"cannot write .*run.series.*--work-dir.*no --cache"):
            write_series(tmp_path / "run.series", "key", series_of())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []
