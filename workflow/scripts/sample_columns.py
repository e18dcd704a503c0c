"""Length and the like of every sample, and columns of the user's table, for questions about trade-offs."""

from pathlib import Path

import polars as pl

from alignment_limits.jobs.job import job, provenance, say
from alignment_limits.tables.artifacts import KEY, read_table, read_tables, write_table
from alignment_limits.tables.sample_columns import sample_columns, table_columns, with_answers
from alignment_limits.tables.schemas.samples import SAMPLES, SCORES
from alignment_limits.tables.schemas.tradeoffs import COLUMNS

with job(snakemake):
    p = snakemake.params.p
    if table := snakemake.input.get("table"):
        columns = table_columns(Path(table), p["refusals"], p["numbers"], p["texts"])
    else:
        shards = [sample_columns(read_table(file, SAMPLES), p["refusals"]) for file in snakemake.input.samples]
        columns = pl.concat(shards).sort(KEY)
        if verified := snakemake.input.get("verified"):
            columns = with_answers(columns, read_tables(verified, SCORES))
    found = [name for name in columns.columns if name not in KEY]
    say(f"{columns.height} samples; columns: {', '.join(found) or 'none'}")
    write_table(columns, snakemake.output.columns, COLUMNS, provenance(snakemake))
