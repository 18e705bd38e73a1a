"""How numbers of a clinical table are written: the one place that decides it.

The style is that of the American Psychological Association (7th edition, section 6.36): no zero before the point of a
number that cannot exceed 1, p to three decimals, "< .001" below that.
"""

from __future__ import annotations

import math

NOTHING = "-"


def p_value_text(p: float) -> str:
    """p without its name: ".037", "< .001", "> .999", or "-" where there is none."""
    if math.isnan(p):
        return NOTHING
    if p < 0.001:
        return "< .001"
    if p > 0.999:
        return "> .999"
    return f"{p:.3f}"[1:]


def p_text(p: float, symbol: str = "p") -> str:
    """p with its name: "p = .037", "p < .001"; symbol "q" for a corrected one."""
    value = p_value_text(p)
    if value == NOTHING:
        return NOTHING
    return f"{symbol} {value}" if value[0] in "<>" else f"{symbol} = {value}"


def unit_text(value: float, decimals: int = 2) -> str:
    """A number from -1 to 1 without the zero before its point: ".49", "-.07", "1.00"."""
    if math.isnan(value):
        return NOTHING
    text = f"{value:.{decimals}f}"
    if float(text) == 0:
        return text.removeprefix("-").removeprefix("0")
    return text.replace("0.", ".", 1) if abs(float(text)) < 1 else text


def mean_sd_text(mean: float, sd: float, decimals: int = 2) -> str:
    """Mean and SD, "36.46 ± 12.11"; the mean alone where there is no SD, "-" where there is no mean."""
    if math.isnan(mean):
        return NOTHING
    return f"{mean:.{decimals}f}" if math.isnan(sd) else f"{mean:.{decimals}f} ± {sd:.{decimals}f}"


def count_text(count: int, n: int) -> str:
    """Count and share, "24 (61.5 %)"; "-" where nobody has a value."""
    return f"{count} ({100 * count / n:.1f} %)" if n else NOTHING
