"""Put the rewards of pooled samples on the base's scale, ensembles among them."""

import polars as pl

from alignment_limits.jobs.job import job, provenance
from alignment_limits.policies.table import on_base_scale
from alignment_limits.tables.artifacts import KEY, read_table, write_table
from alignment_limits.tables.grid import Grid, reward_arrays
from alignment_limits.tables.schemas.samples import POOL, SCALES, STANDARDISED

with job(snakemake):
    p, files = snakemake.params.p, snakemake.input
    pool, scales = read_table(files.pool, POOL), read_table(files.scales, SCALES)
    base = reward_arrays(read_table(files.standardised, STANDARDISED), p["rewards"])
    scores = {name: pool.select(*KEY, score=name) for name in p["rewards"]}
    scaled, grid = on_base_scale(scores, scales, base, p["ensembles"]), Grid.of(pool)
    table = pool.with_columns(pl.Series(name, grid.values(values)) for name, values in scaled.items())
    write_table(table, snakemake.output.pool, POOL, provenance(snakemake))
