"""Statistic maps on the brain: a glass brain and slices through the clusters, with one scale beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.report.glass_brain import outlines, projection
from rsfc_gpu.report.paper import frames_in_a_row, grey, paper_axes, show
from rsfc_gpu.report.style import DOUBLE_MM, INK, new_figure, styled, unit
from rsfc_gpu.report.upright import Extent, Upright

# Orange and blue keep apart with every kind of colour blindness; dark is strong, on white paper too.
_WARM = ("#fdbf6f", "#f16913", "#a63603", "#5f1a00")
_COOL = ("#9ecae1", "#3182bd", "#08519c", "#06264f")
_ONE_SIDED = ("#fcc5c0", "#f768a1", "#ae017e", "#49006a")
_LEVELS, _SLICES = 256, 7
Kind = Literal["t", "F"]
Paint = Callable[[NDArray[Any]], NDArray[np.uint8]]  # a picture of statistics -> its colours
# Places on the paper, millimetres from the bottom left of the figure.
_HEIGHT_MM, _MAP_MM = 86.0, 164.0
_GLASS_AT, _GLASS_GAP = (1.0, 38.0), 3.0
_SLICES_AT, _SLICE_GAP = (1.0, 4.5), 1.0
_SCALE_AT: Extent = (170.0, 172.6, 18.0, 66.0)
_BRAIN_MM: Extent = (-73.0, 73.0, -107.0, 75.0)  # what a slice shows


def within_clusters(
    values: NDArray[np.float32], labels: NDArray[np.integer[Any]], wanted: Sequence[int]
) -> NDArray[np.float32]:
    """`values` (X, Y, Z) where `labels` is one of the cluster numbers wanted, 0 elsewhere."""
    return np.where(np.isin(labels, list(wanted)), np.nan_to_num(values), np.float32(0)).astype(np.float32)


def slice_positions(peaks_mm: Sequence[Sequence[float]], *, count: int = _SLICES) -> list[float]:
    """Heights z (mm) of axial slices: through each peak, most important first, then where the largest gaps are."""
    chosen: list[float] = []
    for point in peaks_mm:
        z = float(round(point[2]))
        if len(chosen) < count and all(abs(z - other) >= 5 for other in chosen):
            chosen.append(z)
    between = np.arange(-28.0, 61.0, 4.0)
    while len(chosen) < count:
        gaps = np.min([np.abs(between - z) for z in chosen], axis=0) if chosen else np.abs(between)
        chosen.append(float(between[int(np.argmax(gaps))]))
    return sorted(chosen)


@styled
def brain_map(
    values: NDArray[np.float32],
    affine: NDArray[np.float64],
    *,
    threshold: float,
    kind: Kind,
    scale_label: str,
    peaks_mm: Sequence[Sequence[float]] = (),
    title: str = "",
) -> Any:
    """A figure of a map on a glass brain (top) and on axial slices of the MNI152 brain (bottom).

    Parameters
    ----------
    values : (X, Y, Z), 0 or NaN where nothing is to be shown.
    threshold : smallest magnitude that is shown.
    kind : of the statistic; it chooses the colours.
    scale_label : of the colour scale, such as "t(79)".
    peaks_mm : slices go through these.
    """
    finite = np.nan_to_num(values)
    limit = scale_end(finite, threshold)
    ramp = colours(threshold, limit, kind=kind)
    volume = Upright.of(finite, affine)
    figure = new_figure(DOUBLE_MM, _HEIGHT_MM)
    axes = paper_axes(figure)

    def painted(picture: NDArray[Any]) -> NDArray[np.uint8]:
        """Colours (rows, columns, 4), clear where the map is below the threshold."""
        shade = ramp((picture + limit) / (2 * limit), bytes=True)
        shade[np.abs(picture) < threshold] = 0
        return np.asarray(shade)

    _glass(axes, volume, painted)
    _slices(axes, volume, painted, slice_positions(peaks_mm))
    lowest = -limit if (finite < -threshold).any() else threshold
    _scale(axes, ramp, scale_label, (lowest, threshold, limit), is_cut=bool(np.abs(finite).max() > limit))
    if title:
        axes.text(1.0, _HEIGHT_MM - 1.2, title, va="top", fontsize=8.5, fontweight="bold")
    return figure


def _glass(axes: Any, volume: Upright, painted: Paint) -> None:
    from matplotlib.patches import PathPatch

    drawn = outlines()
    frames = frames_in_a_row([edges for _, edges in drawn.values()], _GLASS_AT, _MAP_MM, _GLASS_GAP)
    for (view, (lines, edges)), frame in zip(drawn.items(), frames, strict=True):
        picture, extent = projection(volume, view)
        show(axes, painted(picture), frame.extent(extent))
        for line in lines:
            look = {"edgecolor": line.colour, "linewidth": line.width, "facecolor": "none", "capstyle": "round"}
            axes.add_artist(PathPatch(frame.path(line.path), zorder=3, **look))
        if view in ("back", "top"):
            _sides(axes, frame.extent(edges), fontsize=8)


def _slices(axes: Any, volume: Upright, painted: Paint, heights_mm: Sequence[float]) -> None:
    template = mni_template()
    frames = frames_in_a_row([_BRAIN_MM] * len(heights_mm), _SLICES_AT, _MAP_MM, _SLICE_GAP)
    for number, (z, frame) in enumerate(zip(heights_mm, frames, strict=True)):
        edges = frame.extent(_BRAIN_MM)
        show(axes, template.cut(2, z), frame.extent(template.extent(0, 1)), smooth=True)
        picture = volume.cut(2, z)
        if picture.any():
            show(axes, painted(picture), frame.extent(volume.extent(0, 1)), over=2)
        axes.text((edges[0] + edges[1]) / 2, edges[2] - 0.5, f"z = {unit(z, 0)}", ha="center", va="top", fontsize=7)
        if number == 0:
            _sides(axes, edges, fontsize=7)


def _sides(axes: Any, edges: Extent, *, fontsize: float) -> None:
    """L and R in the upper corners."""
    look = {"va": "top", "fontsize": fontsize, "zorder": 4}
    axes.text(edges[0] + 1.0, edges[3], "L", ha="left", **look)
    axes.text(edges[1] - 1.0, edges[3], "R", ha="right", **look)


@lru_cache(maxsize=1)
def mni_template() -> Upright:
    """The MNI152 brain at 1 mm as light grey levels on white, cut to what a slice shows."""
    from nilearn.datasets import load_mni152_template

    image = load_mni152_template(resolution=1)
    whole = Upright.of(np.asarray(image.dataobj), image.affine)
    left, right, back, front = _BRAIN_MM
    x, y = (
        slice(*np.searchsorted(whole.first_mm[axis] + whole.step_mm[axis] * np.arange(whole.values.shape[axis]), ends))
        for axis, ends in enumerate(((left, right), (back, front)))
    )
    inside = whole.values[x, y]
    brightest = float(np.percentile(inside[inside > 0], 99.5))
    light = np.where(inside > 0, 110 + grey(inside, 0.3 * brightest, brightest) * (135 / 255), 255).astype(np.uint8)
    first = whole.first_mm + whole.step_mm * [x.start, y.start, 0]
    return Upright(light, first, whole.step_mm)


def scale_end(values: NDArray[np.float32], threshold: float) -> float:
    """Where the colours of a map end: its strongest value, but at most twice what a tenth of what is shown reaches.

    In a map of the sample's mean the seed itself is many times stronger than all that it connects with.
    """
    strength = np.abs(values)
    shown = strength[strength > threshold]
    if not shown.size:
        return threshold * 1.05 + 1e-6
    strongest = min(float(shown.max()), 2 * float(np.percentile(shown, 90)))
    return max(strongest, threshold * 1.05 + 1e-6)


def colours(threshold: float, limit: float, *, kind: Kind, lowest: float | None = None) -> Any:
    """The colours from `lowest` (-limit if None) to limit: grey up to the threshold, then the whole ramp."""
    from matplotlib.colors import LinearSegmentedColormap, ListedColormap

    warm = LinearSegmentedColormap.from_list("warm", _ONE_SIDED if kind == "F" else _WARM)
    cool = LinearSegmentedColormap.from_list("cool", _COOL)
    level = np.linspace(-limit if lowest is None else lowest, limit, _LEVELS)
    strength = np.clip((np.abs(level) - threshold) / (limit - threshold), 0, 1)
    table = np.where((level > 0)[:, None], warm(strength), cool(strength))
    table[np.abs(level) < threshold] = (0.8, 0.8, 0.8, 1.0)
    return ListedColormap(table, name="rsfc")


def _scale(axes: Any, ramp: Any, label: str, ends: tuple[float, float, float], *, is_cut: bool) -> None:
    """The colours with the numbers they stand for: the lowest, the threshold and the highest; `is_cut`: and beyond."""
    from matplotlib.patches import Rectangle

    lowest, threshold, limit = ends
    left, right, bottom, top = _SCALE_AT
    level = np.linspace(lowest, limit, _LEVELS)[:, None]
    show(axes, ramp((level + limit) / (2 * limit), bytes=True), _SCALE_AT)
    axes.add_artist(Rectangle((left, bottom), right - left, top - bottom, fill=False, linewidth=0.5, edgecolor=INK))
    for tick in sorted({lowest, -threshold, threshold, limit} if lowest < 0 else {threshold, limit}):
        height = bottom + (top - bottom) * (tick - lowest) / (limit - lowest)
        beyond = (
            ""
            if not is_cut or abs(tick) < limit
            else "\N{GREATER-THAN OR EQUAL TO}"
            if tick > 0
            else "\N{LESS-THAN OR EQUAL TO}"
        )
        axes.text(right + 1.0, height, f"{beyond}{unit(tick, 1)}", va="center", fontsize=7)
    axes.text((left + right) / 2, top + 1.5, label, ha="center", va="bottom", fontsize=7.5)
