"""Learn policies from preferences by every objective at every coefficient, for some seeds of one setting."""

import polars as pl

from alignment_limits.jobs.job import job, provenance
from alignment_limits.preferences.rates import sweep
from alignment_limits.tables.artifacts import write_table
from alignment_limits.tables.schemas.limits import SWEEP

with job(snakemake):
    p = snakemake.params.p
    rows = sweep(p, p["setting"], p["level"], p["seed"], range(*p["seeds"]))
    table = pl.DataFrame(rows).with_columns(setting=pl.lit(p["setting"]), level=pl.lit(p["level"]))
    write_table(table, snakemake.output.sweep, SWEEP, provenance(snakemake))
