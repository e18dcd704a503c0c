"""Bring all rewards to one scale: centred per prompt, in units of their spread on base samples."""

import polars as pl

from alignment_limits.ensembles.scales import standardise
from alignment_limits.jobs.job import job, provenance
from alignment_limits.tables.artifacts import KEY, read_table, write_table
from alignment_limits.tables.grid import CLUSTER, Grid, read_scores, same_keys
from alignment_limits.tables.schemas.samples import PROMPT_IDS, SCALES, STANDARDISED

with job(snakemake):
    files = snakemake.input
    p = snakemake.params.p
    scores = {name: read_scores(files[f"scores/{name}"], name, p["bounds"].get(name)) for name in p["rewards"]}
    table = same_keys(scores).select(KEY)
    grid = Grid.of(table)
    clusters = read_table(snakemake.input[0], PROMPT_IDS)
    scales = []
    for name, raw in scores.items():
        standard = standardise(grid.array(raw["score"]), name=name)
        table = table.with_columns(pl.Series(name, grid.values(standard.scores)))
        scales.append(
            pl.DataFrame(
                {
                    "reward": name,
                    "prompt_id": grid.prompt_ids,
                    "centre": standard.centre,
                    "scale": standard.scale,
                }
            )
        )
    if "cluster" in clusters.columns and clusters["cluster"].count():
        table = table.join(clusters.select("prompt_id", pl.col("cluster").alias(CLUSTER)), on="prompt_id", how="left")
    write_table(pl.concat(scales), snakemake.output.scales, SCALES, provenance(snakemake))
    write_table(table, snakemake.output.standardised, STANDARDISED, provenance(snakemake))
