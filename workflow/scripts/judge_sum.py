"""Add up the scores that several rewards gave experts' replies, base replies and replies to other documents."""

from alignment_limits.artifacts import read_table, write_table
from alignment_limits.rewards.sums import sum_of_scores
from alignment_limits.schemas.gold import TRIALS
from alignment_limits.scripting import job, provenance

with job(snakemake):
    terms = snakemake.params.p["terms"]
    tables = {name: read_table(snakemake.input[f"terms/{name}"], TRIALS) for name in terms}
    write_table(sum_of_scores(tables, terms), snakemake.output.scores, TRIALS, provenance(snakemake))
