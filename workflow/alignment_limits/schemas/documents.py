"""Documents that prompts are about, and experts' replies."""

import polars as pl

from alignment_limits.artifacts import Schema

DOCUMENTS = Schema(
    "documents",
    # one line per document; one line per reference
    {"prompt_id": pl.String, "text": pl.String, "document": pl.String, "reference": pl.String},
)
