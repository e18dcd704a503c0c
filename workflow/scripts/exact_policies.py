"""Compute the exact log-probability of every reply under every policy."""

from pathlib import Path

import polars as pl

from alignment_limits.exact.world import exact_logprobs, load_exact, replies_of
from alignment_limits.jobs.job import job, provenance
from alignment_limits.models.tokenizer import load_tokenizer, stop_tokens
from alignment_limits.policies.kl import SamplingLaw
from alignment_limits.sampling.shard import encode
from alignment_limits.tables.artifacts import KEY, read_table, write_table
from alignment_limits.tables.schemas.limits import EXACT_POLICIES
from alignment_limits.tables.schemas.samples import PROMPTS, SAMPLES

with job(snakemake):
    p, base = snakemake.params.p, Path(snakemake.input.base)
    prompts = read_table(snakemake.input.prompts, PROMPTS)
    table = read_table(snakemake.input.replies, SAMPLES).select(KEY)  # prompt by prompt, in the order of the list
    tokenizer = load_tokenizer(base, p["trust_remote_code"])
    sent = encode(prompts["text"].to_list(), tokenizer, p["template"])
    stop = stop_tokens(base, tokenizer)
    for name, law in p["policies"].items():
        model = load_exact(Path(snakemake.input[f"policies/{name}"]), p["trust_remote_code"])
        logp = exact_logprobs(model, sent, replies_of(model, stop, p["max_new_tokens"]), SamplingLaw(**law))
        table = table.with_columns(pl.Series(name, logp.ravel()))
    write_table(table, snakemake.output.policies, EXACT_POLICIES, provenance(snakemake, ["torch", "transformers"]))
