"""Compute sentence embeddings of one shard of replies, once for all heads that read them."""

from alignment_limits.jobs.leases import device_of_job, prepare

prepare(snakemake)  # before torch is imported

from pathlib import Path

import numpy as np
import polars as pl

from alignment_limits.jobs.job import job, provenance
from alignment_limits.rewards.base import distinct_items
from alignment_limits.rewards.embedding import load_encoder
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.schemas.samples import FEATURES, PROMPTS, SAMPLES

with job(snakemake):
    joined = snakemake.params.p["text"] == "prompt+reply"
    prompts = read_table(snakemake.input.prompts, PROMPTS).select("prompt_id", "prompt")
    samples = read_table(snakemake.input.samples, SAMPLES).select("prompt_id", "sample_id", "text")
    table = samples.join(prompts, on="prompt_id", how="left", maintain_order="left")
    texts, where = distinct_items((table["prompt"] + table["text"] if joined else table["text"]).to_list())
    encode = load_encoder(Path(snakemake.input.files), device_of_job(), "left" if joined else "right")
    vectors, truncated = encode(texts)
    out = table.select("prompt_id", "sample_id").with_columns(
        features=pl.Series(vectors.astype(np.float32)[where].tolist(), dtype=pl.List(pl.Float32)),
        truncated=pl.Series(truncated[where]),
    )
    write_table(out, snakemake.output.features, FEATURES, provenance(snakemake, ["torch", "transformers"]))
