"""Tables in the rewards' own units: pass rates in points, marks in marks.

Estimators work on standardised rewards, whose unit is the spread of the reward within prompts on base samples. A gain
changes in proportion to the reward, so a table in own units is the same table with some columns multiplied by the scale
of a reward. Shares, KLs, win rates and verdicts do not change. Tables that are in own units in any case, such as pass
rates and label noise, are not here.
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
from alignment_limits.tables.schemas.limits import (
    EXACT_BEST_OF_N,
    EXACT_FRONTIER,
    EXACT_OF_POLICIES,
    EXACT_TARGETS,
    POLICIES,
    PROXIES,
    PROXY_ENSEMBLES,
    PROXY_ONSETS,
    TARGETS,
    with_interval,
)
from alignment_limits.tables.tradeoffs import (
    CLOSED_POLICIES,
    COMPROMISES,
    COST,
    DIVERGENCES,
    GOLDS,
    LENGTH_CONTROL,
    SIDE_EFFECTS,
)

RAW, BASE_SD = "raw", "base-sd"
# in place of a column that names the reward: gold; of side effects, the reward that changes; under a constraint, the
# reward that is constrained
GOLD, CHANGED, KEPT = "gold", "reward that changes", "constrained reward"
_FOUND = {
    CHANGED: pl.when(pl.col("kind") == "reward").then("column"),
    KEPT: pl.col("evaluated")
    .filter((pl.col("kind") == "constraint") & (pl.col("evaluated") != pl.col("optimized")))
    .first(),
}
_GAINS: tuple[str, ...] = (
    *with_interval("gain"),
    *with_interval("limit"),
    *("gain_plugin", "gain_drawn", "gain_full", "gain_half", "tilt_gain", "at_least", "at_most", "gain_at_least"),
)
_TURNS = [c for quantity in ("gain", "drop", "change", "alpha", "beta") for c in with_interval(quantity)]
_COSTS = (*with_interval("extra"), "limit_per_prompt", *with_interval("not_tilt"), *with_interval("same_n"))
_EXACT = ("estimate", "low", "high", "exact", "population")  # of the row's `quantity`
_IN_UNITS = {"evaluated": ("gain", "limit", "tilt_gain", "regret"), "optimized": ("beta",)}  # of such rows
_SWEEP = (*with_interval("gap"), "gap_predicted", "gold_gain_at_kl", "beta")
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
    "tradeoffs/side_effects.parquet": (SIDE_EFFECTS, {CHANGED: ("base", *with_interval("change"))}),
    "tradeoffs/cost.parquet": (COST, {"evaluated": (*_GAINS, *_COSTS)}),
    "tradeoffs/closed_policies.parquet": (CLOSED_POLICIES, {GOLD: _GAINS}),
    "tradeoffs/length_control.parquet": (LENGTH_CONTROL, {"evaluated": _GAINS, "optimized": ("weight",)}),
    "tradeoffs/golds.parquet": (GOLDS, {"evaluated": _GAINS}),
    "tradeoffs/compromises.parquet": (
        COMPROMISES,
        {"evaluated": (*with_interval("gain"), "alone", *with_interval("price")), KEPT: ("at_most",)},
    ),
    "tradeoffs/divergences.parquet": (DIVERGENCES, {"optimized": (*_GAINS, *with_interval("best_of_n"))}),
    "limits/proxies.parquet": (PROXIES, {GOLD: _SWEEP}),
    "limits/proxy_onsets.parquet": (PROXY_ONSETS, {GOLD: ("gain", *with_interval("drop"))}),
    "limits/proxy_ensembles.parquet": (PROXY_ENSEMBLES, {GOLD: (*_SWEEP, *with_interval("saved"), "gap_floor")}),
    "policies/targets.parquet": (TARGETS, {"reward": ("beta",)}),
    "exact/frontier.parquet": (EXACT_FRONTIER, {"evaluated": _EXACT, "optimized": ("beta",)}),
    "exact/best_of_n.parquet": (EXACT_BEST_OF_N, {"evaluated": _EXACT, "optimized": ("temperature",)}),
    "exact/policies.parquet": (EXACT_OF_POLICIES, {"evaluated": _EXACT}),
    "exact/tempered.parquet": (EXACT_FRONTIER, {"evaluated": _EXACT, "optimized": ("beta",)}),
    "exact/targets.parquet": (EXACT_TARGETS, {"reward": ("beta",)}),
}
OWN = ("tradeoffs/label_noise.parquet", "tradeoffs/verifiable.parquet")  # in own units in every study
SQUARED = ("error_variance",)  # in the square of gold's units
_NAMES_UNIT = ("evaluated", CHANGED, "optimized", "reward")  # the first that a table has names the units of its gains


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
    out = table.with_columns(_FOUND[name].alias(name) for name in columns if name in _FOUND)
    for name, scaled in columns.items():
        factor = pl.lit(scales[gold]) if name == GOLD else _factor(name, scales)
        if scaled == _EXACT:  # a row has one quantity, whose unit it is
            factor = pl.coalesce(
                *(pl.when(pl.col("quantity").is_in(own)).then(_factor(of, scales)) for of, own in _IN_UNITS.items()),
                1.0,
            )
        out = out.with_columns(pl.col(c) * factor for c in scaled if c in table.columns)
    out = out.with_columns(pl.col(c) * scales[gold] ** 2 for c in SQUARED if c in table.columns)
    if KEPT in columns:  # a tilt by goal − μ·constrained: μ is per unit of the constrained reward
        rate = _factor("optimized", scales) / _factor("evaluated", scales)
        bound = pl.col("kind") == "constraint"
        out = out.with_columns(weight=pl.when(bound).then(pl.col("weight") * rate).otherwise("weight"))
    named = next((name for name in _NAMES_UNIT if name in columns), None)
    if named is None:
        return out.with_columns(reward_unit=pl.lit(gold))
    own = pl.when(pl.col(named).is_in(list(scales))).then(named).otherwise(pl.lit("base s.d."))
    if CHANGED in columns:  # other columns have units of their own
        own = pl.when(pl.col("kind") == "column").then("column").otherwise(own)
    return out.with_columns(reward_unit=own).drop(name for name in columns if name in _FOUND)


def _factor(column: str, scales: Mapping[str, float]) -> pl.Expr:
    return pl.col(column).replace_strict(list(scales), list(scales.values()), default=1.0, return_dtype=pl.Float64)


def raw_tables(study: Any) -> list[str]:
    """The tables of a study that it also has in own units, below results/<study>/."""
    made = {ESTIMATORS[name].path for name in made_for(study)}
    made |= {"limits/tempered.parquet"} if study.tempered else set()
    made |= {"policies/policies.parquet"} if study.all_policies else set()
    targets = {"targets"} if study.preferences and study.all_policies else set()
    made |= {f"policies/{name}.parquet" for name in targets}
    if study.gold_labels and study.gold_labels.sweep:
        made |= {f"limits/{name}.parquet" for name in ("proxies", "proxy_onsets", "proxy_ensembles")}
    if study.enumerable:
        own = {"frontier", "best_of_n"} | ({"policies"} if study.all_policies else set()) | targets
        made |= {f"exact/{name}.parquet" for name in own | ({"tempered"} if study.tempered else set())}
    return [file for file in COLUMNS if file in made]


def raw_path(file: str) -> str:
    """The path of a table in own units, from that of the table.

    Example:
        >>> raw_path("limits/frontier.parquet"), raw_path("exact/frontier.parquet")
        ('raw/frontier.parquet', 'raw/exact_frontier.parquet')
    """
    folder, _, name = file.partition("/")
    return f"raw/exact_{name}" if folder == "exact" else f"raw/{name}"
