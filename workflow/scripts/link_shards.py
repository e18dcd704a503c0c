"""Links from the study's folder to the shards it shares with other studies."""

import os
from pathlib import Path

from alignment_limits.sampling.plan import block_names, chunk_names
from alignment_limits.scripting import job

with job(snakemake):
    p, out = snakemake.params.p, snakemake.output
    shards = [
        f"{chunk}-{block}.parquet"
        for chunk in chunk_names(p["prompts"], p["chunk"])
        for block in block_names(p["samples_per_prompt"], p["block"])
    ]
    folders = {Path(out.samples): Path(p["shared"], "samples")}
    folders |= {Path(out.scores, name): Path(p["shared"], "scores", scorer) for name, scorer in p["scorers"].items()}
    for folder, target in folders.items():
        folder.mkdir(parents=True)
        for shard in shards:
            (folder / shard).symlink_to(os.path.relpath(target / shard, folder))
