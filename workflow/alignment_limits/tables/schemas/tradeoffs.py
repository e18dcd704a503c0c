"""Contracts of tables for trade-offs: what is known of each sample in addition to its scores."""

import polars as pl

from alignment_limits.tables.artifacts import Schema

# Columns of base samples: length and the like, those of the study file, and the texts that estimators need.
COLUMNS = Schema("columns", {"prompt_id": pl.String, "sample_id": pl.Int32})
# The same of policies' replies.
POLICY_COLUMNS = Schema("policy_columns", {"policy": pl.String, "prompt_id": pl.String})
