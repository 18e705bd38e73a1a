"""The participant flow chart: who entered, who left and why, who was analysed."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rsfc_gpu.report.style import DOUBLE_MM, INK, MUTED, new_figure, styled

_LINE_MM, _PAD_MM, _GAP_MM, _LETTER_MM = 3.5, 2.2, 7.0, 1.58


@dataclass(frozen=True)
class FlowStep:
    """One box of the chart: how many stand there, and how many of them left afterwards, by reason."""

    label: str
    n: int
    left: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class FlowArm:
    """One column of the chart: its steps from top to bottom, and the groups that the last one falls into."""

    steps: tuple[FlowStep, ...]
    groups: tuple[tuple[str, int], ...] = ()


@styled
def flow_chart(arms: Sequence[FlowArm]) -> Any:
    """A figure with one column per arm, after the CONSORT diagram: boxes, arrows, and reasons for leaving at the side.

    References
    ----------
    Schulz et al. 2010, BMJ 340:c332 (CONSORT).
    """
    shares = [1.0 if any(step.left for step in arm.steps) else 0.6 for arm in arms]
    layout = [_Column(arm, DOUBLE_MM * share / sum(shares)) for arm, share in zip(arms, shares, strict=True)]
    height = max((column.height for column in layout), default=20.0) + 4
    figure = new_figure(DOUBLE_MM, height)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, DOUBLE_MM)
    axes.set_ylim(height, 0)
    axes.axis("off")
    left = 0.0
    for column in layout:
        column.draw(axes, left)
        left += column.width
    return figure


class _Column:
    """Where the boxes of one arm stand, in millimetres from the top left."""

    def __init__(self, arm: FlowArm, width: float) -> None:
        self.arm, self.width = arm, width
        has_side = any(step.left for step in arm.steps)
        self.main = min((width - 8) * (0.5 if has_side else 1.0), 78.0)
        self.side = width - 8 - self.main - 5
        self.boxes = [_wrapped([_counted(step.label, step.n)], self.main) for step in arm.steps]
        self.sides = [self._side_lines(step) for step in arm.steps]
        self.part = max(self.main / max(len(arm.groups), 1), min(30.0, (width - 8) / max(len(arm.groups), 1)))
        self.parts = [_wrapped([name, _counted("", n)], self.part - 2) for name, n in arm.groups]
        self.height = (
            2
            + sum(_box_mm(box) + self._below(number) for number, box in enumerate(self.boxes))
            + max((_box_mm(lines) for lines in self.parts), default=0.0)
        )

    def _side_lines(self, step: FlowStep) -> list[str]:
        if not step.left:
            return []
        total = sum(n for _, n in step.left)
        return _wrapped([_counted("Left out", total), *(_counted(*reason) for reason in step.left)], self.side)

    def _below(self, number: int) -> float:
        """Room under a box: for the arrow, and for the reasons beside it."""
        last = number == len(self.boxes) - 1
        if last and not self.parts:
            return 2.0
        return max(_GAP_MM, _box_mm(self.sides[number]) + 3.0 if self.sides[number] else 0.0)

    def draw(self, axes: Any, left: float) -> None:
        x, y = left + 4, 2.0
        middle = x + self.main / 2
        for number, lines in enumerate(self.boxes):
            height = _box_mm(lines)
            _box(axes, (x, y, self.main, height), lines, bold=number in (0, len(self.boxes) - 1))
            y += height
            below = self._below(number)
            if number < len(self.boxes) - 1:
                _arrow(axes, (middle, y), (middle, y + below))
            if self.sides[number]:
                side = _box_mm(self.sides[number])
                at = y + below / 2
                _arrow(axes, (middle, at), (x + self.main + 5, at))
                _box(axes, (x + self.main + 5, at - side / 2, self.side, side), self.sides[number], aside=True)
            y += below
        for number, lines in enumerate(self.parts):
            centre = x + (number + 0.5) * self.part
            _arrow(axes, (middle, y - self._below(len(self.boxes) - 1)), (centre, y))
            _box(axes, (centre - self.part / 2 + 1, y, self.part - 2, _box_mm(lines)), lines)


def _wrapped(paragraphs: Sequence[str], width_mm: float) -> list[str]:
    letters = max(8, int((width_mm - 2 * _PAD_MM) / _LETTER_MM))
    return [line for text in paragraphs for line in textwrap.wrap(text, letters, subsequent_indent=" ")]


def _counted(label: str, n: int) -> str:
    return f"{label} (n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{n})".strip(" ")


def _box_mm(lines: Sequence[str]) -> float:
    return len(lines) * _LINE_MM + 2 * _PAD_MM if lines else 0.0


def _box(
    axes: Any, at: tuple[float, float, float, float], lines: Sequence[str], *, bold: bool = False, aside: bool = False
) -> None:
    from matplotlib.patches import Rectangle

    x, y, width, height = at
    edge, face = (MUTED, "#f4f4f4") if aside else (INK, "#ffffff")
    axes.add_patch(Rectangle((x, y), width, height, facecolor=face, edgecolor=edge, linewidth=0.8))
    anchor, align = (x + _PAD_MM, "left") if aside else (x + width / 2, "center")
    for number, line in enumerate(lines):
        axes.text(
            anchor,
            y + _PAD_MM + (number + 0.5) * _LINE_MM,
            line,
            ha=align,
            va="center",
            fontsize=7,
            fontweight="bold" if bold else "normal",
        )


def _arrow(axes: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    style = {"arrowstyle": "-|>", "color": INK, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 7}
    axes.annotate("", xy=end, xytext=start, arrowprops=style)
