"""Train one policy: an objective, a reward or preference pairs, a KL coefficient and a seed."""

import os

from alignment_limits.jobs.leases import device_of_job, prepare

prepare(snakemake)  # before torch is imported
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # all models are local folders by now
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

import time
from pathlib import Path

import numpy as np
import polars as pl

from alignment_limits.files import digest, scratch
from alignment_limits.jobs.job import job, provenance, say
from alignment_limits.models.tokenizer import load_tokenizer, stop_tokens
from alignment_limits.policies.kl import SamplingLaw
from alignment_limits.sampling.shard import encode
from alignment_limits.tables.artifacts import read_table, read_tables, write_table
from alignment_limits.tables.grid import Grid, read_scores
from alignment_limits.tables.schemas.samples import CURVES, DOCUMENTS, PROMPTS, SAMPLES, SWEEP
from alignment_limits.training.convergence import ending, phrase
from alignment_limits.training.rewards import StandardReward, read_rewards
from alignment_limits.training.run import learned, train
from alignment_limits.training.split import trained_on
from alignment_limits.training.task import Task


def files(key):
    found = snakemake.input.get(key) or []
    return [found] if isinstance(found, str) else list(found)


with job(snakemake):
    p, base = snakemake.params.p, Path(snakemake.input.base)
    prompts = pl.concat([read_table(file, PROMPTS) for file in files("prompts")]).sort("prompt_id")
    samples = read_tables(files("samples"), SAMPLES)
    device = device_of_job()
    documents = next((read_table(Path(file) / "documents.parquet", DOCUMENTS) for file in files("documents")), None)

    def sources(name):
        return [Path(file) for file in files(f"files/{name}")]

    def scores(name):
        table = read_scores(files(f"scores/{name}"), name)
        return Grid.of(table).array(table["score"])

    read = read_rewards(p["rewards"], sources, prompts, documents, device=device)
    raw = {name: scores(name) for name in p["terms"]}
    settings = p["run"]
    if sweep := files("sweep"):
        settings = settings | {"learning_rate": read_table(sweep[0], SWEEP).filter("chosen")["learning_rate"][0]}
    share, own = settings.get("train_on", 1), None
    if share < 1:
        own = np.flatnonzero(trained_on(prompts["prompt_id"].to_list(), share))
        say(f"trained on {len(own)} of {prompts.height} prompts")
    pairs = signal = None
    if p["preferences"]:
        (table,), encoder = files("preferences"), next(iter(files("encoder")), None)
        given = {"table": table, "features": files("features"), "encoder": encoder, "device": device}
        pairs, signal = learned(p["run"], p["preferences"], samples, **given)
    tokenizer = load_tokenizer(base, p["trust_remote_code"])
    folder = Path(snakemake.output.folder)
    with scratch(folder) as work:
        task = Task(
            settings=settings,
            base=base,
            sent=encode(prompts["text"].to_list(), tokenizer, p["template"]),
            prompts=prompts["prompt"].to_list(),
            law=SamplingLaw(p["sampling"]["temperature"], p["sampling"]["top_p"]),
            longest=p["sampling"]["max_new_tokens"],
            reward=StandardReward.of(p["terms"], read, raw, p["ensemble"]),
            samples=samples.group_by("prompt_id", maintain_order=True).agg("token_ids")["token_ids"].to_list(),
            tokenizer=tokenizer,
            template=p["template"],
            stop=stop_tokens(base, tokenizer),
            scratch=work,
            trust_remote_code=p["trust_remote_code"],
            pairs=pairs,
            signal=signal,
            trained_on=own,
        )
        say(f"{p['labels']['policy']}: {task.steps} steps of {task.batch} (loading the model: ~20 s)")
        start, cpu = time.perf_counter(), time.process_time()
        rate = {"rate": settings["learning_rate"]} if sweep else {}
        stamp = digest({"settings": p, "code": snakemake.params.code} | rate)
        rows = train(task, folder, folder.parent / "checkpoint.pt", stamp)
    how = ending(rows, settings)
    say(f"{p['labels']['policy']}: {phrase(how['ended'], how['steps'])}")
    figures = how | {
        "learning_rate": settings["learning_rate"],
        "seconds": round(time.perf_counter() - start, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
    }
    more = {"ended": how["ended"], "learning_rate": settings["learning_rate"]}
    labels = [pl.lit(value).alias(key) for key, value in (p["labels"] | more).items()]
    made = provenance(snakemake, ["torch", "transformers", "trl", "peft"], run=figures)
    write_table(pl.DataFrame(rows).with_columns(labels), snakemake.output.curves, CURVES, made)
