"""Draw the training curves of one recipe and one optimised reward."""

import polars as pl

from alignment_limits.jobs.job import job
from alignment_limits.report.figures.policies import training_curves
from alignment_limits.report.figures.style import Look, save
from alignment_limits.tables.artifacts import read_table
from alignment_limits.tables.schemas.samples import CURVES

with job(snakemake):
    look = Look.of(snakemake.params.p)
    curves = pl.concat([read_table(file, CURVES) for file in snakemake.input.curves])
    save(training_curves(curves, look), look, snakemake.output.pdf, snakemake.output.png)
