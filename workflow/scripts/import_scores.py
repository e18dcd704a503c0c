"""Check a table of scores from another source and split it into one table per reward."""

from pathlib import Path

import polars as pl

from alignment_limits.files import file_sha256
from alignment_limits.importers.metadata import verdict_of
from alignment_limits.jobs.job import job, provenance, say
from alignment_limits.tables.artifacts import write_table
from alignment_limits.tables.labels import read_partial_table
from alignment_limits.tables.schemas.samples import CLUSTERS, POOL, SCORES
from alignment_limits.tables.scores import cluster_column, read_clusters, read_pool, read_score_table

with job(snakemake):
    file, p = Path(snakemake.input.table), snakemake.params.p
    wanted = file, p["rewards"], p["bounds"]
    if p["pool"]:
        table = read_pool(*wanted, **p["pool"])
    elif p.get("partial"):
        table = read_partial_table(file, p["rewards"], p["partial"], p["bounds"])
    else:
        table = read_score_table(*wanted)
    say(f"{file}: {table['prompt_id'].n_unique()} prompts, {table.height} samples, {len(p['rewards'])} rewards")
    column = cluster_column(file, p["cluster"], p["rewards"])
    clusters = pl.DataFrame(schema=CLUSTERS.columns) if column is None else read_clusters(file, column)
    if column is not None:
        say(f"prompts with the same '{column}' are resampled together: {clusters['cluster'].n_unique()} clusters")
    verdict = verdict_of(file)
    more = {} if verdict is None else {"imported": verdict}
    made = provenance(snakemake, source={"table": file.name, "sha256": file_sha256(file)} | more)
    if p["pool"]:
        closed = pl.col("law").is_in(p["pool"]["closed"])
        if p["pool"]["closed"]:
            ratios = [column for column in table.columns if column.startswith("log_ratio/")]
            write_table(table.filter(closed).drop(ratios), snakemake.output.closed, POOL, made)
            table = table.filter(~closed)
        if p["pool"]["log_ratios"]:
            write_table(table, snakemake.output.pool, POOL, made)
        table = table.filter(pl.col("law") == "base")
        say(f"{table.height} samples are the base's; those with log-ratios help to show the limit")
    for reward in p["rewards"]:
        scores = table.select("prompt_id", "sample_id", score=pl.col(reward), truncated=pl.lit(False))
        write_table(scores, snakemake.output[f"scores/{reward}"], SCORES, made)
    write_table(clusters, snakemake.output[0], CLUSTERS, made)
