"""What tilting by a proxy or an ensemble instead of gold costs, at each β, and where gold peaks on the way."""

import polars as pl

from alignment_limits.artifacts import read_table, write_table
from alignment_limits.grid import reward_arrays
from alignment_limits.limits.gaps import proxy_gap
from alignment_limits.limits.onset import hacking_onset
from alignment_limits.schemas.ensembles import STANDARDISED
from alignment_limits.schemas.limits import PROXY_GAP
from alignment_limits.scripting import job, provenance, say

with job(snakemake):
    p = snakemake.params.p
    table = read_table(snakemake.input.standardised, STANDARDISED)
    scores = reward_arrays(table, [p["gold"], *p["optimized"]])
    gold = scores[p["gold"]]
    settings = {"replicates": p["bootstrap"], "seed": p["seed"]}
    rows = []
    for name in p["optimized"]:
        gap = proxy_gap(scores[name], gold, betas=p["betas"], **settings)
        onset = hacking_onset(scores[name], gold, **settings)
        say(
            f"{name}: gold peaks at KL {onset.at:.2g}"
            if onset.found
            else f"{name}: gold does not peak ({onset.reason})"
        )
        rows.append(
            pl.DataFrame(gap.columns()).with_columns(
                optimized=pl.lit(name),
                onset_kl=pl.lit(onset.at),
                onset_low=pl.lit(onset.low),
                onset_high=pl.lit(onset.high),
                onset_reason=pl.lit(onset.reason),
            )
        )
    write_table(pl.concat(rows), snakemake.output.proxy_gap, PROXY_GAP, provenance(snakemake, ["numba"]))
