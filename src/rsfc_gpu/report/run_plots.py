"""Figures of single runs: motion, and carpets before and after cleaning; one frame serves all runs of a study."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rsfc_gpu.report.style import DOUBLE_MM, INK, SERIES, SINGLE_MM, VERMILION, new_figure, styled

_SHADE = np.array([213, 94, 0, 70], dtype=np.uint8)  # vermilion, thin
_DASHES = (0, (4, 2))


@dataclass(frozen=True, kw_only=True)
class RunScales:
    """What all runs of a study share, so that their figures can be compared.

    Attributes
    ----------
    n_volumes : of the longest run.
    translation_mm, rotation_degrees, fd_mm : the ends of the axes.
    translation_gate_mm, rotation_gate_degrees, fd_threshold_mm : limits of the study; None where it has none.
    """

    n_volumes: int
    translation_mm: float
    rotation_degrees: float
    fd_mm: float
    translation_gate_mm: float | None = None
    rotation_gate_degrees: float | None = None
    fd_threshold_mm: float | None = None


class MotionPlot:
    """Translations, rotations and framewise displacement of a run; scrubbed volumes are shaded."""

    @styled
    def __init__(self, scales: RunScales) -> None:
        self.figure = new_figure(SINGLE_MM, 70)
        self._title = _title(self.figure)
        self._lines: list[Any] = []
        self._shades: list[Any] = []
        panels = (
            ("Shift (mm)", scales.translation_mm, scales.translation_gate_mm, ("x", "y", "z")),
            ("Turn (deg)", scales.rotation_degrees, scales.rotation_gate_degrees, ("pitch", "roll", "yaw")),
        )
        for number, (label, limit, gate, names) in enumerate(panels):
            axes = self.figure.add_axes((0.175, 0.645 - 0.26 * number, 0.805, 0.2))
            self._add(axes, label, scales, names, bottom=-limit, top=limit)
            for height in () if gate is None or gate > limit else (-gate, gate):
                axes.axhline(height, color=VERMILION, linewidth=0.7, linestyle=_DASHES)
            axes.tick_params(labelbottom=False)
        axes = self.figure.add_axes((0.175, 0.125, 0.805, 0.2))
        self._add(axes, "FD (mm)", scales, ("",), bottom=0.0, top=scales.fd_mm)
        _threshold(axes, scales)
        axes.set_xlabel("Volume")
        self.moving = (*self._shades, *self._lines, self._title)

    def _add(
        self, axes: Any, label: str, scales: RunScales, names: tuple[str, ...], *, bottom: float, top: float
    ) -> None:
        axes.set_ylim(bottom, top)
        axes.set_ylabel(label)
        axes.yaxis.set_label_coords(-0.15, 0.5)
        self._shades.append(_shade(axes, scales.n_volumes, bottom, top))
        for number, name in enumerate(names):
            colour = SERIES[number] if name else INK
            self._lines += axes.plot([], [], color=colour, linewidth=0.8)
            at = 1.0 - 0.09 * (len(names) - 1 - number)
            axes.text(at, 1.02, name, transform=axes.transAxes, color=colour, fontsize=6.5, ha="right", va="bottom")
        axes.set_xlim(-0.5, scales.n_volumes - 0.5)

    def show(self, motion: ArrayLike, fd_mm: ArrayLike, kept: ArrayLike | None, title: str) -> None:
        """Put a run into the figure: motion (T, 6) in mm and radians from the first volume, fd_mm (T,), kept (T,)."""
        moved = np.asarray(motion, dtype=np.float64)
        traces = [*moved[:, :3].T, *np.rad2deg(moved[:, 3:]).T, np.asarray(fd_mm, dtype=np.float64)]
        for line, trace in zip(self._lines, traces, strict=True):
            line.set_data(np.arange(len(trace)), trace)
        for shade in self._shades:
            _set_shade(shade, kept)
        self._title.set_text(title)


class CarpetPlot:
    """Grey levels of many voxels over time, before and after cleaning, under framewise displacement.

    Volumes that scrubbing took are shaded on the left and blank on the right.

    References
    ----------
    Power 2017, NeuroImage 154:150.
    """

    @styled
    def __init__(self, scales: RunScales, *, has_cleaned: bool) -> None:
        self._has_cleaned = has_cleaned
        self._n_volumes = scales.n_volumes
        self.figure = new_figure(DOUBLE_MM if has_cleaned else SINGLE_MM, 62)
        self._title = _title(self.figure, x=0.01 if has_cleaned else 0.02)
        self._lines: list[Any] = []
        self._carpets: list[Any] = []
        left, width = (0.075, 0.44) if has_cleaned else (0.15, 0.83)
        self._shade = self._column(scales, left, width, "before cleaning", is_first=True)
        if has_cleaned:
            self._column(scales, 0.55, width, "after cleaning", is_first=False)
        self.moving = (self._shade, *self._lines, *self._carpets, self._title)

    def _column(self, scales: RunScales, left: float, width: float, label: str, *, is_first: bool) -> Any:
        top = self.figure.add_axes((left, 0.69, width, 0.18))
        top.set_ylim(0.0, scales.fd_mm)
        _threshold(top, scales)
        shade = _shade(top, scales.n_volumes, 0.0, scales.fd_mm)
        self._lines += top.plot([], [], color=INK, linewidth=0.8)
        below = self.figure.add_axes((left, 0.15, width, 0.49))
        empty = np.full((1, 1, 3), 255, dtype=np.uint8)
        edges = (-0.5, scales.n_volumes - 0.5, 0.0, 1.0)
        self._carpets.append(below.imshow(empty, extent=edges, aspect="auto", interpolation="nearest"))
        for axes in (top, below):
            axes.set_xlim(-0.5, scales.n_volumes - 0.5)
        top.tick_params(labelbottom=False, labelleft=is_first)
        below.set_yticks([])
        below.set_xlabel(f"Volume, {label}")
        if is_first:
            top.set_ylabel("FD (mm)")
            below.set_ylabel("Voxels")
        return shade

    def show(
        self,
        before: NDArray[np.int8],
        after: NDArray[np.int8] | None,
        fd_mm: ArrayLike | None,
        kept: ArrayLike | None,
        title: str,
    ) -> None:
        """Put a run into the figure.

        Parameters
        ----------
        before, after : (voxels, T) and (voxels, kept T); each voxel is shown from -2 to 2 of its standard deviations.
        fd_mm, kept : (T,), where they are known.
        """
        n_volumes = before.shape[1]
        stays = np.ones(n_volumes, dtype=bool) if kept is None else np.asarray(kept, dtype=bool)
        trace = np.full(n_volumes, np.nan) if fd_mm is None else np.asarray(fd_mm, dtype=np.float64)
        _set_shade(self._shade, stays)
        for line, shown in zip(self._lines, (trace, np.where(stays, trace, np.nan)), strict=False):
            line.set_data(np.arange(n_volumes), shown)
        self._carpets[0].set_data(self._padded(carpet_greys(before), n_volumes))
        if self._has_cleaned:
            whole = np.full((before.shape[0], n_volumes), 255, dtype=np.uint8)
            shown = stays if after is None or after.shape[1] != n_volumes else np.ones(n_volumes, dtype=bool)
            if after is not None and after.shape == (before.shape[0], int(shown.sum())):
                whole[:, shown] = carpet_greys(after)
            self._carpets[1].set_data(self._padded(whole, n_volumes))
        self._title.set_text(title)

    def _padded(self, greys: NDArray[np.uint8], n_volumes: int) -> NDArray[np.uint8]:
        """Colours (voxels, longest run, 3), white where this run has ended."""
        wide = np.pad(greys, ((0, 0), (0, self._n_volumes - n_volumes)), constant_values=255)
        return np.repeat(wide[:, :, None], 3, axis=2)


def carpet_greys(signals: NDArray[Any]) -> NDArray[np.uint8]:
    """Grey levels of series (voxels, T): from -2 to 2 standard deviations of each; one without spread is mid-grey."""
    deviation = signals.astype(np.float32)
    deviation -= deviation.mean(axis=1, keepdims=True)
    scale = deviation.std(axis=1, keepdims=True)
    deviation = np.divide(deviation, scale, out=np.zeros_like(deviation), where=scale > 0)
    return np.asarray(np.clip(127.5 + 63.75 * deviation, 0, 255), dtype=np.uint8)


def _title(figure: Any, x: float = 0.02) -> Any:
    return figure.text(x, 0.985, "", va="top", fontsize=7, fontweight="bold")


def _threshold(axes: Any, scales: RunScales) -> None:
    limit = scales.fd_threshold_mm
    if limit is not None and limit <= scales.fd_mm:
        axes.axhline(limit, color=VERMILION, linewidth=0.7, linestyle=_DASHES)


def _shade(axes: Any, n_volumes: int, bottom: float, top: float) -> Any:
    """A picture of one row over the whole axes, clear until `_set_shade` fills it."""
    clear = np.zeros((1, n_volumes, 4), dtype=np.uint8)
    return axes.imshow(
        clear, extent=(-0.5, n_volumes - 0.5, bottom, top), aspect="auto", interpolation="nearest", zorder=0
    )


def _set_shade(shade: Any, kept: ArrayLike | None) -> None:
    colours = np.zeros_like(np.asarray(shade.get_array()))
    if kept is not None:
        lost = np.flatnonzero(~np.asarray(kept, dtype=bool))
        colours[0, lost] = _SHADE
    shade.set_data(colours)
