"""Preference pairs among samples."""

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
        "observed": pl.Float64,  # P(chosen ≻ rejected) as judged in the setting
    },
)
