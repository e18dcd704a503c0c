"""Write the scores that a table of samples has, for the parts that its samples were divided into."""

from pathlib import Path

import polars as pl

from alignment_limits.files import file_sha256
from alignment_limits.jobs.job import job, provenance, say
from alignment_limits.tables.artifacts import KEY, read_table, write_table
from alignment_limits.tables.schemas.samples import SAMPLES, SCORES
from alignment_limits.tables.scores import read_score_table

with job(snakemake):
    p, file = snakemake.params.p, Path(snakemake.input.table)
    column = p["column"]
    scores = read_score_table(file, [column], {column: tuple(p["bounds"])} if p["bounds"] else {})
    say(f"{file}: {scores.height} scores in the column '{column}'")
    made = provenance(snakemake, source={"table": file.name, "sha256": file_sha256(file), "column": column})
    for samples, out in zip(snakemake.input.samples, snakemake.output.scores, strict=True):
        keys = read_table(samples, SAMPLES).select(KEY)
        own = keys.join(scores, on=KEY, how="left", maintain_order="left")
        write_table(own.select(*KEY, score=pl.col(column), truncated=pl.lit(False)), out, SCORES, made)
