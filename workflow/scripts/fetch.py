"""Fetch one source into a folder shared by all studies."""

from pathlib import Path

from alignment_limits.jobs.job import job, say
from alignment_limits.models.fetch import fetch
from alignment_limits.study.base import Source

with job(snakemake):
    settings = dict(snakemake.params.p)
    with_code = settings.pop("with_code", False)
    source = Source(**settings)
    say(f"fetching {source.package or source.hub or source.path}")
    fetch(source, Path(snakemake.output.folder), with_code=with_code)
