"""Fine-tune a sequence classifier on gold-labelled pairs of samples, of prompts that the study does not use."""

import os

from alignment_limits.jobs.leases import prepare

prepare(snakemake)  # before torch is imported
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # all models are local folders by now

from pathlib import Path

import numpy as np
import polars as pl

from alignment_limits.files import scratch, write_json
from alignment_limits.jobs.job import job, provenance, say
from alignment_limits.rewards.load import read_beside
from alignment_limits.tables.artifacts import KEY, read_table, read_tables
from alignment_limits.tables.schemas.samples import PROMPTS, SAMPLES, SCORES
from alignment_limits.training.fine_tune import fine_tune
from alignment_limits.training.proxies import held_out, preferences

with job(snakemake):
    p, folder = snakemake.params.p, Path(snakemake.output.folder)
    training = pl.concat([read_table(file, PROMPTS) for file in snakemake.input.prompts])
    prompts = held_out(training, read_table(snakemake.input.evaluation, PROMPTS))
    samples = read_tables(snakemake.input.samples, SAMPLES).select(*KEY, "text")
    scores = read_tables(snakemake.input.gold, SCORES).select(*KEY, "score")
    table = samples.join(scores, on=KEY, validate="1:1").join(prompts, on="prompt_id", how="semi").sort(KEY)
    _, number = np.unique(table["prompt_id"].to_numpy().astype(str), return_inverse=True)
    drawn = {key: p[key] for key in ("labels", "noise", "seed")}
    better, worse = preferences(table["score"].to_numpy(), number, **drawn)
    read = read_beside({}, prompts)
    texts = [(read[prompt_id], text) for prompt_id, text in table.select("prompt_id", "text").iter_rows()]
    say(f"{snakemake.wildcards.scorer}: {len(better)} pairs of {prompts.height} prompts, {p['epochs']} passes")
    with scratch(folder) as work:
        pairs = [texts[i] for i in better], [texts[i] for i in worse]
        told = fine_tune(Path(snakemake.input.start), *pairs, p, folder, work)
    say(f"{told['steps']} steps; final loss {told['loss']:.3f}, accuracy {told['accuracy']:.2f}")
    made = provenance(snakemake, ["torch", "transformers", "trl"], run=told | {"prompts": prompts.height})
    write_json(made, folder / "alignment_limits.json")
