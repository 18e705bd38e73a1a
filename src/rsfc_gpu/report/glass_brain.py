"""A glass brain: the outlines that nilearn draws, and projections of a map through the head."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rsfc_gpu.report.upright import Extent, Upright

View = Literal["left", "back", "right", "top"]
_NILEARN: dict[View, str] = {"left": "l", "back": "y", "right": "r", "top": "z"}
_AXES: dict[View, tuple[int, int, int]] = {  # of space: along the picture, up, and through the head
    "left": (1, 2, 0),
    "back": (0, 2, 1),
    "right": (1, 2, 0),
    "top": (0, 1, 2),
}


@dataclass(frozen=True, eq=False)
class Outline:
    """The lines of one view that share a look: a Matplotlib path in millimetres, its colour and width in points."""

    path: Any
    colour: tuple[float, float, float, float]
    width: float


@lru_cache(maxsize=1)
def outlines() -> dict[View, tuple[tuple[Outline, ...], Extent]]:
    """The outlines of each view, and the edges of its picture; made by nilearn once, because that takes half a second.

    The left view is mirrored, front to the left: its horizontal millimetres are -y.
    """
    from matplotlib.path import Path
    from nilearn import plotting

    from rsfc_gpu.report.style import new_figure

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nilearn warns of the empty map
        views = plotting.plot_glass_brain(None, display_mode="lyrz", figure=new_figure(100, 50)).axes
    found = {}
    for view, name in _NILEARN.items():
        axes, sign = views[name].ax, -1.0 if view == "left" else 1.0
        by_look: dict[tuple[Any, float], list[Any]] = {}
        for patch in axes.patches:
            path = (patch.get_transform() - axes.transData).transform_path(patch.get_path())
            turned = Path(path.vertices * [sign, 1.0], path.codes)
            by_look.setdefault((patch.get_edgecolor(), round(patch.get_linewidth(), 3)), []).append(turned)
        lines = tuple(
            Outline(Path.make_compound_path(*paths), colour, width) for (colour, width), paths in by_look.items()
        )
        left, right = sorted(sign * edge for edge in axes.get_xlim())
        found[view] = (lines, (left, right, *axes.get_ylim()))
    return found


def projection(volume: Upright, view: View) -> tuple[NDArray[Any], Extent]:
    """The strongest value along each ray, with its sign, and the edges of the picture (rows from bottom to top).

    Side views look at their own half of the head.
    """
    across, up, through = _AXES[view]
    values, extent = volume.values, volume.extent(across, up)
    if view in ("left", "right"):
        x = volume.first_mm[0] + volume.step_mm[0] * np.arange(values.shape[0])
        half = values[x <= 0 if view == "left" else x >= 0]
        values = half if len(half) else values
    at = np.expand_dims(np.abs(values).argmax(axis=through), through)
    seen = np.take_along_axis(values, at, axis=through).squeeze(through).T
    if view == "left":
        return seen[:, ::-1], (-extent[1], -extent[0], extent[2], extent[3])
    return seen, extent
