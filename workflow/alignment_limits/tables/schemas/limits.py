"""Contracts of estimates: rewards on one scale, the frontier, best-of-n, what a wrong reward costs, the headline."""

import polars as pl

from alignment_limits.tables.artifacts import Schema

# Rewards on one scale.
SCALES = Schema(
    "scales",
    {"reward": pl.String, "prompt_id": pl.String, "centre": pl.Float64, "scale": pl.Float64},
)
CLUSTERS = Schema(  # which prompts are not independent: those with the same text here; null: independent of all others
    "clusters",
    {"prompt_id": pl.String, "cluster": pl.String},
)
PROMPT_IDS = Schema("prompts", {"prompt_id": pl.String})  # of a table of prompts or of their clusters
STANDARDISED = Schema(
    "standardised",
    {"prompt_id": pl.String, "sample_id": pl.Int32},
)


def with_interval(name: str) -> tuple[str, str, str]:
    """A quantity's column and those of its interval."""
    return name, f"{name}_low", f"{name}_high"


# Estimates.
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
    verdicts={"reliable": ("kl", "gain", "gain_low", "gain_high")},
)
BEST_OF_N = Schema(
    "best_of_n",
    {
        "method": pl.String,
        "optimized": pl.String,
        "evaluated": pl.String,
        "n": pl.Int32,  # null for chi-squared pessimism; the mean number for best-of-Poisson
        "temperature": pl.Float64,  # of soft best-of-n, beta of chi-squared pessimism, null for the others
        "kl": pl.Float64,
        "kl_bound": pl.Float64,
        "gain": pl.Float64,
        "gain_low": pl.Float64,
        "gain_high": pl.Float64,
        "limit": pl.Float64,
        "efficiency": pl.Float64,
        "prompts": pl.Int32,  # those with samples enough for this row
        "reliable": pl.Boolean,  # of the share of the limit, and so of all the row
        "reason": pl.String,
        "gain_reliable": pl.Boolean,
        "kl_reliable": pl.Boolean,
        "win_rate_reliable": pl.Boolean,
        "limit_reliable": pl.Boolean,
        "efficiency_reliable": pl.Boolean,
    },
    verdicts={
        "reliable": ("kl", "gain", "limit", "efficiency"),
        **{f"{name}_reliable": with_interval(name) for name in ("gain", "kl", "win_rate", "limit", "efficiency")},
    },
)
PROXY_GAP = Schema(
    "proxy_gap",
    {
        "optimized": pl.String,
        "beta": pl.Float64,
        "error_variance": pl.Float64,
        "gap": pl.Float64,
        "gap_low": pl.Float64,
        "gap_high": pl.Float64,
        "gap_bound": pl.Float64,
        "kl": pl.Float64,
        "gold_gain": pl.Float64,
        "ideal_gain": pl.Float64,
    },
    verdicts={"reliable": ("gap", "gap_low", "gap_high", "gold_gain")},
)
OVER_OPTIMISATION = Schema(
    "over_optimisation",
    {
        "optimized": pl.String,
        "path": pl.String,
        "unit": pl.String,
        "peak": pl.Float64,
        "peak_low": pl.Float64,
        "peak_high": pl.Float64,
        "finding": pl.String,  # over-optimisation, opposed to gold, neither, not judged
        "gain": pl.Float64,
        "drop": pl.Float64,
        "drop_low": pl.Float64,
        "drop_high": pl.Float64,
        "change": pl.Float64,
        "change_low": pl.Float64,
        "change_high": pl.Float64,
        "end": pl.Float64,
        "prompts": pl.Int32,
        "found": pl.Boolean,
        "reason": pl.String,
        "form": pl.String,
        "alpha": pl.Float64,
        "alpha_low": pl.Float64,
        "alpha_high": pl.Float64,
        "beta": pl.Float64,
        "beta_low": pl.Float64,
        "beta_high": pl.Float64,
        "residual": pl.Float64,
        "fit_from": pl.Float64,
        "fit_to": pl.Float64,
        "peak_kl": pl.Float64,
        "fit_reliable": pl.Boolean,
        "fit_reason": pl.String,
    },
    verdicts={
        "found": (*with_interval("peak"), *with_interval("gain"), *with_interval("drop")),
        "fit_reliable": (*with_interval("alpha"), *with_interval("beta"), "residual"),
    },
)
ENSEMBLES = Schema(
    "ensembles",
    {
        "aggregator": pl.String,
        "members": pl.String,
        "k": pl.Int32,
        "rho": pl.Float64,
        "beta": pl.Float64,
        "gap": pl.Float64,
        "gap_predicted": pl.Float64,
        "gold_gain_at_kl": pl.Float64,
        "kl": pl.Float64,
        "reliable": pl.Boolean,  # of the gap, and so of all the row
        "reason": pl.String,
        "gold_gain_at_kl_reliable": pl.Boolean,
    },
    verdicts={
        "reliable": with_interval("gap"),
        "gold_gain_at_kl_reliable": with_interval("gold_gain_at_kl"),
    },
)
# What a study would need.
PLAN = Schema(
    "plan",
    {
        "kl": pl.Float64,
        "gain": pl.Float64,
        "half_width": pl.Float64,
        "prompts": pl.Float64,
        "prompts_low": pl.Float64,
        "prompts_high": pl.Float64,
        "samples": pl.Float64,
        "accepted": pl.Float64,
        "reason": pl.String,
    },
)

# The numbers of the report.
HEADLINE = Schema(
    "headline",
    {
        "group": pl.String,
        "subject": pl.String,
        "quantity": pl.String,
        "value": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "unit": pl.String,
        "reliable": pl.Boolean,
        "note": pl.String,
    },
)
