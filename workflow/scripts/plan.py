"""How many prompts and samples a study needs, with this one as its pilot."""

import polars as pl

from alignment_limits.artifacts import read_table, write_table
from alignment_limits.grid import prompt_keys, reward_arrays
from alignment_limits.limits.planner import plan
from alignment_limits.schemas.ensembles import STANDARDISED
from alignment_limits.schemas.limits import PLAN
from alignment_limits.scripting import job, provenance, say

with job(snakemake):
    p = snakemake.params.p
    standardised = read_table(snakemake.input.standardised, STANDARDISED)
    gold = reward_arrays(standardised, [p["gold"]])[p["gold"]]
    needs = plan(gold, p["kls"], half_width=p["half_width"], seed=p["seed"], keys=prompt_keys(standardised))
    table = pl.DataFrame(needs.columns())
    say(f"for a 95% interval of ±{p['half_width']:.0%} of the limit of {p['gold']}:")
    for row in table.iter_rows(named=True):
        need = row["reason"]
        if row["prompts"] > 0:
            ends = f"{row['prompts_low']:.0f} to {row['prompts_high']:.0f}"
            need = f"{row['prompts']:.0f} prompts ({ends}) × {row['samples']:.0f} samples"
        say(f"  KL {row['kl']:g}: {need}")
    write_table(table, snakemake.output.plan, PLAN, provenance(snakemake))
