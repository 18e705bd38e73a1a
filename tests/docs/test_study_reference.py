"""The page about the study file is the one that its models give, and says something about every key."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

PAGES = Path(__file__).parents[2] / "docs"


def test_the_page_is_up_to_date() -> None:
    made = runpy.run_path(str(PAGES / "make_study_reference.py"))["study_reference"]()
    assert (PAGES / "study-file.md").read_text(encoding="utf-8") == made, "run python docs/make_study_reference.py"


def test_every_key_has_values_and_a_meaning() -> None:
    rows = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in (PAGES / "study-file.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| `")
    ]
    assert len(rows) > 80
    for row in rows:
        assert len(row) == 4, row
        assert row[1] and row[3], row
