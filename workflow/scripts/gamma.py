"""Estimate γ from preferences and the base's log-probabilities, together with rewards of several classes."""

import numpy as np
import polars as pl

from alignment_limits.jobs.job import job, provenance
from alignment_limits.preferences.fits import pair_design, pair_wins, profile_gamma
from alignment_limits.preferences.pairs import draw_wins, draw_world, preferences
from alignment_limits.tables.artifacts import write_table
from alignment_limits.tables.schemas.limits import GAMMA

with job(snakemake):
    p = snakemake.params.p
    world_of = p["world"]
    rows = []
    for seed in range(p["seeds"]):
        world = draw_world(world_of, np.random.default_rng([p["seed"], seed]), tilt=True)
        table = preferences(world.log_target, gamma=world_of["gamma"])
        drawn = [draw_wins(table, world.log_base, n, np.random.default_rng([p["seed"], seed, n])) for n in p["n"]]
        base = pair_design(world.log_base[..., None])[:, 0]
        won, lost = pair_wins(np.stack(drawn).astype(float))
        for dimension in p["estimate_gamma"]:
            fit = profile_gamma(base, pair_design(world.features[..., :dimension]), won, lost)
            rows.append(pl.DataFrame({"n": p["n"], **fit._asdict()}).with_columns(seed=seed, dimension=dimension))
    write_table(pl.concat(rows), snakemake.output.gamma, GAMMA, provenance(snakemake, ["scipy"]))
