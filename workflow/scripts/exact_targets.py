"""Exact distances to the target beside the estimates."""

import polars as pl

from alignment_limits.artifacts import read_table, write_table
from alignment_limits.enumerable.beside import every_reply, on_study_scale
from alignment_limits.enumerable.estimands import Everything
from alignment_limits.enumerable.target import exact_targets
from alignment_limits.grid import read_scores
from alignment_limits.schemas import ensembles, enumerable, samples
from alignment_limits.schemas.targets import EXACT_TARGETS, TARGETS
from alignment_limits.scripting import job, provenance, say

with job(snakemake):
    p, files = snakemake.params.p, snakemake.input
    replies = read_table(files.replies, samples.SAMPLES)
    logprobs = read_table(files.logprobs, enumerable.EXACT_POLICIES)
    scores = read_scores([files.scores], p["reward"])
    scales = read_table(files.scales, ensembles.SCALES).filter(pl.col("reward") == p["reward"])["scale"]

    def everything(table):
        ids = sorted(table["prompt_id"].unique())
        base = every_reply(replies, "logprob", ids)
        raw = {p["reward"]: every_reply(scores, "score", ids)}
        laws = {name: every_reply(logprobs, name, ids) for name in p["policies"]}
        return Everything(base, on_study_scale(base, raw, {p["reward"]: scales[0]}, {}), laws)

    own = everything(read_table(files.standardised, ensembles.STANDARDISED))
    table = exact_targets(read_table(files.targets, TARGETS), own, everything(replies))
    told = table["holds_exact"].drop_nulls()
    say(f"{told.sum()} of {len(told)} intervals hold the exact distance")
    write_table(table, snakemake.output.targets, EXACT_TARGETS, provenance(snakemake))
