"""Tables as files and on the page: formulas are disarmed, numbers are untouched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rsfc_gpu.report.tables import fixed, read_tsv, safe_cell, shown_table, tsv_text, write_tsv


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", " =1", "\t=1", "\n=1", "\uff1d1", "-0.07 ± 0.08"]
)
def test_text_that_would_be_a_formula_is_disarmed(text: str) -> None:
    cell = str(safe_cell(text))
    assert cell.startswith("'")
    assert "\t" not in cell and "\n" not in cell


@pytest.mark.parametrize("value", [-1.5, -3, 0, True, "-0.07", "+3", "-1e-5", "plain", "a = b", "p < .001", "-inf"])
def test_numbers_and_other_text_stay(value: object) -> None:
    assert safe_cell(value) == value


def test_underscores_make_no_number() -> None:
    assert safe_cell("-1_000") == "'-1_000"  # Python reads it as a number, a spreadsheet as a formula


def test_missing_is_na_and_line_ends_are_spaces() -> None:
    frame = pd.DataFrame({"a": [1.0, np.nan], "b": ["x\r\ny", None], "c": ["-", ""]})
    assert tsv_text(frame) == "a\tb\tc\n1.0\tx y\tn/a\nn/a\tn/a\tn/a\n"


def test_headings_are_disarmed_too() -> None:
    assert tsv_text(pd.DataFrame({"=1": [1]})).splitlines()[0] == "'=1"


def test_file_gives_back_what_was_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "number": rng.normal(size=4) * 10.0 ** np.array([-300, -5, 0, 200]),
            "text": ["=1+1", "it's", "'quoted'", "NA"],
            "count": [-1, 2, 3, 4],
            "flag": [True, False, True, True],
        }
    )
    again = read_tsv(write_tsv(frame, tmp_path / "table.tsv"))
    pd.testing.assert_frame_equal(again, frame, check_dtype=False, rtol=0, atol=0)


def test_shown_table_formats_each_kind() -> None:
    frame = pd.DataFrame(
        {"p": [0.0371, 0.00001, np.nan], "x": [-12.4, 3.0, 1.0], "n": [3, -4, 5], "is_new": [True, False, True]}
    )
    shown = shown_table(
        frame, title="T", headings={"x": "X (mm)", "p": "p", "n": "n", "is_new": "new"}, formats={"x": fixed(0)}
    )
    assert shown.columns == ("X (mm)", "p", "n", "new")
    assert shown.rows[0] == ("\N{MINUS SIGN}12", ".037", "3", "yes")
    assert shown.rows[1] == ("3", "< .001", "\N{MINUS SIGN}4", "no")
    assert shown.rows[2][1] == ""
