"""Collect the sweeps over learning rates of a study."""

import polars as pl

from alignment_limits.jobs.job import job, provenance
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.schemas.samples import SWEEP

with job(snakemake):
    table = pl.concat([read_table(file, SWEEP) for file in snakemake.input])
    write_table(table, snakemake.output.sweep, SWEEP, provenance(snakemake))
