"""The page: blocks in sections, rendered to one file that fetches nothing and runs only scripts it knows by hash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rsfc_gpu.report.style import SavedFigure
from rsfc_gpu.report.tables import ShownTable
from rsfc_gpu.report.viewers import VIEWER_STYLE, Viewer, source_hash

if TYPE_CHECKING:
    from jinja2 import Environment

PAGE_BYTES = 30_000_000
_TEXT_BYTES = 2_000_000  # kept free for words and tables where images compete for room


@dataclass(frozen=True)
class Text:
    """A paragraph; `tone` is "plain", "note" (small) or "warning" (framed)."""

    text: str
    tone: str = "plain"
    kind: str = "text"


@dataclass(frozen=True)
class Code:
    """Text as it is, in letters of one width."""

    text: str
    kind: str = "code"


@dataclass(frozen=True)
class Table:
    """A table, and the address of the file that holds it, relative to the page."""

    table: ShownTable
    href: str = ""
    kind: str = "table"


@dataclass(frozen=True)
class Picture:
    """A figure with its caption, and the addresses of its files for print, relative to the page."""

    figure: SavedFigure
    caption: str
    png_href: str = ""
    svg_href: str = ""
    kind: str = "picture"


@dataclass(frozen=True)
class Interactive:
    """A viewer with its caption."""

    viewer: Viewer
    caption: str
    kind: str = "viewer"


Block = Text | Code | Table | Picture | Interactive


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it; `name` is its address within the page."""

    name: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Page:
    """All that the page shows: title, a line under it, and the sections in order."""

    title: str
    subtitle: str
    sections: tuple[Section, ...]


def render(page: Page, *, most_bytes: int = PAGE_BYTES) -> str:
    """The page as HTML; images that would make it larger than `most_bytes` give way to a line that names their file.

    Every value is escaped. The policy allows the page's own style, the viewers' scripts, and images within the page.
    """
    fitting = replace(page, sections=_within(page.sections, most_bytes - _TEXT_BYTES))
    environment = _environment()
    style = _template_text(environment, "style.css")
    viewers = [
        block.viewer for section in fitting.sections for block in section.blocks if isinstance(block, Interactive)
    ]
    policy = _policy([style, VIEWER_STYLE], [script for one in viewers for script in one.scripts])
    return environment.get_template("report.html").render(page=fitting, style=style, policy=policy)


def _policy(styles: Sequence[str], scripts: Sequence[str]) -> str:
    """The Content-Security-Policy. Frames made of `srcdoc` inherit it, hence the viewers' scripts and style in it."""
    style_hashes = " ".join(source_hash(text) for text in styles)
    script_hashes = " ".join(dict.fromkeys(source_hash(text) for text in scripts)) or "'none'"
    return (
        f"default-src 'none'; img-src data:; style-src {style_hashes}; script-src {script_hashes}; "
        "base-uri 'none'; form-action 'none'"
    )


def _within(sections: Sequence[Section], room: int) -> tuple[Section, ...]:
    """The sections with as many pictures, and then viewers, as there is room for, in order."""
    kept: set[int] = set()
    for kind in (Picture, Interactive):
        for section in sections:
            for block in section.blocks:
                size = _size(block)
                if isinstance(block, kind) and size <= room:
                    kept.add(id(block))
                    room -= size
    return tuple(
        replace(
            section,
            blocks=tuple(
                block if _size(block) == 0 or id(block) in kept else _instead(block) for block in section.blocks
            ),
        )
        for section in sections
    )


def _size(block: Block) -> int:
    if isinstance(block, Picture):
        return len(block.figure.data_uri)
    if isinstance(block, Interactive):
        # Quotes and signs become entities within the attribute: about a tenth more, nearly all of it script.
        return len(block.viewer.document) + sum(len(script) for script in block.viewer.scripts) // 2
    return 0


def _instead(block: Block) -> Text:
    if isinstance(block, Picture):
        return Text(f"{block.caption} (left out of the page for its size; the file is {block.png_href})", "note")
    caption = block.caption if isinstance(block, Interactive) else ""
    return Text(f"{caption} (left out of the page for its size)", "note")


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("rsfc_gpu.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _template_text(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]
