"""Scatter plot of two measures with the fitted line and its interval."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rsfc_gpu.errors import InputError
from rsfc_gpu.report.style import INK, MARKERS, RULE, SERIES, SINGLE_MM, new_figure, styled

Vector = NDArray[np.float64]


def line_with_interval(x: ArrayLike, y: ArrayLike, *, points: int = 100) -> tuple[Vector, Vector, Vector, Vector]:
    """Least-squares line over the range of x: positions, heights, and the 95 % interval of its mean, low and high.

    Pairs with a missing value are left out.

    Raises
    ------
    InputError : fewer than 3 pairs, or x without spread.

    References
    ----------
    Working and Hotelling 1929, J. Am. Stat. Assoc. 24:73 (here pointwise, by Student's t).
    """
    from scipy import stats

    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both], b[both]
    if a.size < 3 or np.ptp(a) == 0:
        raise InputError(f"a line with an interval needs at least 3 pairs and spread in x, found {a.size} pairs")
    centred = a - a.mean()
    spread = float(centred @ centred)
    slope = float(centred @ b) / spread
    residual = b - b.mean() - slope * centred
    deviation = np.sqrt(float(residual @ residual) / (a.size - 2))
    at = np.linspace(a.min(), a.max(), points)
    height = b.mean() + slope * (at - a.mean())
    half = float(stats.t.ppf(0.975, a.size - 2)) * deviation * np.sqrt(1 / a.size + (at - a.mean()) ** 2 / spread)
    return at, height, height - half, height + half


@styled
def scatter(
    x: ArrayLike,
    y: ArrayLike,
    *,
    x_label: str,
    y_label: str,
    note: str = "",
    groups: ArrayLike | None = None,
    title: str = "",
) -> Any:
    """A figure of y against x with the least-squares line and the 95 % interval of its mean.

    Parameters
    ----------
    x, y : (n,) one value per participant; a pair with a missing value is not drawn.
    note : the statistics, printed inside; one line per line.
    groups : (n,) names, each with its own colour and marker.
    """
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    names = np.full(a.shape, "") if groups is None else np.asarray(groups).astype(str)
    both = np.isfinite(a) & np.isfinite(b)
    a, b, names = a[both], b[both], names[both]
    figure = new_figure(SINGLE_MM, 74)
    axes = figure.add_axes((0.16, 0.15, 0.8, 0.65))
    if a.size >= 3 and np.ptp(a) > 0:
        at, height, low, high = line_with_interval(a, b)
        axes.fill_between(at, low, high, color=RULE, alpha=0.7, linewidth=0, zorder=1)
        axes.plot(at, height, color=INK, zorder=2)
    for number, name in enumerate(dict.fromkeys(names)):
        mine = names == name
        look = {"marker": MARKERS[number % 6], "color": SERIES[number % 6], "s": 16, "linewidth": 0.5}
        axes.scatter(a[mine], b[mine], edgecolor="white", zorder=3, label=name, **look)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    if groups is not None:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3, borderaxespad=0.1, handletextpad=0.2)
    if note:
        figure.text(0.16, 0.985, note, va="top", ha="left", fontsize=7)
    if title:
        figure.suptitle(title, fontsize=8.5, fontweight="bold")
    return figure
