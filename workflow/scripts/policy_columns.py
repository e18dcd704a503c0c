"""Length and the like of every policy's replies."""

import polars as pl

from alignment_limits.jobs.job import job, provenance
from alignment_limits.tables.artifacts import read_tables, write_table
from alignment_limits.tables.sample_columns import sample_columns
from alignment_limits.tables.schemas.samples import SAMPLES
from alignment_limits.tables.schemas.tradeoffs import POLICY_COLUMNS

with job(snakemake):
    p = snakemake.params.p
    columns = [
        sample_columns(read_tables(snakemake.input[f"{policy}/samples"], SAMPLES), p["refusals"]).with_columns(
            policy=pl.lit(policy)
        )
        for policy in p["policies"]
    ]
    write_table(pl.concat(columns), snakemake.output.columns, POLICY_COLUMNS, provenance(snakemake))
