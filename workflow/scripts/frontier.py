"""The KL-reward frontier of every reward and ensemble, evaluated on itself and on gold."""

import numpy as np
import polars as pl

from alignment_limits.jobs.job import job, provenance
from alignment_limits.limits.frontier import frontier
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.grid import prompt_clusters, prompt_keys, reward_arrays
from alignment_limits.tables.schemas.limits import FRONTIER, STANDARDISED

with job(snakemake):
    p = snakemake.params.p
    names = [*dict.fromkeys([p["gold"], *p["optimized"]])]
    standardised = read_table(snakemake.input.standardised, STANDARDISED)
    scores = reward_arrays(standardised, names)
    keys, clusters = prompt_keys(standardised), prompt_clusters(standardised)
    log_m = float(np.log(np.isfinite(scores[p["gold"]]).sum(1)).mean())
    rows = []
    for optimized in p["optimized"]:
        evaluated = {name: scores[name] for name in dict.fromkeys([optimized, p["gold"]])}
        for budget in ("average", "per-prompt"):
            tables = frontier(
                scores[optimized],
                evaluated,
                betas=p["betas"],
                kls=p["kls"],
                budget=budget,
                replicates=p["bootstrap"],
                seed=p["seed"],
                keys=keys,
                clusters=clusters,
            )
            for name, table in tables.items():
                rows.append(
                    pl.DataFrame(table.columns()).with_columns(
                        optimized=pl.lit(optimized), evaluated=pl.lit(name), log_m=pl.lit(log_m)
                    )
                )
    write_table(pl.concat(rows), snakemake.output.frontier, FRONTIER, provenance(snakemake, ["numba"]))
