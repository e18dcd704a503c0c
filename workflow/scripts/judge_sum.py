"""Add up the scores that several rewards gave experts' replies, base replies and replies to other documents."""

from alignment_limits.jobs.job import job, provenance
from alignment_limits.rewards.load import sum_of_scores
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.schemas.samples import TRIALS

with job(snakemake):
    terms = snakemake.params.p["terms"]
    tables = {name: read_table(snakemake.input[f"terms/{name}"], TRIALS) for name in terms}
    write_table(sum_of_scores(tables, terms), snakemake.output.scores, TRIALS, provenance(snakemake))
