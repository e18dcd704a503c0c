"""Fit proxies of many qualities and ensembles of many sizes, from existing features."""

import numpy as np
import polars as pl

from alignment_limits.jobs.job import job, provenance
from alignment_limits.tables.artifacts import read_table, read_tables, write_table
from alignment_limits.tables.grid import Grid, prompt_clusters, prompt_keys
from alignment_limits.tables.schemas.limits import PROXIES, PROXY_ENSEMBLES, PROXY_ONSETS
from alignment_limits.tables.schemas.samples import FEATURES, PROMPTS, SCORES, STANDARDISED
from alignment_limits.training.proxies import held_out, training_arrays
from alignment_limits.training.proxy_sweep import ensembles, fit_members, onsets, proxies

with job(snakemake):
    p = snakemake.params.p
    prompts = pl.concat([read_table(file, PROMPTS) for file in snakemake.input.training_prompts])
    prompts = held_out(prompts, read_table(snakemake.input.evaluation_prompts, PROMPTS))
    labelled = read_tables(snakemake.input.gold, SCORES)
    training = training_arrays(read_tables(snakemake.input.training, FEATURES), labelled, prompts)

    standardised = read_table(snakemake.input.standardised, STANDARDISED).sort("prompt_id", "sample_id")
    evaluated, gold, _ = training_arrays(
        read_tables(snakemake.input.evaluation, FEATURES),
        standardised.select("prompt_id", "sample_id", score=p["gold"]),
        standardised.select("prompt_id").unique(),
    )
    grid = Grid.of(standardised)
    features = np.full((*grid.shape, evaluated.shape[1]), np.nan)
    features[grid.row, grid.column] = evaluated

    resampled = {"replicates": p["bootstrap"], "seed": p["seed"], "keys": prompt_keys(standardised)}
    resampled["clusters"] = prompt_clusters(standardised)
    common = resampled | {"betas": p["betas"], "at_kl": p["at_kl"]}
    heads = {"noise": p["noise"], "loss": p["loss"], "dimensions": p["dimensions"]}
    truth = grid.array(pl.Series(gold))
    alone = heads | {"dimensions": 1.0}  # a single proxy has no reason to leave features out
    members = {
        n: fit_members(training, features, count=max(p["members"]), shared="neither", labels=n, **alone)
        for n in p["labels"]
    }
    made = provenance(snakemake)
    write_table(proxies(members, truth, **common), snakemake.output.proxies, PROXIES, made)
    write_table(onsets(members, truth, **resampled), snakemake.output.onsets, PROXY_ONSETS, made)
    many = {"sizes": p["members"], "aggregators": p["aggregators"]}
    settings = heads | {"labels": p["ensemble_labels"]}
    groups = ensembles(training, features, truth, **many, settings=settings, **common)
    write_table(groups, snakemake.output.ensembles, PROXY_ENSEMBLES, made)
