"""How many prompts and samples a study needs, with this one as its pilot."""

import polars as pl

from alignment_limits.jobs.job import job, provenance, say
from alignment_limits.limits.plan import plan
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.grid import prompt_clusters, prompt_keys, reward_arrays
from alignment_limits.tables.schemas.limits import PLAN, STANDARDISED

with job(snakemake):
    p = snakemake.params.p
    standardised = read_table(snakemake.input.standardised, STANDARDISED)
    gold = reward_arrays(standardised, [p["gold"]])[p["gold"]]
    prompts = {"keys": prompt_keys(standardised), "clusters": prompt_clusters(standardised)}
    needs = plan(gold, p["kls"], half_width=p["half_width"], seed=p["seed"], **prompts)
    table = pl.DataFrame(needs.columns())
    say(f"for a 95% interval of ±{p['half_width']:.0%} of the limit of {p['gold']}:")
    for line in needs.lines():
        say(f"  {line}")
    write_table(table, snakemake.output.plan, PLAN, provenance(snakemake))
