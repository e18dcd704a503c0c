"""Numbers and intervals as text: few digits, a true minus sign, a dash where there is nothing."""

from __future__ import annotations

import math

from alignment_limits.report.lookup import Estimate


def number(value: float, decimals: int = 2) -> str:
    """`decimals` decimals (none from 1,000 on, integers plain, more for small values); `–` for NaN."""
    if not math.isfinite(value):
        return "–"
    if value == round(value) and abs(value) >= 10:
        text = f"{value:,.0f}"
    elif value and abs(value) < 0.095:
        text = f"{value:.2g}"
    else:
        text = f"{value:,.{decimals}f}" if abs(value) < 1000 else f"{value:,.0f}"
    return text.replace("-", "−")


def interval(e: Estimate) -> str:
    """`1.30 [1.21, 1.39]` with as many decimals as the width calls for; the value alone without a width."""
    if not (math.isfinite(e.value) and math.isfinite(e.low) and math.isfinite(e.high)):
        return number(e.value)
    width = e.high - e.low
    if width < 1e-6:
        return number(e.value)
    decimals = min(max(1 - math.floor(math.log10(width)), 0 if abs(e.value) >= 1000 else 2), 6)
    return f"{e.value:,.{decimals}f} [{e.low:,.{decimals}f}, {e.high:,.{decimals}f}]".replace("-", "−")
