"""Check a table of scores made elsewhere and split it into one table per reward."""

from pathlib import Path

import polars as pl

from alignment_limits.artifacts import write_table
from alignment_limits.files import file_sha256
from alignment_limits.schemas.scores import SCORES
from alignment_limits.score_table import read_score_table
from alignment_limits.scripting import job, provenance, say

with job(snakemake):
    file, rewards = Path(snakemake.input.table), snakemake.params.p["rewards"]
    table = read_score_table(file, rewards)
    say(f"{file}: {table['prompt_id'].n_unique()} prompts, {table.height} samples, {len(rewards)} rewards")
    made = provenance(snakemake, source={"table": file.name, "sha256": file_sha256(file)})
    for reward in rewards:
        scores = table.select("prompt_id", "sample_id", score=pl.col(reward), truncated=pl.lit(False))
        write_table(scores, snakemake.output[f"scores/{reward}"], SCORES, made)
