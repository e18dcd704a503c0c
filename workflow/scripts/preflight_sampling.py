"""Check, before hours are spent, that every prompt can be put to the model."""

from pathlib import Path

from alignment_limits.artifacts import read_table
from alignment_limits.files import write_json
from alignment_limits.sampling import tokens
from alignment_limits.schemas.prompts import PROMPTS
from alignment_limits.scripting import job, say

with job(snakemake):
    p, folder = snakemake.params.p, Path(snakemake.input.model)
    prompts = read_table(snakemake.input.prompts, PROMPTS)
    tokenizer = tokens.load_tokenizer(folder, p["trust_remote_code"])
    ids = tokens.encode(prompts["text"].to_list(), tokenizer, p["template"])
    context = tokens.context_length(folder, p["trust_remote_code"])
    tokens.check_lengths(prompts["prompt_id"].to_list(), ids, p["max_new_tokens"], context)
    lengths = sorted(map(len, ids))
    figures = {"prompts": len(ids), "tokens_median": lengths[len(ids) // 2], "tokens_max": lengths[-1]}
    say(f"{len(ids)} prompts of up to {lengths[-1]} tokens fit the model's context of {context}")
    write_json(figures | {"context": context}, snakemake.output.passed)
