"""How many prompts and samples a study needs, with this one as its pilot."""

import polars as pl

from alignment_limits.artifacts import read_table, write_table
from alignment_limits.grid import reward_arrays
from alignment_limits.limits.planner import plan
from alignment_limits.schemas.ensembles import STANDARDISED
from alignment_limits.schemas.limits import PLAN
from alignment_limits.scripting import job, provenance, say

with job(snakemake):
    p = snakemake.params.p
    gold = reward_arrays(read_table(snakemake.input.standardised, STANDARDISED), [p["gold"]])[p["gold"]]
    needs = plan(gold, p["kls"], half_width=p["half_width"], seed=p["seed"])
    table = pl.DataFrame(needs.columns())
    say(f"for a 95% interval of ±{p['half_width']:.0%} of the limit of {p['gold']}:")
    for row in table.iter_rows(named=True):
        need = f"{row['prompts']:.0f} prompts × {row['samples']:.0f} samples" if row["prompts"] > 0 else row["reason"]
        say(f"  KL {row['kl']:g}: {need}")
    write_table(table, snakemake.output.plan, PLAN, provenance(snakemake))
