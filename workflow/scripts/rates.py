"""Choose coefficients, and measure how fast the chosen policies approach their target."""

import polars as pl

from alignment_limits.jobs.job import job, provenance
from alignment_limits.preferences.rates import choose, slopes, summary
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.schemas.limits import LEARNING_SUMMARY, RATES, SLOPES, SWEEP

with job(snakemake):
    p = snakemake.params.p
    sweep = pl.concat([read_table(file, SWEEP) for file in snakemake.input.sweep])
    rates = choose(sweep, p["fixed_betas"])
    made = provenance(snakemake, ["scipy"])
    write_table(rates, snakemake.output.rates, RATES, made)
    write_table(summary(rates), snakemake.output.summary, LEARNING_SUMMARY, made)
    write_table(slopes(rates, p["slope_from"]), snakemake.output.slopes, SLOPES, made)
