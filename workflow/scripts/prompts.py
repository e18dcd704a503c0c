"""All chunks of prompts as one table."""

import polars as pl

from alignment_limits.artifacts import read_table, write_table
from alignment_limits.prompts import repeats
from alignment_limits.schemas.prompts import PROMPTS
from alignment_limits.scripting import job, provenance, say

with job(snakemake):
    table = pl.concat([read_table(file, PROMPTS) for file in snakemake.input.chunks])
    if again := repeats(table):
        say(again)
    write_table(table, snakemake.output.prompts, PROMPTS, provenance(snakemake))
