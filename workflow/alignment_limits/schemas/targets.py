"""How far policies are from the target of a study's preferences."""

import polars as pl

from alignment_limits.artifacts import Schema
from alignment_limits.schemas.enumerable import VALUES

_LABELS = {
    "policy": pl.String,
    "objective": pl.String,
    "optimized": pl.String,
    "coefficient": pl.Float64,
    "seed": pl.Int64,
    "setting": pl.String,
    "pairs": pl.Int64,
    "reward": pl.String,
    "beta": pl.Float64,
}
# quantity: forward_kl KL(target‖policy), reverse_kl KL(policy‖target); π₀ is the policy `base`
TARGETS = Schema(
    "targets",
    _LABELS
    | {
        "quantity": pl.String,
        "estimate": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "plugin": pl.Float64,
        "ess": pl.Float64,
        "ess_least": pl.Float64,
        "ess_share": pl.Float64,
        "pareto_k": pl.Float64,
        "reliable": pl.Boolean,
        "reason": pl.String,
    },
)
EXACT_TARGETS = Schema("exact_targets", _LABELS | {"reliable": pl.Boolean} | VALUES)
