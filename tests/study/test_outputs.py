"""Checksums and records: what makes a step stale, and what does not."""

from __future__ import annotations

import gzip
import os

import numpy as np
import pytest

from rsfc_gpu.errors import InputError
from rsfc_gpu.files import bids_label
from rsfc_gpu.study.outputs import (
    digest_of,
    file_digest,
    image_digest,
    is_current,
    prepare,
    read_json,
    seal,
    write_json,
)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.tsv"])
def test_a_digest_sees_every_change_and_no_date(tmp_path, name):
    rng = np.random.default_rng(0)
    content = rng.integers(0, 256, 40_000, dtype=np.uint8)
    digests = set()
    for position in (None, 0, 20_000, 39_999):
        changed = content.copy()
        if position is not None:
            changed[position] ^= 1
        data = changed.tobytes()
        (tmp_path / name).write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)
        digests.add(file_digest(tmp_path / name))
    assert len(digests) == 4
    before = file_digest(tmp_path / name)
    os.utime(tmp_path / name, (1, 1))
    assert file_digest(tmp_path / name) == before
    with pytest.raises(InputError, match="no such file"):
        file_digest(tmp_path / "none")


def test_what_a_step_no_longer_makes_is_removed(tmp_path):
    for name in ("old.tsv", "kept.tsv", "strange.tsv"):
        (tmp_path / name).write_text("a\n")
    marker = tmp_path / "record.json"
    seal(marker, "first", [tmp_path / "old.tsv", tmp_path / "kept.tsv"])
    seal(marker, "second", [tmp_path / "kept.tsv"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept.tsv", "record.json", "strange.tsv"]
    assert is_current(marker, "second") is not None


def test_a_step_is_current_while_inputs_and_files_are_the_same(tmp_path):
    (tmp_path / "result.tsv").write_text("a\n1\n")
    marker = tmp_path / "record.json"
    seal(marker, "hash", [tmp_path / "result.tsv"], n=3)
    record = is_current(marker, "hash")
    assert record is not None and record["n"] == 3
    assert is_current(marker, "other") is None
    (tmp_path / "result.tsv").write_text("a\n2\n")
    assert is_current(marker, "hash") is None
    (tmp_path / "result.tsv").unlink()
    assert is_current(marker, "hash") is None
    marker.write_text("{")
    assert is_current(marker, "hash") is None and is_current(tmp_path / "none.json", "hash") is None


def test_the_digest_of_an_image_in_two_files_sees_both(tmp_path):
    (tmp_path / "template.hdr").write_bytes(b"header")
    (tmp_path / "template.img").write_bytes(b"voxels")
    before = image_digest(tmp_path / "template.hdr")
    assert before == image_digest(tmp_path / "template.img")
    (tmp_path / "template.img").write_bytes(b"others")
    assert image_digest(tmp_path / "template.hdr") != before


def test_json_has_no_nan_and_takes_numpy(tmp_path):
    write_json(tmp_path / "a.json", {"x": np.float64("nan"), "y": [np.int64(3), float("inf")], "z": np.arange(2.0)})
    assert read_json(tmp_path / "a.json") == {"x": None, "y": [3, None], "z": [0.0, 1.0]}


def test_digests_of_settings_do_not_depend_on_their_order():
    assert digest_of({"a": 1, "b": [2]}) == digest_of({"b": [2], "a": 1}) != digest_of({"a": 1, "b": [3]})


def test_labels_hold_letters_and_digits_only():
    assert bids_label("responders-nonresponders (2)") == "respondersnonresponders2"


def test_folders_of_others_are_refused(tmp_path):
    inputs = tmp_path / "data" / "bids"
    inputs.mkdir(parents=True)
    (tmp_path / "thesis.txt").touch()
    for folder in (inputs, tmp_path):
        with pytest.raises(InputError):
            prepare(folder, inputs)
    prepare(inputs.parent, inputs)  # nothing but the dataset is there
    prepare(tmp_path / "out", inputs)
    prepare(tmp_path / "out", inputs)
