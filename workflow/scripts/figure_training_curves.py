"""Draw the training curves of one recipe and one optimised reward."""

import polars as pl

from alignment_limits.artifacts import read_table
from alignment_limits.figures.style import Look, save
from alignment_limits.figures.training_curves import training_curves
from alignment_limits.schemas.training import CURVES
from alignment_limits.scripting import job

with job(snakemake):
    look = Look.of(snakemake.params.p)
    curves = pl.concat([read_table(file, CURVES) for file in snakemake.input.curves])
    save(training_curves(curves, look), look, snakemake.output.pdf, snakemake.output.png)
