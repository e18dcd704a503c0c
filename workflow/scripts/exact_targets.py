"""Write exact distances to the target next to the estimates."""

import polars as pl

from alignment_limits.exact.estimands import Everything, every_reply, exact_targets, on_study_scale
from alignment_limits.jobs.job import job, provenance, say
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.grid import read_scores
from alignment_limits.tables.schemas import limits, samples
from alignment_limits.tables.schemas.limits import EXACT_TARGETS, TARGETS

with job(snakemake):
    p, files = snakemake.params.p, snakemake.input
    replies = read_table(files.replies, samples.SAMPLES)
    logprobs = read_table(files.logprobs, limits.EXACT_POLICIES)
    scores = read_scores([files.scores], p["reward"])
    scales = read_table(files.scales, samples.SCALES).filter(pl.col("reward") == p["reward"])["scale"]

    def everything(table):
        ids = sorted(table["prompt_id"].unique())
        base = every_reply(replies, "logprob", ids)
        raw = {p["reward"]: every_reply(scores, "score", ids)}
        laws = {name: every_reply(logprobs, name, ids) for name in p["policies"]}
        return Everything(base, on_study_scale(base, raw, {p["reward"]: scales[0]}, {}), laws)

    own = everything(read_table(files.standardised, samples.STANDARDISED))
    table = exact_targets(read_table(files.targets, TARGETS), own, everything(replies))
    told = table["holds_exact"].drop_nulls()
    say(f"{told.sum()} of {len(told)} intervals contain the exact distance")
    write_table(table, snakemake.output.targets, EXACT_TARGETS, provenance(snakemake))
