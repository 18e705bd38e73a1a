"""Motion files and confounds tables: what is understood and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rsfc_gpu.bids.confounds import MOTION_COLUMNS, confound_columns, read_motion, read_table
from rsfc_gpu.errors import InputError


def table(**changes):
    columns = {name: np.arange(4.0) / 100 for name in MOTION_COLUMNS}
    columns |= {"white_matter": [5.0, 6, 7, 8], "framewise_displacement": ["n/a", "0.1", "0.2", "0.3"]}
    columns |= {"trans_x_derivative1": ["n/a", 0.1, 0.2, 0.3]}
    return pd.DataFrame(columns | changes)


def written(tmp_path, frame):
    path = tmp_path / "desc-confounds_timeseries.tsv"
    frame.to_csv(path, sep="\t", index=False)
    return path


def test_first_rows_of_derivatives_and_displacement_become_zero(tmp_path):
    frame = read_table(written(tmp_path, table()))
    found = confound_columns(frame, ["framewise_displacement", "trans_x_derivative1", "white_matter"])
    np.testing.assert_array_equal(found, [[0, 0, 5], [0.1, 0.1, 6], [0.2, 0.2, 7], [0.3, 0.3, 8]])


@pytest.mark.parametrize(
    ("changes", "column", "message"),
    [
        ({"white_matter": ["n/a", 1, 2, 3]}, "white_matter", "column white_matter has no value in row 1 of 4"),
        ({"framewise_displacement": [0, 1, "n/a", 3]}, "framewise_displacement", "no value in row 3 of 4"),
        ({"csf": ["a", "b", "c", "d"]}, "csf", "csf is not numeric"),
        ({}, "csf", "has no column csf"),
        ({"CSF": [1, 2, 3, 4]}, "csf", "rename it to csf"),
        ({"GlobalSignal": [1, 2, 3, 4]}, "global_signal", "it has GlobalSignal, the name before fMRIPrep 1.2"),
    ],
)
def test_bad_columns_are_named(tmp_path, changes, column, message):
    with pytest.raises(InputError, match=message):
        confound_columns(read_table(written(tmp_path, table(**changes))), [column])


def test_old_motion_columns_are_answered_with_the_new_name(tmp_path):
    old = table().rename(columns={"trans_x": "X"})
    with pytest.raises(InputError, match="it has X, .*rename it to trans_x"):
        confound_columns(read_table(written(tmp_path, old)), MOTION_COLUMNS)


def test_tables_with_byte_order_mark_and_windows_line_ends(tmp_path):
    path = written(tmp_path, table())
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert confound_columns(read_table(path), ["trans_x"]).shape == (4, 1)


@pytest.mark.parametrize(("sign", "words"), [(",", "commas"), (";", "semicolons")])
def test_other_separators_are_named(tmp_path, sign, words):
    path = tmp_path / "confounds.tsv"
    path.write_text(f"trans_x{sign}trans_y\n0{sign}0\n")
    with pytest.raises(InputError, match=f"separated by {words}"):
        read_table(path)


def test_motion_files(tmp_path):
    path = tmp_path / "rp_bold.txt"
    np.savetxt(path, np.arange(30.0).reshape(5, 6) / 100, fmt="%16.7e")
    np.testing.assert_allclose(read_motion(path), np.arange(30.0).reshape(5, 6) / 100)
    for text, message in [
        ("1 2 3\n", "six columns of motion parameters, found 3"),
        ("a b\n", "not a table of numbers"),
        ("0 0 0 0 0 0\n0 nan 0 0 0 0\n", "rp_bold.txt: row 2 of 2 holds a value that is not finite"),
    ]:
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            read_motion(path)
    path.write_text("0 0 0 45 0 0\n")
    with pytest.raises(InputError, match="rotations beyond pi"):
        read_motion(path)
    with pytest.raises(InputError, match="no such file"):
        read_motion(tmp_path / "missing.txt")
    with pytest.raises(InputError, match="no such file"):
        read_table(tmp_path / "missing.tsv")
