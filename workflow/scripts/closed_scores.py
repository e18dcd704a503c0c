"""Join the scores of all replies of policies without log-probabilities."""

from alignment_limits.jobs.job import job, provenance
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.sample_table import joined_scores
from alignment_limits.tables.schemas.samples import POOL, SCORES

with job(snakemake):
    p, files = snakemake.params.p, snakemake.input
    scores = {
        policy: {reward: read_table(files[f"{policy}/{reward}"], SCORES) for reward in p["rewards"]}
        for policy in p["policies"]
    }
    write_table(joined_scores(scores), snakemake.output.scores, POOL, provenance(snakemake))
