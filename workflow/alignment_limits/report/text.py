"""Numbers and intervals as text: few digits, a true minus sign, a dash where there is nothing."""

from __future__ import annotations

import math

from alignment_limits.report.lookup import Estimate

DIGITS = 3  # significant digits of any number that is not a count
_PLAIN = (1e-4, 1e6)  # between them numbers are written out, beyond them as a multiple of a power of ten
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float, decimals: int = 2) -> str:
    """A number that has no interval.

    Args:
        decimals: at most so many, and three significant digits; two where these would leave less. Integers from 10 on
            are counts and stay as they are.

    Returns:
        The text; `–` for NaN and infinity.

    Example:
        >>> number(1.2345), number(0.01234), number(64), number(12345.6)
        ('1.23', '0.012', '64', '12,300')
    """
    if not math.isfinite(value):
        return "–"
    if value == round(value) and 10 <= abs(value) < 1e15:
        return f"{value:,.0f}".replace("-", "−")
    if value and abs(value) < 0.095:
        decimals = 1 - _magnitude(value, 1)
    return _rounded(value, decimals)


def interval(e: Estimate, *, percent: bool = False) -> str:
    """An estimate with its 95% interval, rounded by its uncertainty: `1.30 [1.21, 1.39]`.

    All three numbers have the decimals that show the interval's width to two digits (of a lopsided interval, twice its
    shorter side), but no number has more than three significant digits. An end that is not zero is never written as
    zero, nor is the value of an interval without zero, since the sign is what a reader looks for. Without a width the
    value stands alone.

    Args:
        percent: write shares as percentages.

    Returns:
        The text; `–` where there is no value.

    Example:
        >>> interval(Estimate(1.835081, 1.835064, 1.835089)), interval(Estimate(181.17, 48.96, 444.84))
        ('1.84 [1.84, 1.84]', '180 [50, 440]')
    """
    unit, factor = ("%", 100.0) if percent else ("", 1.0)
    value, low, high = (factor * x for x in (e.value, e.low, e.high))
    if not math.isfinite(value):
        return "–"
    if not (math.isfinite(low) and math.isfinite(high)) or high - low <= 1e-9 * max(abs(low), abs(high), 1e-9):
        return number(value, 1 if percent else 2) + unit
    shorter = min(value - low, high - value)
    width = 2 * shorter if shorter > 1e-9 * (high - low) else high - low
    decimals = 1 - _magnitude(width, 1)
    ends = [_signed(x, decimals, high - low) + unit for x in (low, high)]
    middle = _rounded(value, decimals) if low <= 0 <= high else _signed(value, decimals, high - low)
    return f"{middle}{unit} [{', '.join(ends)}]"


def _signed(value: float, decimals: int, width: float) -> str:
    """The number with so many decimals, or with one digit where these would make it zero and it is not."""
    if round(value, decimals) == 0 and abs(value) > 1e-9 * width:
        decimals = -_magnitude(value, 0)
    return _rounded(value, decimals)


def _magnitude(value: float, digits: int) -> int:
    """The power of ten of a number once it is rounded to `digits` more digits than one."""
    return int(f"{value:.{digits}e}".split("e")[1])


def _rounded(value: float, decimals: int) -> str:
    """The number with so many decimals (zeros before the point if negative), and at most three significant digits."""
    if value:
        decimals = min(decimals, DIGITS - 1 - _magnitude(value, DIGITS - 1))
    return _written(round(value, decimals), decimals)


def _written(value: float, decimals: int) -> str:
    """A rounded number written out, or as a multiple of a power of ten."""
    small, large = _PLAIN
    if value and not small <= abs(value) < large:
        power = _magnitude(value, DIGITS - 1)
        digits = f"{value / 10.0**power:.{min(max(power + decimals, 0), DIGITS - 1)}f}"
        text = f"{digits}×10{str(power).translate(_SUPERSCRIPTS)}"
    else:
        text = f"{value + 0.0:,.{max(decimals, 0)}f}"  # + 0.0: no negative zero
    return text.replace("-", "−")
