"""Choose the learning rate of a recipe's runs on one reward, and record how the others did."""

import polars as pl

from alignment_limits.jobs.job import job, provenance, say
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.schemas.samples import CURVES, SWEEP
from alignment_limits.training.sweep import compared

with job(snakemake):
    p = snakemake.params.p
    curves = [read_table(file, CURVES) for file in snakemake.input]
    table = compared(curves, p["runs"])
    table = table.with_columns(recipe=pl.lit(p["recipe"]), optimized=pl.lit(p["optimized"]))
    chosen = table.filter("chosen").row(0, named=True)
    say(
        f"{p['recipe']} on {p['optimized']}: learning rate {chosen['learning_rate']:g} of {table.height}, "
        f"reward − β·KL {chosen['value']:.3f} ± {chosen['error']:.3f}"
        + (" (at the end of the list)" if chosen["at_end"] else "")
    )
    write_table(table, snakemake.output.sweep, SWEEP, provenance(snakemake))
