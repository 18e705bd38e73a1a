"""Tables are understood or refused by name; nothing is guessed around."""

from __future__ import annotations

import numpy as np
import pytest

from rsfc_gpu.bids import read_participants, read_strict, read_visits
from rsfc_gpu.errors import InputError


def write(folder, text, name="participants.tsv", encoding="utf-8"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("participant_id\tage\tsite\nsub-01\t30\tA\nsub-02\tn/a\tB\n", "utf-8"),
        ("participant_id\tage\tsite\r\n01\t30\tA\r\n02\t\tB\r\n", "utf-8-sig"),
        ("participant_id\tage\tsite\rsub-01\t30\tA\r02\tn/a\tB", "utf-8"),
    ],
)
def test_forms_that_are_understood(tmp_path, text, encoding):
    write(tmp_path, text, encoding=encoding)
    table = read_participants(tmp_path)
    assert table["participant_id"].tolist() == ["sub-01", "sub-02"]
    assert table["age"].dtype == np.float64 and table["age"].tolist()[0] == 30 and np.isnan(table["age"].iloc[1])
    assert table["site"].tolist() == ["A", "B"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("participant_id\tage\n01\t30\nsub-01\t31\n", "two rows for sub-01"),
        ("participant\tage\n01\t30\n", r"no column participant_id; did you mean participant\?"),
        ("participant_id\tage\n01\t30,5\n02\t31\n", r"column age, row 1: '30,5' is not a number; write decimal points"),
        ("participant_id\tage\n01\t30\t4\n", "line 2: 3 cells, the header has 2"),
        ("participant_id,age\n01,30\n", "separated by commas"),
        ("participant_id\tage\tage\n01\t30\t4\n", "two columns named 'age'"),
        ("participant_id\t\n01\t30\n", "a column without a name"),
        ("participant_id\tage\nn/a\t30\n", "row 1 has no participant_id"),
        ("", "empty"),
    ],
)
def test_forms_that_are_refused(tmp_path, text, message):
    write(tmp_path, text)
    with pytest.raises(InputError, match=message):
        read_participants(tmp_path)


def test_other_encodings_are_refused_by_name(tmp_path):
    path = write(tmp_path, "participant_id\tname\n01\tMüller\n", encoding="latin-1")
    with pytest.raises(InputError, match="not UTF-8"):
        read_strict(path)
    with pytest.raises(InputError, match="no such file"):
        read_strict(tmp_path / "none.tsv")


@pytest.mark.parametrize("value", ["NA", "1_000", "inf", "abc", "12 "])
def test_a_column_that_must_hold_numbers(tmp_path, value):
    path = write(tmp_path, f"participant_id\tscore\n01\t{value}\n")
    if value.strip() == "12":
        assert read_strict(path, numeric=["score"])["score"].tolist() == [12]
        return
    with pytest.raises(InputError, match=r"column score, row 1: .* is not a number; write n/a"):
        read_strict(path, numeric=["score"])


def test_ids_that_look_like_numbers_stay_text(tmp_path):
    write(tmp_path, "participant_id\tage\n001\t30\n01\t31\n")
    assert read_participants(tmp_path)["participant_id"].tolist() == ["sub-001", "sub-01"]


def test_visits_from_phenotype_or_from_session_tables(tmp_path):
    rows = "participant_id\tsession_id\thamd17\n01\tses-a\t20\nsub-01\tb\tn/a\n"
    write(tmp_path / "one", rows, "phenotype/hamd17.tsv")
    found = read_visits(tmp_path / "one", "hamd17", ["sub-01"])
    assert found["session_id"].tolist() == ["a", "b"] and found["hamd17"].tolist()[0] == 20
    write(tmp_path / "two", "session_id\thamd17\nses-a\t20\nses-b\t11\n", "sub-01/sub-01_sessions.tsv")
    found = read_visits(tmp_path / "two", "hamd17", ["sub-01", "sub-02"])
    assert found["participant_id"].tolist() == ["sub-01", "sub-01"] and found["hamd17"].tolist() == [20, 11]
    write(tmp_path / "one", rows, "phenotype/again.tsv")
    with pytest.raises(InputError, match=r"hamd17 is in again.tsv and hamd17.tsv"):
        read_visits(tmp_path / "one", "hamd17", ["sub-01"])
    with pytest.raises(InputError, match="no column madrs"):
        read_visits(tmp_path / "two", "madrs", ["sub-01"])


def test_two_rows_of_one_visit_are_refused(tmp_path):
    write(tmp_path, "participant_id\tsession_id\thamd17\n01\tses-a\t20\nsub-01\ta\t21\n", "phenotype/hamd17.tsv")
    with pytest.raises(InputError, match="two rows for sub-01 a"):
        read_visits(tmp_path, "hamd17", [])
