"""Estimates: the frontier and best-of-n."""

import polars as pl

from alignment_limits.artifacts import Schema

FRONTIER = Schema(
    "frontier",
    {
        "optimized": pl.String,
        "evaluated": pl.String,
        "budget": pl.String,
        "beta": pl.Float64,
        "kl": pl.Float64,
        "kl_low": pl.Float64,
        "kl_high": pl.Float64,
        "kl_reverse": pl.Float64,
        "gain": pl.Float64,
        "gain_low": pl.Float64,
        "gain_high": pl.Float64,
        "gain_plugin": pl.Float64,
        "ess": pl.Float64,
        "pareto_k": pl.Float64,
        "reliable": pl.Boolean,
    },
)
BEST_OF_N = Schema(
    "best_of_n",
    {
        "method": pl.String,
        "optimized": pl.String,
        "evaluated": pl.String,
        "n": pl.Int32,
        "temperature": pl.Float64,
        "kl": pl.Float64,
        "kl_bound": pl.Float64,
        "gain": pl.Float64,
        "gain_low": pl.Float64,
        "gain_high": pl.Float64,
        "limit": pl.Float64,
        "efficiency": pl.Float64,
    },
)
