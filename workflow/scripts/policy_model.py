"""Convert a fetched policy to a plain model folder that shares the base's tokenizer, or refuse it."""

from pathlib import Path

from alignment_limits.jobs.job import job, say
from alignment_limits.policies.assemble import assemble

with job(snakemake):
    p = snakemake.params.p
    said = assemble(
        Path(snakemake.input.fetched),
        Path(snakemake.input.base),
        Path(snakemake.output.folder),
        name=p["name"],
        base_names=p["base_names"],
        adapter=p["adapter"],
        scale=p["scale"],
        trust_remote_code=p["trust_remote_code"],
    )
    for line in said:
        say(f"policy {p['name']}: {line}")
