"""The mean image of a raw run in MNI space, with the edges of the brain and of its white matter drawn over it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.preprocess.template import tissue_probabilities
from rsfc_gpu.report.paper import Frame, frames_in_a_row, grey, paper_axes, show
from rsfc_gpu.report.style import DOUBLE_MM, ORANGE, SKY, new_figure, styled, unit
from rsfc_gpu.report.upright import Extent, Upright

_CUTS = ((0, 3.0), (1, -20.0), (2, -24.0), (2, -6.0), (2, 12.0), (2, 30.0), (2, 48.0))  # axis of space, millimetres
_SHOWN_MM = ((-84.0, 84.0), (-122.0, 86.0), (-78.0, 90.0))  # of each axis
_IN_PLANE = ((1, 2), (0, 2), (0, 1))  # the axes along and up a cut across each axis
_HEIGHT_MM, _AT, _GAP_MM = 41.0, (1.0, 4.0), 1.0
_BRAIN, _WHITE = ORANGE, SKY

Lines = tuple[NDArray[np.float64], ...]  # (n, 2) points in millimetres


@lru_cache(maxsize=1)
def template_edges() -> tuple[tuple[Lines, Lines], ...]:
    """For each cut the edges of the ICBM152 brain and of its white matter (probability one half)."""
    maps, affine = tissue_probabilities()
    brain = Upright.of(np.minimum(sum(maps.values()), 1.0).T, affine)
    white = Upright.of(maps["white_matter"].T, affine)
    return tuple((_contours(brain, axis, at), _contours(white, axis, at)) for axis, at in _CUTS)


def _contours(volume: Upright, axis: int, at_mm: float) -> Lines:
    from contourpy import contour_generator

    across, up = (
        volume.first_mm[one] + volume.step_mm[one] * np.arange(volume.values.shape[one]) for one in _IN_PLANE[axis]
    )
    lines = contour_generator(across, up, volume.cut(axis, at_mm)).lines(0.5)
    return tuple(np.asarray(line) for line in lines if len(line) > 12)  # not the specks


class NormalisedPlot:
    """Cuts through a normalised mean image under the template's edges."""

    @styled
    def __init__(self) -> None:
        from matplotlib.collections import LineCollection

        self.figure = new_figure(DOUBLE_MM, _HEIGHT_MM)
        self._axes = paper_axes(self.figure)
        self._frames = frames_in_a_row([_edges(axis) for axis, _ in _CUTS], _AT, DOUBLE_MM - 2, _GAP_MM)
        nothing = np.zeros((1, 1), dtype=np.uint8)
        self._pictures = [show(self._axes, nothing, frame.extent(_edges(axis))) for frame, (axis, _) in self._placed()]
        lines = []
        for kind, (colour, width) in enumerate(((_BRAIN, 0.9), (_WHITE, 0.45))):
            points = [
                frame.points(line)
                for frame, edges in zip(self._frames, template_edges(), strict=True)
                for line in edges[kind]
            ]
            lines.append(LineCollection(points, colors=colour, linewidths=width, zorder=3))
            self._axes.add_artist(lines[-1])
        for frame, (axis, at) in self._placed():
            left, right, bottom, top = frame.extent(_edges(axis))
            words = f"{'xyz'[axis]} = {unit(at, 0)}"
            self._axes.text((left + right) / 2, bottom - 0.5, words, ha="center", va="top", fontsize=6.5)
            if axis == 1:
                for x, side, align in ((left + 1, "L", "left"), (right - 1, "R", "right")):
                    self._axes.text(x, top - 1, side, ha=align, va="top", fontsize=6.5, color="white", zorder=4)
        self._title = self._axes.text(1.0, _HEIGHT_MM - 0.8, "", va="top", fontsize=7, fontweight="bold")
        sides = [text for text in self._axes.texts if text.get_text() in ("L", "R")]
        self.moving = (*self._pictures, *lines, *sides, self._title)

    def _placed(self) -> list[tuple[Frame, tuple[int, float]]]:
        return list(zip(self._frames, _CUTS, strict=True))

    def show(self, mean: NDArray[Any], affine: NDArray[np.float64], title: str) -> None:
        """Put a run into the figure: its mean image (X, Y, Z) in MNI space."""
        volume = Upright.of(np.nan_to_num(mean), affine)
        inside = volume.values[volume.values > 0]
        brightest = float(np.percentile(inside, 99.5)) if inside.size else 1.0
        for picture, (frame, (axis, at)) in zip(self._pictures, self._placed(), strict=True):
            cut, extent = _within(volume.cut(axis, at), volume.extent(*_IN_PLANE[axis]), _edges(axis))
            picture.set_data(grey(cut, 0.0, brightest))
            picture.set_extent(frame.extent(extent))
        self._title.set_text(title)


def _edges(axis: int) -> Extent:
    across, up = _IN_PLANE[axis]
    return (*_SHOWN_MM[across], *_SHOWN_MM[up])


def _within(picture: NDArray[Any], extent: Extent, wanted: Extent) -> tuple[NDArray[Any], Extent]:
    """The whole pixels of a picture that lie within the wanted edges, and their edges; black where there are none."""
    slices, edges = [], []
    for count, low, high, first, last in (
        (picture.shape[1], extent[0], extent[1], wanted[0], wanted[1]),
        (picture.shape[0], extent[2], extent[3], wanted[2], wanted[3]),
    ):
        step = (high - low) / max(count, 1)
        start = max(int(np.ceil((first - low) / step - 1e-6)), 0)
        stop = min(int(np.floor((last - low) / step + 1e-6)), count)
        if stop <= start:
            return np.zeros((1, 1)), wanted
        slices.append(slice(start, stop))
        edges += [low + step * start, low + step * stop]
    return picture[slices[1], slices[0]], (edges[0], edges[1], edges[2], edges[3])
