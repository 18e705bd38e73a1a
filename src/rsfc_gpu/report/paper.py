"""Drawing by millimetres: one pair of axes over a whole figure, and frames in which parts of the head lie on it.

One pair of axes for many small pictures, because Matplotlib needs longer for a pair of axes than for a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.report.upright import Extent


@dataclass(frozen=True)
class Frame:
    """Where the head lies on the paper: the place of its zero point, and millimetres of paper per millimetre."""

    x: float
    y: float
    scale: float

    def extent(self, edges: Extent) -> Extent:
        """Edges in the head as edges on the paper."""
        left, right, bottom, top = edges
        return (
            self.x + self.scale * left,
            self.x + self.scale * right,
            self.y + self.scale * bottom,
            self.y + self.scale * top,
        )

    def points(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points (n, 2) in the head as points on the paper."""
        return np.asarray(points * self.scale + np.array([self.x, self.y]))

    def path(self, path: Any) -> Any:
        """A Matplotlib path in the head as one on the paper."""
        from matplotlib.path import Path

        return Path(self.points(path.vertices), path.codes)


def paper_axes(figure: Any) -> Any:
    """Axes over the whole figure, without lines; coordinates are millimetres from the bottom left."""
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    axes.autoscale(False)
    width, height = (25.4 * inches for inches in figure.get_size_inches())
    axes.set_xlim(0, width)
    axes.set_ylim(0, height)
    return axes


def frames_in_a_row(edges: Sequence[Extent], at: tuple[float, float], width_mm: float, gap_mm: float) -> list[Frame]:
    """Frames for parts of the head beside each other, all to one scale, bottoms in line, `width_mm` wide together."""
    widths = [right - left for left, right, _, _ in edges]
    scale = (width_mm - gap_mm * (len(edges) - 1)) / sum(widths)
    frames, x = [], at[0]
    for (left, _, bottom, _), width in zip(edges, widths, strict=True):
        frames.append(Frame(x - scale * left, at[1] - scale * bottom, scale))
        x += scale * width + gap_mm
    return frames


def show(axes: Any, picture: NDArray[Any], edges: Extent, *, over: float = 1.0, smooth: bool = False) -> Any:
    """A picture (rows from bottom to top) between these edges; `over` orders what covers what."""
    return axes.imshow(
        picture,
        extent=edges,
        origin="lower",
        aspect="auto",
        interpolation="bilinear" if smooth else "none",
        cmap="gray",
        vmin=0,
        vmax=255,
        zorder=over,
    )


def grey(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Values from `low` to `high` as grey levels from 0 to 255."""
    return np.asarray(np.clip((values - low) * (255.0 / max(high - low, 1e-12)), 0, 255), dtype=np.uint8)
