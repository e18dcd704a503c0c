"""Compute the KL to the base for one shard of a policy's replies: both estimates of every reply."""

from alignment_limits.jobs.leases import device_of_job, prepare

prepare(snakemake)  # before torch is imported

import time
from dataclasses import asdict
from pathlib import Path

import polars as pl

from alignment_limits.files import file_sha256
from alignment_limits.jobs.job import job, progress_bar, provenance, say
from alignment_limits.models.load import load_split
from alignment_limits.models.tokenizer import load_tokenizer
from alignment_limits.policies.kl import SamplingLaw, sequence_kl
from alignment_limits.sampling.checks import check_deviation, deviation
from alignment_limits.sampling.shard import encode
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.schemas.samples import POLICY_KL, PROMPTS, SAMPLES

with job(snakemake):
    p, files = snakemake.params.p, snakemake.input
    samples = read_table(files.samples, SAMPLES)
    tokenizer = load_tokenizer(Path(files.base), p["trust_remote_code"])

    def sent(file):
        """Tokens of the prompt of each sample, as one of the two reads it."""
        prompts = read_table(file, PROMPTS)
        ids = encode(prompts["text"].to_list(), tokenizer, p["template"])
        of = dict(zip(prompts["prompt_id"], ids, strict=True))
        return [of[prompt_id] for prompt_id in samples["prompt_id"]]

    device, dtype = device_of_job(), p.get("kl_dtype", "float32")
    models = {
        folder: load_split(Path(folder), device=device, trust_remote_code=p["trust_remote_code"], dtype=dtype)
        for folder in dict.fromkeys((files.policy, files.base))
    }
    start = time.perf_counter()
    with progress_bar(samples.height, "reply", f"KL of {snakemake.wildcards.policy}") as bar:
        kl = sequence_kl(
            models[files.policy],
            models[files.base],
            sent(files.prompts),
            samples["token_ids"].to_list(),
            SamplingLaw(**p["law"]),
            base_law=SamplingLaw(**p["base_law"]),
            base_prompts=None if files.base_prompts == files.prompts else sent(files.base_prompts),
            further_tokens=p["exchanged"],
            progress=bar.update,
        )
    seconds = time.perf_counter() - start
    table = samples.select("prompt_id", "sample_id").with_columns(
        **{name: pl.Series(getattr(kl, name)) for name in ("kl", "log_ratio", "logprob", "logprob_base")}
    )
    apart = deviation(samples["logprob"], table["logprob"], samples["n_tokens"])
    check_deviation(apart, p.get("kl_dtype", p["dtype"]), f"policy {snakemake.wildcards.policy}")
    figures = {
        "seconds": round(seconds, 2),
        "deviation": asdict(apart),
        "infinite": float(table["kl"].is_infinite().mean()),
    }
    say(
        f"{snakemake.wildcards.policy}: {samples['n_tokens'].sum() / seconds:.0f} tokens/s, mean KL "
        f"{table['kl'].mean():.4g} nats (log-ratio {table['log_ratio'].mean():.4g}); the sampling engine's "
        f"log-probabilities differ by at most {apart.largest:.1g} nats per reply"
    )
    if figures["infinite"] and not p["exchanged"]:
        say(
            f"{figures['infinite']:.0%} of the replies contain a token that is in the policy's top-p nucleus but "
            "not in the base's, so their KL is infinite; set sampling.top_p: 1 to compare policies"
        )
    source = {"samples_sha256": file_sha256(files.samples)}
    made = provenance(snakemake, ["torch", "transformers"], run=figures, source=source)
    write_table(table, snakemake.output.kl, POLICY_KL, made)
