"""One version: that of the package is the one to cite, and the changes know it."""

from __future__ import annotations

import re
from pathlib import Path

import rsfc_gpu

ROOT = Path(__file__).parents[2]


def test_citation_and_changes_name_the_version() -> None:
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    assert cited is not None and cited[1] == rsfc_gpu.__version__
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest is not None and newest[1] == rsfc_gpu.__version__


def test_images_are_made_of_what_the_wheel_is_made_of() -> None:
    """Whatever the wheel is made of is copied into the images, and let through by .dockerignore."""
    parts = {"pyproject.toml", "README.md", "LICENSE", "src", "kernels", "atlases"}
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    copied = {name for line in re.findall(r"^COPY (?!--)(.+)$", dockerfile, re.MULTILINE) for name in line.split()[:-1]}
    definition = (ROOT / "rsfc_gpu.def").read_text(encoding="utf-8")
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert copied == parts
    assert set(re.findall(r"^    (\S+) /source/\1$", definition, re.MULTILINE)) == parts
    assert {name.removeprefix("!") for name in ignored if name.startswith("!")} == parts
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert set(re.findall(r'^(\w+) = "rsfc_gpu/', project, re.MULTILINE)) == {"kernels", "atlases"}
