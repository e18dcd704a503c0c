"""Take the distance of each trained policy from its optimum apart."""

import polars as pl

from alignment_limits.jobs.job import job, provenance, say
from alignment_limits.limits.bootstrap import PromptBootstrap
from alignment_limits.policies.gap import Trained, gaps, tilts_of
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.grid import prompt_clusters, prompt_keys, reward_arrays
from alignment_limits.tables.schemas.limits import BY_PROMPT, EXACT_OF_POLICIES, GAP, POLICIES
from alignment_limits.tables.schemas.samples import STANDARDISED

with job(snakemake):
    p, files = snakemake.params.p, snakemake.input
    standardised = read_table(files.standardised, STANDARDISED)
    base = reward_arrays(standardised, [*p["rewards"], *p["ensembles"]])
    keys, clusters = prompt_keys(standardised), prompt_clusters(standardised)
    draws = {"replicates": p["bootstrap"], "seed": p["seed"], "keys": keys, "clusters": clusters}
    placed = read_table(files.policies, POLICIES)
    ended = dict(placed.select("policy", "ended").iter_rows())
    policies = [Trained(name, ended=ended[name], **run) for name, run in p["runs"].items()]
    tilts = tilts_of(policies, base, **draws)
    exact = {}
    if "exact" in files.keys():  # noqa: SIM118 (a list with names)
        known = read_table(files.exact, EXACT_OF_POLICIES).filter(
            (pl.col("quantity") == "objective_gap") & (pl.col("optimized") == pl.col("evaluated"))
        )
        exact = dict(known.select("policy", "exact").iter_rows())
    boot = PromptBootstrap(len(keys), **draws)
    table = gaps(
        policies, read_table(files.by_prompt, BY_PROMPT), tilts, boot, same_optimum=p["same_optimum"], exact=exact
    )
    for row in table.filter(pl.col("part") == "total").iter_rows(named=True):
        say(f"{row['policy']}: {row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}] below the tilt at its β")
    write_table(table, snakemake.output.gap, GAP, provenance(snakemake, ["numba"]))
