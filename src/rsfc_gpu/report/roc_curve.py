"""The ROC curve with its area, interval and best cut-off."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rsfc_gpu.report.style import BLUE, INK, MUTED, SINGLE_MM, VERMILION, new_figure, styled


@styled
def roc_curve(
    false_positive_rate: ArrayLike,
    sensitivity: ArrayLike,
    *,
    note: str,
    best: tuple[float, float] | None = None,
    best_label: str = "best cut-off",
) -> Any:
    """A figure of sensitivity against 1 - specificity.

    Parameters
    ----------
    false_positive_rate, sensitivity : (m,) points of the curve, in order of falling threshold.
    note : area, interval and p, printed inside; one line per line.
    best : sensitivity and specificity at the cut-off to mark.
    """
    figure = new_figure(SINGLE_MM, 80)
    axes = figure.add_axes((0.16, 0.14, 0.76, 0.82))
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    rate, sensitive = np.asarray(false_positive_rate, dtype=np.float64), np.asarray(sensitivity, dtype=np.float64)
    axes.plot(rate, sensitive, color=BLUE, linewidth=1.6, clip_on=False, zorder=3)
    if best is not None:
        sensitive_at, specific_at = best
        axes.plot([1 - specific_at], [sensitive_at], "o", color=VERMILION, markersize=5, zorder=4, clip_on=False)
        axes.annotate(
            f"{best_label}\n{100 * sensitive_at:.1f} % sensitive\n{100 * specific_at:.1f} % specific",
            (1 - specific_at, sensitive_at),
            xytext=(9, -4),
            textcoords="offset points",
            va="top",
            fontsize=7,
        )
    axes.text(0.98, 0.03, note, ha="right", va="bottom", fontsize=7, color=INK)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_aspect("equal")
    axes.set_xlabel("1 \N{MINUS SIGN} specificity")
    axes.set_ylabel("Sensitivity")
    return figure
