"""Numbered figures and tables: each becomes files beside the page and a block of the page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from rsfc_gpu.report.page import Picture, Table
from rsfc_gpu.report.style import SavedFigure, save_figure
from rsfc_gpu.report.tables import Format, shown_table, write_tsv

FIGURES, TABLES = "figures", "tables"  # folders of the output


class Exhibits:
    """Counts the figures and tables of one report, and writes them below the output folder."""

    def __init__(self, out_dir: Path) -> None:
        self._out_dir = out_dir
        self._n_pictures = self._n_tables = 0

    def picture(self, name: str, figure: Any, caption: str) -> Picture:
        """A figure of Matplotlib as figures/NAME.png and .svg and as a block of the page."""
        return self.saved_picture(save_figure(figure, self._out_dir / FIGURES / file_name(name)), caption)

    def saved_picture(self, saved: SavedFigure, caption: str) -> Picture:
        """A figure that is on disk already."""
        self._n_pictures += 1
        png, svg = (
            path.relative_to(self._out_dir).as_posix() if path.exists() else "" for path in (saved.png, saved.svg)
        )
        return Picture(saved, f"Figure {self._n_pictures}. {caption}", png, svg)

    def table(
        self,
        name: str,
        frame: pd.DataFrame,
        *,
        title: str,
        headings: Mapping[str, str] | None = None,
        formats: Mapping[str, Format] | None = None,
        notes: Sequence[str] = (),
        source: Path | None = None,
    ) -> Table:
        """A table as a block of the page, and as tables/NAME.tsv unless `source` holds the same rows already."""
        self._n_tables += 1
        path = source or write_tsv(frame, self._out_dir / TABLES / f"{file_name(name)}.tsv")
        shown = shown_table(
            frame, title=f"Table {self._n_tables}. {title}", headings=headings, formats=formats, notes=notes
        )
        return Table(shown, path.relative_to(self._out_dir).as_posix())


def file_name(name: str) -> str:
    """`name` as part of a file name: letters, digits, "-", "_" and "."; anything else becomes "-"."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.") or "unnamed"
