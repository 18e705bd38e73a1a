"""The report of a small made-up study, written once for all tests here."""

from __future__ import annotations

from pathlib import Path

import pytest

from rsfc_gpu.report import write_report

from .study_folder import write_study


@pytest.fixture(scope="session")
def written_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder with its report."""
    folder = write_study(tmp_path_factory.mktemp("study"))
    write_report(folder)
    return folder
