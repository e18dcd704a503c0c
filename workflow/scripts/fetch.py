"""Fetch one source into a folder shared by all studies."""

from pathlib import Path

from alignment_limits.config.source import Source
from alignment_limits.models.fetch import fetch
from alignment_limits.scripting import job, say

with job(snakemake):
    source = Source(**snakemake.params.p)
    say(f"fetching {source.package or source.hub or source.path}")
    fetch(source, Path(snakemake.output.folder))
