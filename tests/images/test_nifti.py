"""The streaming reader against nibabel, for every type and byte order, and the errors of damaged files."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest

from rsfc_gpu.errors import InputError, ResourceError
from rsfc_gpu.images import nifti
from rsfc_gpu.images.nifti import BoldSource, load_volume, save_volume

SHAPE, N_VOLUMES = (5, 4, 3), 6
AFFINE = np.diag([3.0, 3, 3, 1])


def write_bold(path: Path, dtype: str, *, header: type = nibabel.Nifti1Header, slope: float = 1, tr=2.0, unit="sec"):
    rng = np.random.default_rng(3)
    values = rng.integers(0, 100, (*SHAPE, N_VOLUMES)).astype(np.dtype(dtype).newbyteorder("="))
    kind = nibabel.Nifti2Image if header is nibabel.Nifti2Header else nibabel.Nifti1Image
    new = header(endianness=">" if np.dtype(dtype).byteorder == ">" else "<")
    new.set_data_dtype(dtype)
    image = kind(values, AFFINE, new)
    image.header.set_xyzt_units("mm", unit)
    image.header.set_zooms((3, 3, 3, tr))
    if slope != 1:
        image.header.set_slope_inter(slope, 7.0)
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("code", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_every_type_and_byte_order(tmp_path, code, order, suffix):
    path = write_bold(tmp_path / f"bold{suffix}", order + code)
    bold = BoldSource.open(path)
    expected = np.asanyarray(nibabel.load(path).dataobj)
    assert (bold.shape, bold.n_volumes, bold.tr_s) == (SHAPE, N_VOLUMES, 2.0)
    for t, volume in enumerate(bold.volumes()):
        assert volume.dtype.isnative
        found = bold.slope * volume + bold.intercept
        np.testing.assert_array_equal(found, expected[..., t].ravel(order="F"))
    assert t == N_VOLUMES - 1


def test_nifti2_and_scaling(tmp_path):
    path = write_bold(tmp_path / "bold.nii.gz", "<i2", header=nibabel.Nifti2Header, slope=0.5)
    bold = BoldSource.open(path)
    expected = nibabel.load(path).get_fdata()
    assert (bold.slope, bold.intercept) == (0.5, 7.0)
    for t, volume in enumerate(bold.volumes()):
        np.testing.assert_allclose(bold.slope * volume + bold.intercept, expected[..., t].ravel(order="F"))


def test_pair_of_files_and_image_in_memory(tmp_path):
    image = nibabel.load(write_bold(tmp_path / "bold.nii", "<i2"))
    nibabel.save(nibabel.Nifti1Pair(np.asanyarray(image.dataobj), AFFINE), tmp_path / "pair.img")
    for source in (tmp_path / "pair.hdr", tmp_path / "pair.img", image):
        for t, volume in enumerate(BoldSource.open(source).volumes()):
            np.testing.assert_array_equal(volume, np.asanyarray(image.dataobj)[..., t].ravel(order="F"))


@pytest.mark.parametrize(
    ("tr", "unit", "expected"),
    [(2.0, "sec", 2.0), (2000.0, "msec", 2.0), (720000.0, "usec", 0.72), (0.72, "unknown", 0.72), (0, "sec", None)]
    + [(2000.0, "sec", None), (0.05, "sec", None), (2.0, "hz", None)],
)
def test_repetition_time_by_its_unit(tmp_path, tr, unit, expected):
    assert BoldSource.open(write_bold(tmp_path / "b.nii", "<i2", tr=tr, unit=unit)).tr_s == expected


def consume(path: Path) -> int:
    return sum(1 for _ in BoldSource.open(path).volumes())


def test_standard_gzip_reads_the_same(tmp_path, monkeypatch):
    path = write_bold(tmp_path / "b.nii.gz", "<i2")
    fast = [volume.copy() for volume in BoldSource.open(path).volumes()]
    monkeypatch.setattr(nifti, "igzip", gzip)
    assert all((a == b).all() for a, b in zip(fast, BoldSource.open(path).volumes(), strict=True))
    damaged = bytearray(path.read_bytes())
    damaged[-8] ^= 1  # the stored checksum
    path.write_bytes(damaged)
    with pytest.raises(InputError, match="damaged"):
        consume(path)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_truncated_and_overlong_files_are_refused(tmp_path, suffix):
    path = write_bold(tmp_path / f"b{suffix}", "<i2")
    raw = gzip.decompress(path.read_bytes()) if suffix == ".nii.gz" else path.read_bytes()
    pack = gzip.compress if suffix == ".nii.gz" else bytes
    path.write_bytes(pack(raw[:-10]))
    with pytest.raises(InputError, match="ends inside volume 6 of the 6"):
        consume(path)
    path.write_bytes(pack(raw + b"more"))
    with pytest.raises(InputError, match="more data than the 6 volumes"):
        consume(path)


def test_cut_stream_and_wrong_checksum_are_refused(tmp_path):
    path = tmp_path / "b.nii.gz"
    noise = np.random.default_rng(0).integers(-9999, 9999, (40, 40, 20, 40)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(noise, AFFINE), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"b\.nii\.gz: damaged after volume 1[0-9] of 40"):
        consume(path)
    path.write_bytes(whole[:-8] + bytes([whole[-8] ^ 255]) + whole[-7:])
    with pytest.raises(InputError, match="damaged after volume [34][0-9] of 40 .*CRC"):
        consume(path)


def test_unusable_files_are_named(tmp_path):
    (tmp_path / "text.nii").write_text("hello, this is not an image at all" * 20)
    (tmp_path / "text.nii.gz").write_text("not gzip")
    (tmp_path / "empty.nii.gz").write_bytes(b"")
    for name in ("text.nii", "text.nii.gz", "empty.nii.gz"):
        with pytest.raises(InputError, match=name):
            BoldSource.open(tmp_path / name)
    with pytest.raises(InputError, match="no such file"):
        BoldSource.open(tmp_path / "missing.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.zeros(SHAPE, np.int16), AFFINE), tmp_path / "three.nii")
    with pytest.raises(InputError, match="expected a 4-D image, found 3"):
        BoldSource.open(tmp_path / "three.nii")
    nibabel.save(nibabel.Nifti1Image(np.zeros((*SHAPE, 2), np.complex64), AFFINE), tmp_path / "complex.nii")
    with pytest.raises(InputError, match="complex64"):
        BoldSource.open(tmp_path / "complex.nii")


def test_header_that_promises_too_much_allocates_nothing(tmp_path):
    """A header of 30000^3 voxels must be an error about the file, found before its volumes are."""
    path = write_bold(tmp_path / "b.nii", "<i2")
    raw = bytearray(path.read_bytes())
    struct.pack_into("<4h", raw, 42, 30000, 30000, 30000, 2)
    path.write_bytes(raw)
    with pytest.raises(InputError, match=r"b\.nii: "):
        consume(path)


def test_saved_volumes_are_whole_and_equal_bytes(tmp_path):
    values = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    for name in ("a.nii.gz", "b.nii.gz", "c.nii"):
        save_volume(tmp_path / name, values, AFFINE)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    for name in ("a.nii.gz", "c.nii"):
        found, affine = load_volume(tmp_path / name)
        np.testing.assert_array_equal(found, values)
        np.testing.assert_array_equal(affine, AFFINE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.nii.gz", "b.nii.gz", "c.nii"]


def test_failed_write_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="cannot write"):
        save_volume(tmp_path / "file" / "map.nii.gz", np.zeros(SHAPE, np.float32), AFFINE)
    with pytest.raises(Exception, match="dtype"):
        save_volume(tmp_path / "map.nii.gz", np.zeros(SHAPE, dtype=object), AFFINE)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_loaded_image_is_streamed_from_its_file(tmp_path):
    """Slices of a compressed array proxy would decompress the file anew for every volume, and skip its checksum."""
    path = write_bold(tmp_path / "b.nii.gz", "<i2")
    bold = BoldSource.open(nibabel.load(path))
    assert bold.path == path and bold.image is None and bold.tr_s == 2.0
    assert all((a == b).all() for a, b in zip(bold.volumes(), BoldSource.open(path).volumes(), strict=True))


@pytest.mark.parametrize(("offset", "message"), [(np.nan, "begin at byte nan"), (-5.0, "damaged"), (12.0, "byte 12")])
def test_offset_of_a_damaged_header_is_refused(tmp_path, offset, message):
    path = write_bold(tmp_path / "b.nii", "<i2")
    raw = bytearray(path.read_bytes())
    struct.pack_into("<f", raw, 108, offset)
    path.write_bytes(raw)
    with pytest.raises(InputError, match=message):
        consume(path)


def test_offset_zero_means_behind_the_header(tmp_path):
    path = write_bold(tmp_path / "b.nii", "<i2")
    expected = [volume.copy() for volume in BoldSource.open(path).volumes()]
    raw = bytearray(path.read_bytes())
    struct.pack_into("<f", raw, 108, 0.0)
    path.write_bytes(raw)
    assert all((a == b).all() for a, b in zip(expected, BoldSource.open(path).volumes(), strict=True))


def test_what_is_no_image_is_refused():
    for source in (np.zeros((2, 2, 2, 2)), 3):
        with pytest.raises(InputError, match="expected a path or a nibabel image"):
            BoldSource.open(source)
        with pytest.raises(InputError, match="expected a path or a nibabel image"):
            load_volume(source)
