"""Check a user's preference pairs of the study's samples, and add the model's log-probabilities."""

from pathlib import Path

import polars as pl

from alignment_limits.files import file_sha256
from alignment_limits.jobs.job import job, provenance
from alignment_limits.tables.artifacts import write_table
from alignment_limits.tables.schemas.samples import PREFERENCES
from alignment_limits.tables.scores import judged_samples, read_preference_table

with job(snakemake):
    p, files = snakemake.params.p, snakemake.input
    judged = judged_samples(files.standardised, files.samples, gold=p["gold"], reward=p["reward"], beta=p["beta"])
    file = Path(files.table)
    pairs = read_preference_table(file, judged, gamma=p["gamma"])
    told = {"gamma": p["gamma"], "setting": "table", "seed": p["seed"], "level": 0.0, "observed": None}
    pairs = pairs.with_columns(**{k: pl.lit(v) for k, v in told.items()})
    made = provenance(snakemake, source={"table": file.name, "sha256": file_sha256(file)})
    write_table(pairs, snakemake.output.preferences, PREFERENCES, made)
