"""Best-of-n (and by single rewards its relatives) evaluated on the selecting reward and on gold, against the limit."""

import numpy as np
import polars as pl

from alignment_limits.artifacts import read_table, write_table
from alignment_limits.grid import prompt_keys, reward_arrays
from alignment_limits.limits.bestofn import best_of_n_choice
from alignment_limits.limits.laws import choose
from alignment_limits.limits.methods import compare, join
from alignment_limits.limits.relatives import relatives
from alignment_limits.schemas.ensembles import STANDARDISED
from alignment_limits.schemas.limits import BEST_OF_N
from alignment_limits.scripting import job, provenance

with job(snakemake):
    p = snakemake.params.p
    standardised = read_table(snakemake.input.standardised, STANDARDISED)
    scores = reward_arrays(standardised, [*dict.fromkeys([p["gold"], *p["optimized"]])])
    draws = {"seed": p["seed"], "keys": prompt_keys(standardised)}
    rows = []
    for optimized in p["optimized"]:
        own = scores[optimized]
        evaluated = {name: scores[name] for name in dict.fromkeys([optimized, p["gold"]])}
        choices = [best_of_n_choice(own, evaluated, np.array(p["best_of"]), **draws)]
        if optimized in p["relatives_of"]:
            laws = relatives(own, p["best_of"], p["soft_temperatures"], p["pessimism_betas"])
            choices += [choose(laws, own, evaluated, **draws)] if laws else []
        for budget in ("average", "per-prompt"):
            tables = compare(join(choices), own, evaluated, budget=budget, replicates=p["bootstrap"], **draws)
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
