"""Score one shard of replies with a trained head on their features."""

from pathlib import Path

import numpy as np
import polars as pl

from alignment_limits.artifacts import read_table, write_table
from alignment_limits.proxies.head_file import read_head
from alignment_limits.schemas.features import FEATURES
from alignment_limits.schemas.scores import SCORES
from alignment_limits.scripting import job, provenance

with job(snakemake):
    head = read_head(Path(snakemake.input.head))
    table = read_table(snakemake.input.features, FEATURES)
    features = np.array(table["features"].to_list(), dtype=np.float64)
    score = snakemake.params.p["sign"] * (features @ head["weight"] + head["bias"][0])
    out = table.select("prompt_id", "sample_id", score=pl.Series(score), truncated="truncated")
    write_table(out, snakemake.output.scores, SCORES, provenance(snakemake))
