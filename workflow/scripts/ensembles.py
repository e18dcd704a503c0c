"""Add the ensembles, on the same scale, to the standardised rewards."""

from alignment_limits.jobs.job import job, provenance
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.schemas.samples import STANDARDISED
from alignment_limits.tables.standardised import with_ensembles

with job(snakemake):
    table = with_ensembles(read_table(snakemake.input.standardised, STANDARDISED), snakemake.params.p)
    write_table(table, snakemake.output.standardised, STANDARDISED, provenance(snakemake))
