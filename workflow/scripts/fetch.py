"""Fetch one source into a folder shared by all studies."""

from pathlib import Path

from alignment_limits.jobs.job import job, say
from alignment_limits.models.fetch import fetch
from alignment_limits.study.base import Source

with job(snakemake):
    source = Source(**snakemake.params.p)
    say(f"fetching {source.package or source.hub or source.path}")
    fetch(source, Path(snakemake.output.folder))
