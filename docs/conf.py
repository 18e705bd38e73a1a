"""Builds the pages of docs/ with Sphinx: `make docs` writes build/docs/index.html, which opens from the file."""

from __future__ import annotations

import io
import os
import re
import sys
from contextlib import redirect_stdout, suppress
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))

import rsfc_gpu  # noqa: E402  the line above makes a plain checkout enough
from rsfc_gpu.cli import main as rsfc  # noqa: E402

project = "rsfc_gpu"
author = "The rsfc_gpu developers"
copyright = f"2026, {author}"
version = release = rsfc_gpu.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc"]
exclude_patterns = ["examples"]
default_role = "py:obj"  # `name` in a docstring is a link where the name has a page
html_theme = "furo"
html_title = f"rsfc_gpu {release}"
html_static_path = ["static"]
html_css_files = ["docstrings.css"]
html_show_sourcelink = False
highlight_language = "text"
html_math_renderer = "mathml"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3  # links to headings, as hosts of Markdown make them

autodoc_typehints = "none"  # shapes and units are in the text; NumPy's types fill lines
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

_SECTIONS = {"Parameters", "Attributes", "Returns", "Raises"}


def describe_below_the_name(_app, _what, _name, _obj, _options, lines):
    """`name : what it is` of our docstrings becomes a name with a description below it; numpydoc sees a type there."""
    section, described = None, []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if following and set(following) == {"-"}:
            section = line
        found = re.match(r"([\w*, ]+) : (.+)", line) if section in _SECTIONS else None
        described += [found[1], "    " + found[2]] if found else [line]
    lines[:] = described


def math_as_mathml(block):
    """Formulas that browsers draw themselves, so that a page needs no network."""

    def visit(translator, node):
        translator.body.append(tex2mathml(node.astext(), as_block=block))
        raise nodes.SkipNode

    return visit, None


class CommandHelp(SphinxDirective):
    """What `rsfc COMMAND --help` prints."""

    required_arguments = 1

    def run(self):
        os.environ["COLUMNS"] = "92"
        with redirect_stdout(io.StringIO()) as printed, suppress(SystemExit):
            rsfc([self.arguments[0], "--help"])
        return [nodes.literal_block(printed.getvalue(), printed.getvalue(), language="text")]


def setup(app):
    app.add_directive("command-help", CommandHelp)
    app.add_html_math_renderer("mathml", inline_renderers=math_as_mathml(False), block_renderers=math_as_mathml(True))
    app.connect("autodoc-process-docstring", describe_below_the_name, priority=1)  # before numpydoc
