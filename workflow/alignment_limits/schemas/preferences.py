"""Preference pairs among samples, and rewards fitted to them."""

import polars as pl

from alignment_limits.artifacts import Schema

PREFERENCES = Schema(
    "preferences",
    {
        "prompt_id": pl.String,
        "chosen_id": pl.Int32,  # sample_id
        "rejected_id": pl.Int32,
        "probability": pl.Float64,  # P(chosen ≻ rejected) of the model, before any departure
        "gamma": pl.Float64,
        "setting": pl.String,
        "seed": pl.Int64,
        "level": pl.Float64,  # of the setting
        "observed": pl.Float64,  # P(chosen ≻ rejected) as judged in the setting; null for a user's pairs
    },
)
FITTED_REWARDS = Schema(
    "fitted_rewards",
    {
        "setting": pl.String,
        "level": pl.Float64,
        "prompt_id": pl.String,
        "reply_id": pl.Int32,  # a sample_id; there are as many rows of a sample as levels
        "score": pl.Float64,  # Bradley-Terry, mean 0 over a prompt's samples that are in some pair
    },
)
