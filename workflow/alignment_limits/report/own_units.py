"""The headline numbers in the rewards' own units."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from alignment_limits.report.headline import BASE_SD


def in_raw_units(numbers: pl.DataFrame, scales: Mapping[str, float], gold: str) -> pl.DataFrame:
    """The table `headline` in the rewards' own units.

    Args:
        numbers: as `headline`.
        scales: of each reward, its own units in one base standard deviation.
    """
    named = {f"base s.d. of {name}": scale for name, scale in scales.items()} | {BASE_SD: scales[gold]}
    factor = pl.col("unit").replace_strict(list(named), list(named.values()), default=1.0, return_dtype=pl.Float64)
    gains = [pl.col(name) * factor for name in ("value", "low", "high", "at_least", "at_most")]
    own = pl.col("unit").str.replace("base s.d.", "units", literal=True)
    unit = pl.when(pl.col("unit").is_in(list(named))).then(own).otherwise("unit")
    return numbers.with_columns(*gains, unit=unit)
