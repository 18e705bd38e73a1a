"""The one look of every figure: size, fonts, colours that colour-blind readers tell apart, and how figures are saved.

Figures are made with Matplotlib's objects and its Agg canvas: no window, no global figure, no user's own style.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import wraps
from io import BytesIO
from pathlib import Path
from typing import Any, ParamSpec

import numpy as np

from rsfc_gpu.files import replacing

SINGLE_MM, DOUBLE_MM = 89.0, 183.0  # widths of one and of two columns of a journal
PRINT_DPI = 300
_PNG_LEVEL = 3  # zlib's: for figures as small as 6, in less than half the time
_STORED_PX_PER_MM, _SHOWN_PX_PER_MM = 7.0, 5.2  # on the page: finer than shown, for sharp screens

INK, MUTED, RULE, PAPER = "#1a1a1a", "#666666", "#d0d0d0", "#ffffff"
# Okabe and Ito's palette (2008): distinct with every kind of colour blindness, and in grey by their order here.
BLUE, VERMILION, GREEN, SKY, PURPLE, ORANGE = "#0072B2", "#D55E00", "#009E73", "#56B4E9", "#CC79A7", "#E69F00"
SERIES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
MARKERS = ("o", "s", "^", "D", "v", "P")  # a second sign beside the colour

_RC: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "Helvetica"],  # the first travels with Matplotlib
    "font.size": 7.5,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 7.5,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "lines.linewidth": 1.2,
    "text.parse_math": False,  # a dollar sign in somebody's label is a dollar sign
    "axes.unicode_minus": True,
    "image.composite_image": False,  # each picture in the SVG by itself, not in one as large as the figure
    "svg.fonttype": "none",  # text stays text: it can be searched and set in a journal's letters
    "svg.hashsalt": "rsfc_gpu",  # the same figure is the same file
}

_P = ParamSpec("_P")


def styled(draw: Callable[_P, Any]) -> Callable[_P, Any]:
    """The function `draw`, run under the look of this module, whatever the user's own Matplotlib settings are."""

    @wraps(draw)
    def drawn(*args: _P.args, **kwargs: _P.kwargs) -> Any:
        from matplotlib import style

        with style.context(["default", _RC]):
            return draw(*args, **kwargs)

    return drawn


def new_figure(width_mm: float, height_mm: float) -> Any:
    """An empty Matplotlib figure of this size, on an Agg canvas."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_mm / 25.4, height_mm / 25.4), facecolor=PAPER)
    FigureCanvasAgg(figure)
    return figure


@dataclass(frozen=True)
class SavedFigure:
    """A figure on disk, and as an image address for a page.

    Attributes
    ----------
    png, svg : the files for print, 300 dots per inch and vectors.
    encoded : gives `data_uri`, once the PNG is written.
    width_px, height_px : how large a page shows it.
    is_half : whether two of them fit side by side.
    """

    png: Path
    svg: Path
    encoded: Callable[[], str]
    width_px: int
    height_px: int

    @property
    def data_uri(self) -> str:
        """A PNG for the screen as a data: address."""
        return self.encoded()

    @property
    def is_half(self) -> bool:
        return self.width_px < 0.6 * DOUBLE_MM * _SHOWN_PX_PER_MM


@styled
def save_figure(figure: Any, stem: Path, background: Executor | None = None) -> SavedFigure:
    """Write `figure` as stem.png and stem.svg, each whole or not at all.

    The bytes depend on the figure alone: no dates.

    Parameters
    ----------
    background : threads that compress the PNG, which Matplotlib need not wait for.

    Raises
    ------
    ResourceError : the folder cannot be written or the disk is full; of the PNG when `data_uri` is asked for.
    """
    png, svg = (stem.with_name(f"{stem.name}.{form}") for form in ("png", "svg"))
    figure.set_dpi(PRINT_DPI)
    figure.canvas.draw()
    image = drawn_image(figure)
    if background is None:
        uri = _write_and_encode(image, png)
        encoded: Callable[[], str] = lambda: uri  # noqa: E731
    else:
        encoded = background.submit(_write_and_encode, image, png).result
    with replacing(svg) as temporary:
        figure.savefig(temporary, format="svg", dpi=PRINT_DPI, metadata={"Date": None, "Creator": None})
    width, height = (round(float(pixels)) for pixels in _size_mm(image) * _SHOWN_PX_PER_MM)
    return SavedFigure(png, svg, encoded, width, height)


def drawn_image(figure: Any) -> Any:
    """What the figure's canvas holds, as an image of Pillow."""
    from PIL import Image

    return Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")


def write_image(image: Any, png: Path, dpi: int) -> None:
    """Write an image of Pillow, whole or not at all."""
    with replacing(png) as temporary:
        image.save(temporary, format="png", dpi=(dpi, dpi), compress_level=_PNG_LEVEL)


def _write_and_encode(image: Any, png: Path) -> str:
    """The address of a figure for a page: in fewer pixels than for print, so that the page stays small."""
    from PIL import Image

    write_image(image, png, PRINT_DPI)
    width, height = (round(float(pixels)) for pixels in _size_mm(image) * _STORED_PX_PER_MM)
    screen = BytesIO()
    smaller = image.resize((width, height), Image.Resampling.LANCZOS)
    smaller.save(screen, format="png", compress_level=_PNG_LEVEL)
    return "data:image/png;base64," + base64.b64encode(screen.getvalue()).decode("ascii")


def _size_mm(image: Any) -> Any:
    return np.array(image.size) * 25.4 / PRINT_DPI


def unit(value: float, decimals: int = 2) -> str:
    """A number for an axis or a note, with a true minus sign."""
    return f"{value:.{decimals}f}".replace("-", "\N{MINUS SIGN}")
