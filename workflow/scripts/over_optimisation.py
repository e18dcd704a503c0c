"""Where gold peaks as a proxy or an ensemble is optimised ever harder, and Gao's fit, along tilts and best-of-n."""

import polars as pl

from alignment_limits.jobs.job import job, provenance, say
from alignment_limits.limits.over_optimisation import over_optimisation
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.grid import prompt_clusters, prompt_keys, reward_arrays
from alignment_limits.tables.schemas.limits import OVER_OPTIMISATION, STANDARDISED

with job(snakemake):
    p = snakemake.params.p
    standardised = read_table(snakemake.input.standardised, STANDARDISED)
    scores = reward_arrays(standardised, [p["gold"], *p["optimized"]])
    draws = {"replicates": p["bootstrap"], "seed": p["seed"]}
    draws |= {"keys": prompt_keys(standardised), "clusters": prompt_clusters(standardised)}
    rows = []
    for name in p["optimized"]:
        for row in over_optimisation(scores[name], scores[p["gold"]], **draws):
            where = f"at {row['peak']:.2g} {row['unit']}" if row["found"] else f"nowhere: {row['reason']}"
            say(f"{name}, {row['path']}: gold peaks {where}")
            rows.append({"optimized": name, **row})
    table = pl.DataFrame(rows, None if rows else OVER_OPTIMISATION.columns, infer_schema_length=None)
    write_table(table, snakemake.output.table, OVER_OPTIMISATION, provenance(snakemake, ["numba"]))
