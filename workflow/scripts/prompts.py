"""Join all chunks of prompts into one table."""

import polars as pl

from alignment_limits.jobs.job import job, provenance, say
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.prompts import repeats
from alignment_limits.tables.schemas.samples import PROMPTS

with job(snakemake):
    table = pl.concat([read_table(file, PROMPTS) for file in snakemake.input.chunks])
    if again := repeats(table):
        say(again)
    write_table(table, snakemake.output.prompts, PROMPTS, provenance(snakemake))
