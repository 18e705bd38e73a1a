"""The post hoc plot: each participant before and after, group by group, with mean and interval."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from rsfc_gpu.report.style import INK, MARKERS, RULE, SERIES, SINGLE_MM, new_figure, styled


@styled
def post_hoc(
    table: pd.DataFrame,
    *,
    group: str,
    before: str,
    after: str,
    y_label: str,
    notes: dict[str, str] | None = None,
) -> Any:
    """A figure with a panel part per group: thin lines are participants, points the means with 95 % intervals.

    Parameters
    ----------
    table : one row per participant; a row with a missing value is not drawn.
    group, before, after : columns.
    notes : a line of statistics under the name of a group.
    """
    complete = table[[group, before, after]].dropna()
    names = list(dict.fromkeys(complete[group].astype(str)))
    figure = new_figure(SINGLE_MM, 78)
    axes = figure.add_axes((0.16, 0.12, 0.81, 0.70))
    axes.axhline(0, color=RULE, linewidth=0.8, zorder=0)
    ticks: list[float] = []
    for number, name in enumerate(names):
        values = complete.loc[complete[group].astype(str) == name, [before, after]].to_numpy(dtype=np.float64)
        at = 2.6 * number + np.array([0.0, 1.0])
        ticks += list(at)
        axes.plot(at, values.T, color=SERIES[number % 6], alpha=0.28, linewidth=0.7, zorder=1)
        mean, half = values.mean(axis=0), _half_interval(values)
        look = {"color": SERIES[number % 6], "marker": MARKERS[number % 6], "markersize": 5, "linewidth": 1.8}
        axes.errorbar(at, mean, yerr=half, capsize=3, ecolor=INK, elinewidth=1.0, zorder=3, **look)
        note = (notes or {}).get(name, "")
        over = {"transform": axes.get_xaxis_transform(), "ha": "center", "va": "bottom"}  # x in data, y as a share
        axes.text(at.mean(), 1.08, f"{name} (n = {len(values)})", **over, fontweight="bold", fontsize=7.5)
        axes.text(at.mean(), 1.02, note, **over, fontsize=6.5)
    axes.set_xticks(ticks, [_shown(before), _shown(after)] * len(names))
    axes.set_xlim(-0.5, max(ticks, default=1.0) + 0.5)
    axes.set_ylabel(y_label)
    return figure


def _half_interval(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Half the 95 % interval of each column's mean; 0 where one value leaves none."""
    from scipy import stats

    n = len(values)
    if n < 2:
        return np.zeros(values.shape[1])
    return np.asarray(stats.t.ppf(0.975, n - 1) * values.std(axis=0, ddof=1) / np.sqrt(n))


def _shown(column: str) -> str:
    return column.replace("_", " ")
