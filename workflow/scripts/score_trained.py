"""Score one shard of replies with a trained head on their features."""

from pathlib import Path

import numpy as np
import polars as pl

from alignment_limits.jobs.job import job, provenance
from alignment_limits.rewards.heads import read_head
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.schemas.samples import FEATURES, SCORES

with job(snakemake):
    head = read_head(Path(snakemake.input.head))
    table = read_table(snakemake.input.features, FEATURES)
    features = np.array(table["features"].to_list(), dtype=np.float64)
    score = snakemake.params.p["sign"] * (features @ head["weight"] + head["bias"][0])
    out = table.select("prompt_id", "sample_id", score=pl.Series(score), truncated="truncated")
    write_table(out, snakemake.output.scores, SCORES, provenance(snakemake))
