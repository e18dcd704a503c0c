"""Score one shard of replies with a trained head on their features."""

import numpy as np
import polars as pl
from safetensors.numpy import load_file

from alignment_limits.artifacts import read_table, write_table
from alignment_limits.schemas.features import FEATURES
from alignment_limits.schemas.scores import SCORES
from alignment_limits.scripting import job, provenance

with job(snakemake):
    head = load_file(snakemake.input.head)
    table = read_table(snakemake.input.features, FEATURES)
    features = np.array(table["features"].to_list(), dtype=np.float64)
    score = snakemake.params.p["sign"] * (features @ head["weight"] + head["bias"][0])
    out = table.select("prompt_id", "sample_id", score=pl.Series(score), truncated="truncated")
    write_table(out, snakemake.output.scores, SCORES, provenance(snakemake))
