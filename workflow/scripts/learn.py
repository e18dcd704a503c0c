"""Policies learned from preferences by every objective at every coefficient, for some seeds of one setting."""

import polars as pl

from alignment_limits.artifacts import write_table
from alignment_limits.learning.sweep import sweep
from alignment_limits.schemas.learning import SWEEP
from alignment_limits.scripting import job, provenance

with job(snakemake):
    p = snakemake.params.p
    rows = sweep(p, p["setting"], p["level"], p["seed"], range(*p["seeds"]))
    table = pl.DataFrame(rows).with_columns(setting=pl.lit(p["setting"]), level=pl.lit(p["level"]))
    write_table(table, snakemake.output.sweep, SWEEP, provenance(snakemake))
