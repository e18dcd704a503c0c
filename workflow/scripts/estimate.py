"""Write the table of one estimator of tables/estimates.py."""

from alignment_limits.jobs.job import job, provenance, say
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.estimates import ESTIMATORS, estimate
from alignment_limits.tables.schemas.samples import POOL, SCALES, STANDARDISED

with job(snakemake):
    name = snakemake.params.estimator
    standardised = read_table(snakemake.input.standardised, STANDARDISED)
    pool = read_table(snakemake.input.pool, POOL) if hasattr(snakemake.input, "pool") else None
    scales = read_table(snakemake.input.scales, SCALES) if hasattr(snakemake.input, "scales") else None
    table = estimate(name, standardised, snakemake.params.p, pool, scales)
    for line in ESTIMATORS[name].said(table, snakemake.params.p):
        say(line)
    write_table(table, snakemake.output.table, ESTIMATORS[name].contract, provenance(snakemake, ["numba"]))
