"""Train one proxy reward on gold labels of prompts that the study does not use."""

import json

import numpy as np
import polars as pl
from safetensors.numpy import save_file

from alignment_limits.files import atomic
from alignment_limits.jobs.job import job, provenance, say
from alignment_limits.tables.artifacts import read_table, read_tables
from alignment_limits.tables.schemas.samples import FEATURES, PROMPTS, SCORES
from alignment_limits.training.proxies import fit_proxy, held_out, training_arrays

with job(snakemake):
    training = pl.concat([read_table(file, PROMPTS) for file in snakemake.input.prompts])
    prompts = held_out(training, read_table(snakemake.input.evaluation, PROMPTS))
    features = read_tables(snakemake.input.features, FEATURES)
    x, gold, prompt = training_arrays(features, read_tables(snakemake.input.gold, SCORES), prompts)
    head = fit_proxy(x, gold, prompt, **snakemake.params.p)
    say(f"{snakemake.wildcards.scorer}: error {head.held_out:.3g} on held-out labels, penalty {head.penalty:.2g}")
    figures = {"held_out": head.held_out, "penalty": head.penalty, "prompts": prompts.height, "samples": len(gold)}
    metadata = {"alignment_limits": json.dumps(provenance(snakemake, run=figures), sort_keys=True)}
    with atomic(snakemake.output.head) as temporary:
        save_file({"weight": head.weight, "bias": np.array([head.bias])}, temporary, metadata)
