"""`write_report`: the sections in the order of the data flow, as one page beside its figures and tables."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rsfc_gpu.files import write_text
from rsfc_gpu.report.clinical_results import clinical_blocks
from rsfc_gpu.report.exhibits import Exhibits
from rsfc_gpu.report.group_maps import map_blocks
from rsfc_gpu.report.outputs import Outputs
from rsfc_gpu.report.page import Block, Page, Section, render
from rsfc_gpu.report.people import people_blocks
from rsfc_gpu.report.planted import planted_blocks
from rsfc_gpu.report.provenance import failure_blocks, methods_blocks, provenance_blocks
from rsfc_gpu.report.run_quality import quality_blocks

_THREADS = 2  # for compressing images; Matplotlib itself draws in one thread


def write_report(out_dir: str | Path) -> Path:
    """Write report.html into the output folder of a study, with figures/ and tables/ beside it; returns its path.

    Reads the files of the folder only, so that it can be made again at any time, on another machine too. The page is
    one file of at most 30 MB that fetches nothing.

    Raises
    ------
    InputError : no output folder of a study, or a damaged file in it.
    ResourceError : the folder cannot be written or the disk is full.
    """
    outputs = Outputs.open(Path(out_dir))
    with ThreadPoolExecutor(_THREADS) as background:
        return _written(outputs, Exhibits(outputs.folder, background))


def _written(outputs: Outputs, exhibits: Exhibits) -> Path:
    parts: tuple[tuple[str, str, Iterable[Block]], ...] = (
        ("participants", "Participants", people_blocks(outputs, exhibits)),
        ("quality", "Quality of the data", quality_blocks(outputs, exhibits)),
        ("maps", "Group maps and clusters", map_blocks(outputs, exhibits)),
        ("clinical", "Clinical results", clinical_blocks(outputs, exhibits)),
        ("planted", "Planted effects", planted_blocks(outputs, exhibits)),
        ("methods", "Methods", methods_blocks(outputs)),
        ("failures", "Failures and exclusions", failure_blocks(outputs, exhibits)),
        ("provenance", "Versions and command", provenance_blocks(outputs)),
    )
    drawn = [Section(name, title, tuple(blocks)) for name, title, blocks in parts]
    page = Page(_title(outputs), _subtitle(outputs), tuple(section for section in drawn if section.blocks))
    path = outputs.folder / "report.html"
    write_text(path, render(page))
    exhibits.finish()
    return path


def _title(outputs: Outputs) -> str:
    report = outputs.study.get("report") or {}
    return str(report.get("title") or outputs.study.get("name") or "Resting-state functional connectivity")


def _subtitle(outputs: Outputs) -> str:
    told = outputs.provenance
    program = f"rsfc_gpu {told.get('rsfc_gpu', '')}"
    return f"Study {outputs.study.get('name', '')}, {program}, computed on {told.get('backend', '')}"
