"""The page of commands has a section for each command that there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rsfc_gpu.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"


def test_every_command_has_a_section(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    commands = re.findall(r"^    ([a-z]+)  ", capsys.readouterr().out, re.MULTILINE)
    described = re.findall(r"^```\{command-help} ([a-z]+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(commands) >= 9
    assert sorted(commands) == sorted(described)
