"""Best-of-n (and by single rewards its relatives) evaluated on the selecting reward and on gold, against the limit."""

import polars as pl

from alignment_limits.jobs.job import job, provenance
from alignment_limits.limits.compare import compare
from alignment_limits.limits.relatives import study_choice
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.grid import prompt_clusters, prompt_keys, reward_arrays
from alignment_limits.tables.schemas.limits import BEST_OF_N, STANDARDISED

with job(snakemake):
    p = snakemake.params.p
    standardised = read_table(snakemake.input.standardised, STANDARDISED)
    scores = reward_arrays(standardised, [*dict.fromkeys([p["gold"], *p["optimized"]])])
    draws = {"seed": p["seed"], "keys": prompt_keys(standardised)}
    clusters = prompt_clusters(standardised)
    rows = []
    for optimized in p["optimized"]:
        own = scores[optimized]
        evaluated = {name: scores[name] for name in dict.fromkeys([optimized, p["gold"]])}
        wanted = {"temperatures": p["soft_temperatures"], "betas": p["pessimism_betas"]}
        choice = study_choice(
            own, evaluated, ns=p["best_of"], relatives=optimized in p["relatives_of"], **wanted, **draws
        )
        for budget in ("average", "per-prompt"):
            tables = compare(
                choice, own, evaluated, budget=budget, replicates=p["bootstrap"], clusters=clusters, **draws
            )
            for name, table in tables.items():
                rows.append(
                    pl.DataFrame(table.columns()).with_columns(
                        # null where a method has no such setting
                        pl.col("n", "temperature").fill_nan(None),
                        optimized=pl.lit(optimized),
                        evaluated=pl.lit(name),
                    )
                )
    write_table(pl.concat(rows), snakemake.output.best_of_n, BEST_OF_N, provenance(snakemake, ["numba"]))
