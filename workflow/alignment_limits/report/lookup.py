"""Reading numbers out of the result tables: one value with its interval, never an extrapolation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% interval; NaN where there is none. `reason` says why it is not reliable."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    reliable: bool = False
    reason: str = "not tabulated"

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
        return Estimate(self.value * factor, self.low * factor, self.high * factor, self.reliable, self.reason)


def estimate(row: dict[str, object] | None, name: str) -> Estimate:
    """Column `name` of a table's row with `name_low`, `name_high`, `reliable` and `reason`.

    Where the row has a verdict on this very quantity (`name_reliable`, `name_reason`), that one counts.
    """
    if row is None:
        return Estimate()

    def real(key: str) -> float:
        value = row.get(key)
        return float(value) if isinstance(value, int | float) else math.nan

    own = f"{name}_" if f"{name}_reliable" in row else ""
    value, reliable = real(name), bool(row.get(f"{own}reliable"))
    reason = "" if reliable else str(row.get(f"{own}reason") or "not reliable")
    if not math.isfinite(value):
        reliable, reason = False, reason or "not reached with these samples"
    return Estimate(value, real(f"{name}_low"), real(f"{name}_high"), reliable, reason)


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
    """Bias-corrected gain (base standard deviations) at one tabulated KL (nats); unknown elsewhere."""
    rows = fixed_kl(frontier, optimized, evaluated, budget).filter((pl.col("kl") - kl).abs() < 1e-9)
    return estimate(rows.row(0, named=True) if rows.height else None, "gain")


def fixed_kl(frontier: pl.DataFrame, optimized: str, evaluated: str, budget: str = "average") -> pl.DataFrame:
    """The rows `at == "kl"` of one pair in order of KL."""
    return _pair(frontier, optimized, evaluated, budget).filter(pl.col("at") == "kl").sort("kl")


def fixed_beta(frontier: pl.DataFrame, optimized: str, evaluated: str, budget: str = "average") -> pl.DataFrame:
    """The rows `at == "beta"` of one pair, the strongest tilt (smallest β) last."""
    return _pair(frontier, optimized, evaluated, budget).filter(pl.col("at") == "beta").sort("beta", descending=True)


def _pair(frontier: pl.DataFrame, optimized: str, evaluated: str, budget: str) -> pl.DataFrame:
    return frontier.filter(
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
