"""Add up the scores that several rewards gave one shard of replies."""

from alignment_limits.files import file_sha256
from alignment_limits.jobs.job import job, provenance
from alignment_limits.rewards.load import sum_of_scores
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.schemas.samples import SCORES

with job(snakemake):
    terms, files = snakemake.params.p["terms"], snakemake.input
    tables = {name: read_table(files[f"terms/{name}"], SCORES) for name in terms}
    source = {f"{name}_sha256": file_sha256(files[f"terms/{name}"]) for name in terms}
    write_table(sum_of_scores(tables, terms), snakemake.output.scores, SCORES, provenance(snakemake, source=source))
