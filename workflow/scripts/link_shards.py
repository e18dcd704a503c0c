"""Links from the study's folder to the shards it shares with other studies."""

import os
from pathlib import Path

from alignment_limits.jobs.job import job
from alignment_limits.study.shards import block_names, chunk_names

with job(snakemake):
    p = snakemake.params.p
    shards = [
        f"{chunk}-{block}.parquet"
        for chunk in chunk_names(p["prompts"], p["chunk"])
        for block in block_names(p["samples_per_prompt"], p["block"])
    ]
    for folder, shared in p["links"].items():
        Path(folder).mkdir(parents=True)
        for shard in shards:
            Path(folder, shard).symlink_to(os.path.relpath(Path(shared, shard), folder))
