"""Check, before the long jobs, that the model and the existing policies can read every prompt."""

from pathlib import Path

import polars as pl

from alignment_limits.files import write_json
from alignment_limits.jobs.job import job, say
from alignment_limits.models.memory import checkpoint
from alignment_limits.models.tokenizer import context_length, load_tokenizer
from alignment_limits.sampling.shard import check_lengths, encode, own_system
from alignment_limits.study.memory import for_sampling, in_words
from alignment_limits.tables.artifacts import read_table
from alignment_limits.tables.schemas.samples import PROMPTS

with job(snakemake):
    p, folder = snakemake.params.p, Path(snakemake.input.model)
    own = pl.concat([read_table(file, PROMPTS) for file in snakemake.input.prompts])
    prompts = pl.concat([own, *(read_table(file, PROMPTS) for file in snakemake.input.get("training", []))])
    tokenizer = load_tokenizer(folder, p["trust_remote_code"])
    ids = encode(prompts["text"].to_list(), tokenizer, p["template"])
    context = context_length(folder, p["trust_remote_code"], p["context"])
    check_lengths(prompts["prompt_id"].to_list(), ids, p["max_new_tokens"], context)
    for policy, name in zip(snakemake.input.get("policies", []), p["policies"], strict=True):
        room = context_length(Path(policy), p["trust_remote_code"], p["context"], f"policy '{name}'")
        sent = ids[: own.height]  # policies are not sampled on the prompts that rewards are trained on
        check_lengths(own["prompt_id"].to_list(), sent, p["max_new_tokens"], room, f"policy '{name}'")
    lengths = sorted(map(len, ids))
    figures = {"prompts": len(ids), "tokens_median": lengths[len(ids) // 2], "tokens_max": lengths[-1]}
    dtype = (snakemake.config.get("model") or {}).get("dtype", "float32")
    size = checkpoint(folder)
    say(f"the model: {in_words(size, dtype, for_sampling(size, dtype))} of memory, or its GPUs do")
    say(f"{len(ids)} prompts of up to {lengths[-1]} tokens fit the model's context of {context}")
    shown = prompts["text"][0]
    say(f"the first prompt, as the model reads it: {shown[:2000]!r}" + ("" if len(shown) <= 2000 else " …"))
    figures = figures | {"context": context, "first_prompt": shown}
    if p["template"] == "chat" and (system := own_system(tokenizer, p["date"], p.get("chat"))):
        say(f"the model's chat template adds a system message to prompts that have none: {system!r} (prompts.system)")
        figures["template_system"] = system
    write_json(figures, snakemake.output.passed)
