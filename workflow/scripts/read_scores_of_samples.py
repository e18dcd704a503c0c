"""Write the scores that a table of samples has, for the parts that its samples were divided into."""

from pathlib import Path

import polars as pl

from alignment_limits.files import file_sha256
from alignment_limits.jobs.job import job, provenance, say
from alignment_limits.tables.artifacts import KEY, read_table, write_table
from alignment_limits.tables.labels import read_partial_table
from alignment_limits.tables.schemas.samples import SAMPLES, SCORES

with job(snakemake):
    p, file = snakemake.params.p, Path(snakemake.input.table)
    column = p["column"]
    bounds = {column: tuple(p["bounds"])} if p["bounds"] else {}
    scores = read_partial_table(file, [column], [column] if p["partial"] else [], bounds)
    say(f"{file}: {scores[column].count()} scores in the column '{column}', for {scores.height} samples")
    made = provenance(snakemake, source={"table": file.name, "sha256": file_sha256(file), "column": column})
    for samples, out in zip(snakemake.input.samples, snakemake.output.scores, strict=True):
        keys = read_table(samples, SAMPLES).select(KEY)
        own = keys.join(scores, on=KEY, how="left", maintain_order="left")
        write_table(own.select(*KEY, score=pl.col(column), truncated=pl.lit(False)), out, SCORES, made)
