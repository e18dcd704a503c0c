"""Convert the fetched base model to a plain model folder, once for all studies."""

from pathlib import Path

from alignment_limits.jobs.job import job, say
from alignment_limits.models.fetch import convert

with job(snakemake):
    say("converting the base model (about half a minute, once)")
    done = convert(
        Path(snakemake.input.fetched),
        Path(snakemake.output.folder),
        trust_remote_code=snakemake.params.p["trust_remote_code"],
    )
    say(f"base model: {done}")
