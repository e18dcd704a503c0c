"""List every reply of the base model to every prompt, with its exact log-probability."""

from pathlib import Path

from alignment_limits.exact.world import exact_logprobs, listed, load_exact, replies_of
from alignment_limits.jobs.job import job, provenance, say
from alignment_limits.models.tokenizer import load_tokenizer, stop_tokens
from alignment_limits.policies.kl import SamplingLaw
from alignment_limits.sampling.shard import encode
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.schemas.samples import PROMPTS, SAMPLES

with job(snakemake):
    p, base = snakemake.params.p, Path(snakemake.input.base)
    prompts = read_table(snakemake.input.prompts, PROMPTS)
    tokenizer = load_tokenizer(base, p["trust_remote_code"])
    sent = encode(prompts["text"].to_list(), tokenizer, p["template"])
    stop, law = stop_tokens(base, tokenizer), SamplingLaw(p["temperature"], p["top_p"])
    model = load_exact(base, p["trust_remote_code"])
    replies = replies_of(model, stop, p["max_new_tokens"])
    logprobs = {"logprob": exact_logprobs(model, sent, replies, law)}
    say(f"{len(replies)} replies to each of {prompts.height} prompts")
    table = listed(prompts, replies, logprobs, tokenizer, stop, p["template"])
    write_table(table, snakemake.output.replies, SAMPLES, provenance(snakemake, ["torch", "transformers"]))
