"""What proxies of every quality cost."""

import polars as pl

from alignment_limits.artifacts import Schema

PROXIES = Schema(
    "proxies",
    {
        "labels": pl.Int32,
        "member": pl.Int32,
        "beta": pl.Float64,
        "error_variance": pl.Float64,
        "spearman": pl.Float64,
        "gap": pl.Float64,
        "gap_low": pl.Float64,
        "gap_high": pl.Float64,
        "gap_predicted": pl.Float64,
        "reliable": pl.Boolean,  # of the gap
        "gold_gain_at_kl": pl.Float64,
        "at_kl": pl.Float64,
        "gold_gain_at_kl_reliable": pl.Boolean,
    },
    verdicts={"reliable": ("gap", "gap_low", "gap_high"), "gold_gain_at_kl_reliable": ("gold_gain_at_kl",)},
)
PROXY_ONSETS = Schema(
    "proxy_onsets",
    {
        "labels": pl.Int32,
        "member": pl.Int32,
        "path": pl.String,  # tilt or best-of-n
        "peak": pl.Float64,  # nats or draws, as are its interval and the end
        "peak_low": pl.Float64,
        "peak_high": pl.Float64,
        "gain": pl.Float64,
        "drop": pl.Float64,
        "drop_low": pl.Float64,
        "drop_high": pl.Float64,
        "end": pl.Float64,
        "found": pl.Boolean,
        "reason": pl.String,
    },
)
PROXY_ENSEMBLES = Schema(
    "proxy_ensembles",
    {
        "shared": pl.String,  # what members share: labels, features, neither
        "aggregator": pl.String,
        "k": pl.Int32,
        "beta": pl.Float64,
        "rho": pl.Float64,
        "rho_low": pl.Float64,
        "rho_high": pl.Float64,
        "gap": pl.Float64,
        "gap_low": pl.Float64,
        "gap_high": pl.Float64,
        "saved": pl.Float64,  # gap of members alone less this one, on the same prompts
        "saved_low": pl.Float64,
        "saved_high": pl.Float64,
        "gap_predicted": pl.Float64,
        "gap_floor": pl.Float64,
        "reliable": pl.Boolean,  # of the gap
        "gold_gain_at_kl": pl.Float64,
        "at_kl": pl.Float64,
        "gold_gain_at_kl_reliable": pl.Boolean,
    },
    verdicts={"reliable": ("gap", "gap_low", "gap_high"), "gold_gain_at_kl_reliable": ("gold_gain_at_kl",)},
)
