"""Best-of-n by every reward and ensemble, evaluated on itself and on gold, against the limit."""

import polars as pl

from alignment_limits.artifacts import read_table, write_table
from alignment_limits.grid import reward_arrays
from alignment_limits.limits.bestofn import best_of_n
from alignment_limits.schemas.ensembles import STANDARDISED
from alignment_limits.schemas.limits import BEST_OF_N
from alignment_limits.scripting import job, provenance

with job(snakemake):
    p = snakemake.params.p
    names = [*dict.fromkeys([p["gold"], *p["optimized"]])]
    scores = reward_arrays(read_table(snakemake.input.standardised, STANDARDISED), names)
    rows = []
    for optimized in p["optimized"]:
        evaluated = {name: scores[name] for name in dict.fromkeys([optimized, p["gold"]])}
        for budget in ("average", "per-prompt"):
            tables = best_of_n(
                scores[optimized],
                evaluated,
                ns=p["best_of"],
                budget=budget,
                replicates=p["bootstrap"],
                seed=p["seed"],
            )
            for name, table in tables.items():
                rows.append(
                    pl.DataFrame(table.columns()).with_columns(
                        optimized=pl.lit(optimized),
                        evaluated=pl.lit(name),
                        temperature=pl.lit(None, dtype=pl.Float64),
                    )
                )
    write_table(pl.concat(rows), snakemake.output.best_of_n, BEST_OF_N, provenance(snakemake, ["numba"]))
