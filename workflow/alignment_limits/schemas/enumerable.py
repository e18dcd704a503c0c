"""Exact values beside estimates, and log-probabilities of every reply."""

import polars as pl

from alignment_limits.artifacts import Schema

# and one column for each policy: log π(y|x) of every reply
EXACT_POLICIES = Schema("exact_policies", {"prompt_id": pl.String, "sample_id": pl.Int32})

VALUES = {
    "quantity": pl.String,
    "estimate": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "exact": pl.Float64,
    "population": pl.Float64,
    "holds_exact": pl.Boolean,
    "holds_population": pl.Boolean,
}
_PAIR = {"optimized": pl.String, "evaluated": pl.String}
EXACT_FRONTIER = Schema(
    "exact_frontier",
    _PAIR
    | {"at": pl.String, "budget": pl.String, "beta": pl.Float64, "kl": pl.Float64, "reliable": pl.Boolean}
    | VALUES,
)
EXACT_BEST_OF_N = Schema(
    "exact_best_of_n",
    {"method": pl.String}
    | _PAIR
    | {"budget": pl.String, "n": pl.Int32, "temperature": pl.Float64, "reliable": pl.Boolean}
    | VALUES,
)
EXACT_OF_POLICIES = Schema(
    "exact_of_policies",
    {
        "policy": pl.String,
        "objective": pl.String,
        "optimized": pl.String,
        "coefficient": pl.Float64,
        "seed": pl.Int64,
        "evaluated": pl.String,
        "reliable": pl.Boolean,
    }
    | VALUES,
)
