"""Draw the limit, best-of-n, the target and the policies that learn it on one plane."""

import polars as pl

from alignment_limits.jobs.job import job
from alignment_limits.policies.target import chosen, distances, main_setting, with_exact
from alignment_limits.report.figures.style import Look, save
from alignment_limits.report.figures.targets import target_plane
from alignment_limits.tables.artifacts import read_table
from alignment_limits.tables.schemas.learning import (
    EXACT_BEST_OF_N,
    EXACT_FRONTIER,
    EXACT_OF_POLICIES,
    EXACT_TARGETS,
    TARGETS,
)
from alignment_limits.tables.schemas.limits import BEST_OF_N, FRONTIER
from alignment_limits.tables.schemas.samples import POLICIES

ON_PLANE = {
    "policies": (POLICIES, EXACT_OF_POLICIES),
    "frontier": (FRONTIER, EXACT_FRONTIER),
    "best_of_n": (BEST_OF_N, EXACT_BEST_OF_N),
}

with job(snakemake):
    files, look = snakemake.input, Look.of(snakemake.params.p)
    targets = read_table(files.targets, TARGETS)
    found = distances(targets, read_table(files.exact, EXACT_TARGETS) if files.exact else None)
    base = dict(found.filter(pl.col("policy") == "base").select("quantity", "value").iter_rows())
    spent = base["forward_kl"]
    gained = targets["beta"][0] * (spent + base["reverse_kl"])  # a tilt's gain is β times the Jeffreys divergence
    tables = {}
    for name, (schema, contract) in ON_PLANE.items():
        tables[name] = read_table(files[name], schema)
        if files.exact:
            tables[name] = with_exact(tables[name], read_table(files[f"exact_{name}"], contract))
    figure = target_plane(
        chosen(main_setting(found)), (spent, gained), **tables, look=look, evaluated=targets["reward"][0]
    )
    save(figure, look, snakemake.output.pdf, snakemake.output.png)
