"""Numbers for readers: a value with its interval and its verdict out of a table, and numbers as text."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import polars as pl


def verdict(table: pl.DataFrame, quantity: str) -> pl.Expr:
    """The column that says whether a quantity's value is reliable in each row.

    A table may have a verdict of its own for a quantity (`win_rate_reliable`); else `reliable` refers to the row.
    A value that is not finite is never reliable.

    Args:
        quantity: `gain`, `kl`, `limit`, `efficiency`, `win_rate` or another column of numbers.
    """
    own = f"{quantity}_reliable"
    column = own if own in table.columns else "reliable" if "reliable" in table.columns else None
    said = pl.col(column).fill_null(False) if column else pl.lit(True)
    return said & pl.col(quantity).is_finite().fill_null(False)


def verdict_of(row: Mapping[str, Any], quantity: str) -> bool:
    """As `verdict`, of one row."""
    value = row.get(quantity)
    finite = isinstance(value, int | float) and float("-inf") < value < float("inf")
    return finite and bool(row.get(f"{quantity}_reliable", row.get("reliable", True)))


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% interval; NaN where there is none. `reason` says why it is not reliable.

    `at_least` and `at_most` are bounds that hold whether or not it is.
    """

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    reliable: bool = False
    reason: str = "not tabulated"
    at_least: float = math.nan
    at_most: float = math.nan

    @property
    def known(self) -> bool:
        """Reliable, and with a value."""
        return self.reliable and math.isfinite(self.value)

    @property
    def bounded(self) -> bool:
        """Known, with both ends of its interval."""
        return self.known and math.isfinite(self.low) and math.isfinite(self.high)

    def __truediv__(self, other: Estimate) -> Estimate:
        """A ratio; its interval holds every ratio of values in the two intervals, so it is conservative.

        Each interval has level 95%, so their joint level is at least 90% whatever the dependence.
        """
        reason = self.reason or other.reason
        if not other.value > 0:
            return Estimate(reason=reason or "the denominator is not positive")
        ends = [math.nan]
        if other.low > 0:
            ends = [n / d for n in (self.low, self.high) for d in (other.low, other.high)]
        return Estimate(self.value / other.value, min(ends), max(ends), self.known and other.known, reason)

    def __sub__(self, other: Estimate) -> Estimate:
        """A difference, with a conservative interval as for the ratio."""
        return Estimate(
            self.value - other.value,
            self.low - other.high,
            self.high - other.low,
            self.known and other.known,
            self.reason or other.reason,
        )

    def times(self, factor: float) -> Estimate:
        """The estimate in other units (`factor` > 0)."""
        value, low, high = self.value * factor, self.low * factor, self.high * factor
        return Estimate(value, low, high, self.reliable, self.reason, self.at_least * factor, self.at_most * factor)


def estimate(row: dict[str, object] | None, name: str) -> Estimate:
    """Column `name` of a table's row with `name_low`, `name_high`, `reliable` and `reason`.

    Where the row has a verdict on this very quantity (`name_reliable`, `name_reason`), that one counts.
    """
    if row is None:
        return Estimate()

    own = f"{name}_" if f"{name}_reliable" in row else ""
    value, reliable = _real(row, name), bool(row.get(f"{own}reliable"))
    reason = "" if reliable else str(row.get(f"{own}reason") or "not reliable")
    if not math.isfinite(value):
        reliable, reason = False, reason or "not reached with these samples"
    return Estimate(value, _real(row, f"{name}_low"), _real(row, f"{name}_high"), reliable, reason)


def unit_of(table: pl.DataFrame, reward: str) -> str:
    """The unit of a reward's gains, in words: `tables.units.in_raw_units` has marked the table, or not."""
    own = "reward_unit" in table.columns and reward in set(table["reward_unit"])
    return f"units of {reward}" if own else f"standard deviations of {reward}"


def peak(over_optimisation: pl.DataFrame, optimized: str, path: str) -> Estimate:
    """Where gold peaks along `path` ("tilt", nats; "best-of-n", draws); unknown with the reason where it does not."""
    rows = over_optimisation.filter((pl.col("optimized") == optimized) & (pl.col("path") == path))
    if not rows.height:
        return Estimate()
    row = rows.row(0, named=True)
    if not row["found"]:
        return Estimate(reason=str(row["reason"]))
    return Estimate(row["peak"], row["peak_low"], row["peak_high"], True, "")


def at_kl(frontier: pl.DataFrame, optimized: str, evaluated: str, kl: float, budget: str = "average") -> Estimate:
    """Bias-corrected gain (base standard deviations) at one tabulated KL (nats); unknown elsewhere.

    The limit of a reward (`optimized` is `evaluated`) has its bounds.
    """
    rows = fixed_kl(frontier, optimized, evaluated, budget).filter((pl.col("kl") - kl).abs() < 1e-9)
    row = rows.row(0, named=True) if rows.height else None
    found = estimate(row, "gain")
    if row is None or optimized != evaluated:
        return found
    return replace(found, at_least=_real(row, "at_least"), at_most=_real(row, "at_most"))


def _real(row: Mapping[str, Any], key: str) -> float:
    value = row.get(key)
    return float(value) if isinstance(value, int | float) else math.nan


def fixed_kl(frontier: pl.DataFrame, optimized: str, evaluated: str, budget: str = "average") -> pl.DataFrame:
    """The rows `at == "kl"` of one pair in order of KL."""
    return _pair(frontier, optimized, evaluated, budget).filter(pl.col("at") == "kl").sort("kl")


def fixed_beta(frontier: pl.DataFrame, optimized: str, evaluated: str, budget: str = "average") -> pl.DataFrame:
    """The rows `at == "beta"` of one pair, the strongest tilt (smallest β) last."""
    return _pair(frontier, optimized, evaluated, budget).filter(pl.col("at") == "beta").sort("beta", descending=True)


def from_samples(frontier: pl.DataFrame, of: str) -> pl.DataFrame:
    """The rows that are from samples of the base alone ("base"), or of policies too ("pool")."""
    if "samples_from" not in frontier.columns:  # older tables are of base samples
        return frontier if of == "base" else frontier.clear()
    return frontier.filter(pl.col("samples_from") == of)


def _pair(frontier: pl.DataFrame, optimized: str, evaluated: str, budget: str) -> pl.DataFrame:
    return from_samples(frontier, "base").filter(
        (pl.col("optimized") == optimized) & (pl.col("evaluated") == evaluated) & (pl.col("budget") == budget)
    )


def reference_kl(frontier: pl.DataFrame, gold: str, wanted: float = 1.0) -> float:
    """The tabulated KL nearest to `wanted` at which gold's own limit is reliable.

    Where it is reliable nowhere, the nearest at which it has a value (what is read there is then marked); NaN
    where it has none.
    """
    rows = fixed_kl(frontier, gold, gold).filter(pl.col("gain").is_finite() & (pl.col("kl") > 0))
    trusted = rows.filter(pl.col("reliable"))
    kls: list[float] = (trusted if trusted.height else rows)["kl"].to_list()
    return min(kls, key=lambda kl: abs(kl - wanted), default=math.nan)


def say_kl(kl: float) -> str:
    """`KL 1`, or words for a reference KL that does not exist."""
    return f"KL {kl:g}" if math.isfinite(kl) else "a fixed KL (none is tabulated)"


def best_of(table: pl.DataFrame, optimized: str, evaluated: str, budget: str) -> pl.DataFrame:
    """Best-of-n rows (n ≥ 2) of one pair and budget in order of n."""
    return (
        _pair(table, optimized, evaluated, budget)
        .filter((pl.col("method") == "best-of-n") & (pl.col("n") > 1))
        .sort("n")
    )


WIDER = 1.2  # from the end of a 95 % interval to about 99 %, as in limits/brackets.py


def share_bounds(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of best-of-n with bounds of its share of the limit, `share_at_least` and `share_at_most`; null where none.

    The smallest gain over the largest limit, and the largest gain (where it is reliable) over the smallest limit, at
    most 1 where best-of-n cannot pass the limit (`bounded_by_one`).

    Args:
        rows: of `limits/best_of_n.parquet`; tables of earlier versions have no bounds.
    """
    ends = {c: pl.col(c) if c in rows.columns else pl.lit(None, pl.Float64) for c in _ENDS}
    least, most, gain_least = (pl.when(e.is_finite() & (e > 0)).then(e) for e in ends.values())
    gain_most = pl.when(verdict(rows, "gain")).then(pl.col("gain") + WIDER * (pl.col("gain_high") - pl.col("gain")))
    high = (gain_most / least).fill_nan(None)
    return rows.with_columns(
        share_at_least=(gain_least / most).fill_nan(None),
        share_at_most=pl.when(bounded_by_one()).then(pl.min_horizontal(high, pl.lit(1.0))).otherwise(high),
    )


def share_of_limit(row: dict[str, Any]) -> Estimate:
    """Best-of-n's share of the limit, from a row of `share_bounds`; an upper bound of 1 is not worth a word."""
    most = _real(row, "share_at_most")
    return replace(
        estimate(row, "efficiency"), at_least=_real(row, "share_at_least"), at_most=most if most < 1 else math.nan
    )


_ENDS = ("at_least", "at_most", "gain_at_least")


def bounded_by_one() -> pl.Expr:
    """Whether best-of-n cannot pass the limit: under the average budget, and with untied scores under both.

    No policy passes the limit of the average budget. Best-of-n of scores without ties spends the same KL on every
    prompt, and so cannot pass the per-prompt limit either; with ties it can.
    """
    return (pl.col("budget") == "average") | ((pl.col("kl") - pl.col("kl_bound")).abs() < 1e-6)


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


def bracket(at_least: float, at_most: float) -> str:
    """Bounds in words, rounded outwards to three significant digits; empty if neither is a positive number.

    Example:
        >>> bracket(1.4142, 2.1), bracket(1.4142, math.nan), bracket(math.nan, math.nan)
        ('at least 1.41, at most 2.1', 'at least 1.41', '')
    """
    ends = {"at least": (at_least, math.floor), "at most": (at_most, math.ceil)}
    return ", ".join(
        f"{words} {_outwards(value, rounded):.3g}"
        for words, (value, rounded) in ends.items()
        if math.isfinite(value) and value > 0
    )


def _outwards(value: float, rounded: Callable[[float], int]) -> float:
    unit = 10.0 ** (_magnitude(value, DIGITS - 1) - DIGITS + 1)
    return rounded(value / unit * (1 + 1e-12 * (1 if rounded is math.floor else -1))) * unit


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
