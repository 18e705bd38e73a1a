"""Numbered figures and tables: each becomes files beside the page and a block of the page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pandas as pd

from rsfc_gpu.report.page import Picture, Table
from rsfc_gpu.report.repeated import FILE_DPI
from rsfc_gpu.report.style import save_figure, write_image
from rsfc_gpu.report.tables import Format, shown_table, write_tsv

FIGURES, TABLES = "figures", "tables"  # folders of the output
_PER_RESULT = (
    "map_",
    "scatter_",
    "roc_",
    "post_hoc_",
    "carpet_",
    "motion_",
    "normalised_",
    "clusters_",
)  # one file per cluster, map or run


class Exhibits:
    """Counts the figures and tables of one report, and writes them below the output folder."""

    def __init__(self, out_dir: Path, background: Executor) -> None:
        self._out_dir = out_dir
        self._background, self._pending = background, list[Future[None]]()
        self._n_pictures = self._n_tables = 0
        self._written: set[Path] = set()

    def picture(self, name: str, figure: Any, caption: str) -> Picture:
        """A figure of Matplotlib as figures/NAME.png and .svg and as a block of the page."""
        saved = save_figure(figure, self._out_dir / FIGURES / file_name(name), self._background)
        self._written |= {saved.png, saved.svg}
        self._n_pictures += 1
        png, svg = (path.relative_to(self._out_dir).as_posix() for path in (saved.png, saved.svg))
        return Picture(saved, f"Figure {self._n_pictures}. {caption}", png, svg)

    def file(self, name: str, image: Any) -> None:
        """An image of Pillow as figures/NAME.png alone, not on the page."""
        path = self._out_dir / FIGURES / f"{file_name(name)}.png"
        self._pending.append(self._background.submit(write_image, image, path, FILE_DPI))
        self._written.add(path)

    def finish(self) -> None:
        """Wait for the files; take away those of an earlier report whose cluster or run this one no longer has."""
        for one in self._pending:
            one.result()
        for folder in (FIGURES, TABLES):
            for path in (self._out_dir / folder).glob("*.*"):
                if path.name.startswith(_PER_RESULT) and path not in self._written:
                    path.unlink(missing_ok=True)

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
        as_file: pd.DataFrame | None = None,
    ) -> Table:
        """A table as a block of the page, and as tables/NAME.tsv unless `source` holds the same rows already.

        `as_file` goes into the file instead, where the page shows cells that are for reading only.
        """
        self._n_tables += 1
        path = source or write_tsv(
            frame if as_file is None else as_file, self._out_dir / TABLES / f"{file_name(name)}.tsv"
        )
        self._written.add(path)
        shown = shown_table(
            frame, title=f"Table {self._n_tables}. {title}", headings=headings, formats=formats, notes=notes
        )
        return Table(shown, path.relative_to(self._out_dir).as_posix())


def file_name(name: str) -> str:
    """`name` as part of a file name: letters, digits, "-", "_" and "."; anything else becomes "-"."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.") or "unnamed"
