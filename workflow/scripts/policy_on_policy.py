"""Compute the log-probability of one shard of another policy's replies under a policy, in float32."""

from alignment_limits.jobs.leases import device_of_job, prepare

prepare(snakemake)  # before torch is imported

from pathlib import Path

import polars as pl

from alignment_limits.jobs.job import job, progress_bar, provenance
from alignment_limits.models.load import load_split
from alignment_limits.models.tokenizer import load_tokenizer
from alignment_limits.policies.kl import SamplingLaw, sequence_kl
from alignment_limits.sampling.shard import encode
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.schemas.samples import LOGPROBS, PROMPTS, SAMPLES

with job(snakemake):
    p, files = snakemake.params.p, snakemake.input
    samples, prompts = read_table(files.samples, SAMPLES), read_table(files.prompts, PROMPTS)
    folder = Path(files.policy)
    ids = encode(prompts["text"].to_list(), load_tokenizer(folder, p["trust_remote_code"]), p["template"])
    sent = dict(zip(prompts["prompt_id"], ids, strict=True))
    reading = {"trust_remote_code": p["trust_remote_code"], "dtype": p.get("kl_dtype", "float32")}
    model = load_split(folder, device=device_of_job(), **reading)
    with progress_bar(samples.height, "reply", f"{snakemake.wildcards.policy} reads") as bar:
        read = sequence_kl(
            model,
            model,
            [sent[prompt_id] for prompt_id in samples["prompt_id"]],
            samples["token_ids"].to_list(),
            SamplingLaw(**p["law"]),
            progress=bar.update,
        )
    table = samples.select("prompt_id", "sample_id").with_columns(logprob=pl.Series(read.logprob))
    write_table(table, snakemake.output.logprob, LOGPROBS, provenance(snakemake, ["torch", "transformers"]))
