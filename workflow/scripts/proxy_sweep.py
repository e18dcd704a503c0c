"""Proxies of every quality and ensembles of every size, from features that are there already."""

import numpy as np
import polars as pl

from alignment_limits.artifacts import read_table, read_tables, write_table
from alignment_limits.grid import Grid, prompt_keys
from alignment_limits.proxies.sweep import ensembles, proxies
from alignment_limits.proxies.tables import held_out, training_arrays
from alignment_limits.schemas.ensembles import STANDARDISED
from alignment_limits.schemas.prompts import PROMPTS
from alignment_limits.schemas.proxies import FEATURES, PROXIES, PROXY_ENSEMBLES
from alignment_limits.schemas.scores import SCORES
from alignment_limits.scripting import job, provenance

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

    common = {
        "betas": p["betas"],
        "at_kl": p["at_kl"],
        "replicates": p["bootstrap"],
        "seed": p["seed"],
        "keys": prompt_keys(standardised),
    }
    heads = {"noise": p["noise"], "loss": p["loss"], "dimensions": p["dimensions"]}
    where = training, features, grid.array(pl.Series(gold))
    alone = heads | {"dimensions": 1.0}  # a single proxy has no reason to leave features out
    singles = proxies(*where, labels=p["labels"], count=max(p["members"]), settings=alone, **common)
    write_table(singles, snakemake.output.proxies, PROXIES, provenance(snakemake))
    many = {"sizes": p["members"], "aggregators": p["aggregators"]}
    groups = ensembles(*where, **many, settings=heads | {"labels": p["ensemble_labels"]}, **common)
    write_table(groups, snakemake.output.ensembles, PROXY_ENSEMBLES, provenance(snakemake))
