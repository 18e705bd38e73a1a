"""Files appear whole or not at all, whoever writes them at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from rsfc_gpu.errors import ResourceError
from rsfc_gpu.files import bids_label, replacing, write_text


def test_an_interrupted_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "deep" / "table.tsv"
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_threads_that_write_the_same_file_do_not_mix(tmp_path):
    texts = [str(n) * 200_000 for n in range(8)]
    for _ in range(5):
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda text: write_text(tmp_path / "same", text), texts))
        assert (tmp_path / "same").read_text() in texts
    assert [path.name for path in tmp_path.iterdir()] == ["same"]


def test_a_folder_that_is_a_file_is_a_resource_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="cannot write"):
        write_text(tmp_path / "file" / "below", "text")


def test_labels():
    assert bids_label("sphere_-21_3_0") == "spherem2130"
    assert bids_label("patients-controls") == "patientscontrols"
    assert bids_label("LBleft") == "LBleft"
