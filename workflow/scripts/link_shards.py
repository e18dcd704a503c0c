"""Create links from the study's folder to the shards that it shares with other studies."""

from alignment_limits.files import link
from alignment_limits.jobs.job import job, placed
from alignment_limits.study.sampling import block_names, chunk_names

with job(snakemake):
    p = snakemake.params.p
    blocks = block_names(p["samples_per_prompt"], p["block"])
    shards = [f"{chunk}-{block}.parquet" for chunk in chunk_names(p["prompts"], p["chunk"]) for block in blocks]
    for folder, shared in p["links"].items():
        link(placed(snakemake, folder), placed(snakemake, shared), shards)
