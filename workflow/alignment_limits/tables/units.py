"""Tables in the rewards' own units: pass rates in points, marks in marks.

Estimators work on standardised rewards, whose unit is the spread of the reward within prompts on base samples. A gain
changes in proportion to the reward, so a table in own units is the same table with some columns multiplied by the scale
of a reward. Shares, KLs, win rates and verdicts do not change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from alignment_limits.tables.artifacts import Schema
from alignment_limits.tables.estimates import (
    BEST_OF_N,
    ENSEMBLES,
    ESTIMATORS,
    FRONTIER,
    OVER_OPTIMISATION,
    PROXY_GAP,
    TEMPERED,
    made_for,
)
from alignment_limits.tables.schemas.limits import POLICIES, with_interval

RAW, BASE_SD = "raw", "base-sd"
GOLD = ""  # in place of a column that names the reward
_GAINS: tuple[str, ...] = (
    *with_interval("gain"),
    *with_interval("limit"),
    *("gain_plugin", "gain_drawn", "gain_full", "gain_half", "tilt_gain", "at_least", "at_most", "gain_at_least"),
)
_TURNS = [c for quantity in ("gain", "drop", "change", "alpha", "beta") for c in with_interval(quantity)]
_GAPS = ("gap_bound", "gap_plugin", "gap_variance", "ideal_gain", "ideal_gain_at_beta", "beta")

# table → the column with the reward's name, and the columns in its units
COLUMNS: dict[str, tuple[Schema, dict[str, tuple[str, ...]]]] = {
    "limits/frontier.parquet": (FRONTIER, {"evaluated": _GAINS, "optimized": ("beta",)}),
    "limits/best_of_n.parquet": (BEST_OF_N, {"evaluated": _GAINS, "optimized": ("temperature",)}),
    "limits/tempered.parquet": (TEMPERED, {"evaluated": _GAINS, "optimized": ("beta",)}),
    "policies/policies.parquet": (POLICIES, {"evaluated": _GAINS}),
    "limits/over_optimisation.parquet": (OVER_OPTIMISATION, {GOLD: (*_TURNS, "residual")}),
    "limits/proxy_gap.parquet": (PROXY_GAP, {GOLD: (*with_interval("gap"), *with_interval("gold_gain"), *_GAPS)}),
    "limits/ensembles.parquet": (
        ENSEMBLES,
        {GOLD: (*with_interval("gap"), "gap_predicted", "gap_floor", *with_interval("gold_gain_at_kl"), "beta")},
    ),
}
SQUARED = ("error_variance",)  # in the square of gold's units


def in_raw_units(file: str, table: pl.DataFrame, scales: Mapping[str, float], gold: str) -> pl.DataFrame:
    """A table of a study in the rewards' own units.

    Args:
        file: which table, a key of `COLUMNS`.
        table: in base standard deviations.
        scales: `standardised.scales_of` the study. A name without a scale, that of an ensemble, keeps its standard
            deviations.
        gold: the gold reward, in whose units tables without a column `evaluated` are.

    Returns:
        The same rows, and `reward_unit`: the reward in whose units gains are.

    Example:
        >>> row = {"optimized": ["a"], "gap": [0.5], "beta": [2.0], "error_variance": [1.0], "kl": [0.1]}
        >>> made = in_raw_units("limits/proxy_gap.parquet", pl.DataFrame(row), {"g": 10.0}, "g")
        >>> made.row(0, named=True)
        {'optimized': 'a', 'gap': 5.0, 'beta': 20.0, 'error_variance': 100.0, 'kl': 0.1, 'reward_unit': 'g'}
    """
    _, columns = COLUMNS[file]
    out = table
    for name, scaled in columns.items():
        factor = pl.lit(scales[gold]) if name == GOLD else _factor(name, scales)
        out = out.with_columns(pl.col(c) * factor for c in scaled if c in table.columns)
    out = out.with_columns(pl.col(c) * scales[gold] ** 2 for c in SQUARED if c in table.columns)
    if "evaluated" not in columns:
        return out.with_columns(reward_unit=pl.lit(gold))
    own = pl.col("evaluated").is_in(list(scales))
    return out.with_columns(reward_unit=pl.when(own).then("evaluated").otherwise(pl.lit("base s.d.")))


def _factor(column: str, scales: Mapping[str, float]) -> pl.Expr:
    return pl.col(column).replace_strict(list(scales), list(scales.values()), default=1.0, return_dtype=pl.Float64)


def raw_tables(study: Any) -> list[str]:
    """The tables of a study that it also has in own units, below results/<study>/."""
    made = {ESTIMATORS[name].path for name in made_for(study)}
    made |= {"limits/tempered.parquet"} if study.tempered else set()
    made |= {"policies/policies.parquet"} if study.all_policies else set()
    return [file for file in COLUMNS if file in made]
