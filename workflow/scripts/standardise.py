"""Bring all rewards to one scale: centred per prompt, in units of their spread on base samples."""

from alignment_limits.jobs.job import job, provenance
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.grid import read_scores
from alignment_limits.tables.schemas.samples import PROMPT_IDS, SCALES, STANDARDISED
from alignment_limits.tables.standardised import standardised_tables

with job(snakemake):
    files = snakemake.input
    p = snakemake.params.p
    scores = {name: read_scores(files[f"scores/{name}"], name, p["bounds"].get(name)) for name in p["rewards"]}
    standardised, scales = standardised_tables(scores, read_table(snakemake.input[0], PROMPT_IDS))
    write_table(scales, snakemake.output.scales, SCALES, provenance(snakemake))
    write_table(standardised, snakemake.output.standardised, STANDARDISED, provenance(snakemake))
