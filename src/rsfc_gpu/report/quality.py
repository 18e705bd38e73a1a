"""Figures of data quality over runs: head motion, degrees of freedom, seed coverage, motion against connectivity."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rsfc_gpu.report.style import (
    BLUE,
    DOUBLE_MM,
    INK,
    MUTED,
    RULE,
    SERIES,
    SINGLE_MM,
    VERMILION,
    new_figure,
    styled,
)

_SPREAD_SEED = 0  # of the sideways scatter of points, so that a figure is the same each time


@styled
def by_group(
    measures: Mapping[str, ArrayLike],
    groups: Sequence[str],
    *,
    kept: ArrayLike | None = None,
    gates: Mapping[str, tuple[float, str]] | None = None,
) -> Any:
    """A figure with a panel per measure: every run a point, by group, with the median; runs left out are crosses.

    Parameters
    ----------
    measures : (n,) values by the label of the panel; a missing value is not drawn.
    groups : (n,) the group of each run.
    kept : (n,) whether the run was analysed; all, where not given.
    gates : the limit of a measure, and what to write beside its line.
    """
    names = list(dict.fromkeys(groups))
    member = np.asarray(groups)
    analysed = np.ones(len(member), dtype=bool) if kept is None else np.asarray(kept, dtype=bool)
    count = max(len(measures), 1)
    figure = new_figure(DOUBLE_MM, 62)
    generator = np.random.default_rng(_SPREAD_SEED)
    for number, (label, given) in enumerate(measures.items()):
        values = np.asarray(given, dtype=np.float64)
        axes = figure.add_axes(((number + 0.2) / count, 0.24, 0.74 / count, 0.63))
        for place, name in enumerate(names):
            mine = (member == name) & np.isfinite(values)
            _points(axes, place, values[mine], analysed[mine], generator)
        if gates and label in gates:
            limit, text = gates[label]
            axes.axhline(limit, color=VERMILION, linewidth=0.9, linestyle=(0, (4, 2)))
            axes.text(len(names) - 0.45, limit, text, color=VERMILION, fontsize=6.5, ha="right", va="bottom")
        axes.set_xticks(range(len(names)), [_folded(name) for name in names])
        axes.set_xlim(-0.55, len(names) - 0.45)
        axes.set_title(label, fontsize=7.5)
        if not (values < 0).any():
            axes.set_ylim(bottom=0.0, top=None if (values > 0).any() else 1.0)
    legend = "bar: median of the runs analysed; \N{MULTIPLICATION SIGN}: left out"
    figure.text(0.99, 0.015, legend, ha="right", va="bottom", fontsize=6.5)
    return figure


def _points(
    axes: Any, place: int, values: NDArray[np.float64], analysed: NDArray[np.bool_], generator: np.random.Generator
) -> None:
    at = place + generator.uniform(-0.22, 0.22, len(values))
    colour = SERIES[place % len(SERIES)]
    axes.scatter(at[analysed], values[analysed], s=9, color=colour, alpha=0.75, linewidth=0, zorder=2, clip_on=False)
    axes.scatter(at[~analysed], values[~analysed], s=14, color=INK, marker="x", linewidth=0.8, zorder=3)
    if analysed.any():
        median = float(np.median(values[analysed]))
        axes.plot([place - 0.32, place + 0.32], [median, median], color=INK, linewidth=1.6, zorder=4)


def _folded(name: str) -> str:
    """A name in at most three short lines under its axis."""
    return "\n".join(textwrap.wrap(name, 11, max_lines=3, placeholder="\N{HORIZONTAL ELLIPSIS}"))


@styled
def seed_coverage(coverage: Mapping[str, ArrayLike], *, minimum: float | None = None) -> Any:
    """A figure of the share of each seed's voxels that a run covers: every run a point, per seed.

    Parameters
    ----------
    coverage : (n,) shares from 0 to 1 by seed.
    minimum : the gate, drawn as a line.
    """
    figure = new_figure(SINGLE_MM, 62)
    axes = figure.add_axes((0.14, 0.26, 0.83, 0.68))
    generator = np.random.default_rng(_SPREAD_SEED)
    for place, values in enumerate(coverage.values()):
        percent = 100 * np.asarray(values, dtype=np.float64)
        percent = percent[np.isfinite(percent)]
        at = place + generator.uniform(-0.25, 0.25, percent.size)
        axes.scatter(at, percent, s=8, color=BLUE, alpha=0.6, linewidth=0)
    if minimum is not None:
        axes.axhline(100 * minimum, color=VERMILION, linewidth=0.9, linestyle=(0, (4, 2)))
        axes.text(-0.5, 100 * minimum, f"gate {100 * minimum:g} %", color=VERMILION, fontsize=6.5, va="bottom")
    axes.set_xticks(range(len(coverage)), list(coverage), rotation=35, ha="right")
    axes.set_xlim(-0.55, max(len(coverage), 1) - 0.45)
    axes.set_ylabel("Seed voxels covered (%)")
    axes.set_ylim(top=103)
    return figure


@styled
def qc_fc(correlations: Mapping[str, ArrayLike], *, n: int) -> Any:
    """A figure of how connectivity goes with head motion: the spread over voxels of r, per seed.

    Parameters
    ----------
    correlations : (v,) over participants, of mean framewise displacement with z, at each voxel; by seed.
    n : participants: the grey band holds 95 % of the voxels where motion plays no part.
    """
    figure = new_figure(SINGLE_MM, 62)
    axes = figure.add_axes((0.12, 0.17, 0.85, 0.68))
    chance = 1.96 / np.sqrt(max(n - 3, 1))
    axes.axvspan(-np.tanh(chance), np.tanh(chance), color=RULE, alpha=0.5, linewidth=0, label="95 % by chance")
    bins = np.linspace(-1, 1, 81)
    for number, (name, given) in enumerate(correlations.items()):
        values = np.asarray(given, dtype=np.float64)
        density, _ = np.histogram(values[np.isfinite(values)], bins=bins, density=True)
        style = "-" if number < len(SERIES) else "--"
        axes.plot((bins[:-1] + bins[1:]) / 2, density, style, color=SERIES[number % len(SERIES)], label=name)
    axes.axvline(0, color=MUTED, linewidth=0.7)
    axes.set_xlim(-0.8, 0.8)
    axes.set_ylim(bottom=0)
    axes.set_yticks([])
    axes.set_xlabel("r of mean framewise displacement with z, voxel by voxel")
    axes.set_ylabel("Density over voxels")
    axes.legend(loc="lower left", bbox_to_anchor=(-0.1, 1.0), ncols=4, fontsize=6, columnspacing=0.9, handlelength=1.2)
    return figure
