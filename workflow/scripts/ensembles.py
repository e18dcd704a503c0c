"""Add the ensembles, on the same scale, to the standardised rewards."""

import numpy as np
import polars as pl

from alignment_limits.ensembles.scales import aggregate, standardise
from alignment_limits.jobs.job import job, provenance
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.grid import Grid, reward_arrays
from alignment_limits.tables.schemas.samples import STANDARDISED

with job(snakemake):
    table = read_table(snakemake.input.standardised, STANDARDISED)
    grid = Grid.of(table)
    for name, ensemble in snakemake.params.p.items():
        members = np.stack(list(reward_arrays(table, ensemble["members"]).values()))
        scores = aggregate(members, ensemble["aggregator"], coefficient=ensemble["penalty"])
        table = table.with_columns(pl.Series(name, grid.values(standardise(scores, name=name).scores)))
    write_table(table, snakemake.output.standardised, STANDARDISED, provenance(snakemake))
