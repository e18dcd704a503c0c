"""The prompts of a study."""

import polars as pl

from alignment_limits.artifacts import Schema

PROMPTS = Schema(
    "prompts",
    {"prompt_id": pl.String, "text": pl.String, "reference": pl.String, "source": pl.String},
)
