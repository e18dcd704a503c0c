"""What tilting by a proxy or an ensemble instead of gold costs, at each β."""

import polars as pl

from alignment_limits.jobs.job import job, provenance
from alignment_limits.limits.proxy_gap import proxy_gap
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.grid import prompt_clusters, prompt_keys, reward_arrays
from alignment_limits.tables.schemas.limits import PROXY_GAP, STANDARDISED

with job(snakemake):
    p = snakemake.params.p
    table = read_table(snakemake.input.standardised, STANDARDISED)
    scores = reward_arrays(table, [p["gold"], *p["optimized"]])
    gold = scores[p["gold"]]
    draws = {"replicates": p["bootstrap"], "seed": p["seed"]}
    draws |= {"keys": prompt_keys(table), "clusters": prompt_clusters(table)}
    rows = []
    for name in p["optimized"]:
        gap = proxy_gap(scores[name], gold, betas=p["betas"], **draws)
        rows.append(pl.DataFrame(gap.columns()).with_columns(optimized=pl.lit(name)))
    found = pl.concat(rows) if rows else pl.DataFrame(schema=PROXY_GAP.columns)  # gold alone has no gap
    write_table(found, snakemake.output.proxy_gap, PROXY_GAP, provenance(snakemake, ["numba"]))
