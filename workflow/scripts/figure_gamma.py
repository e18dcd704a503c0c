"""Draw γ estimated from preferences."""

from alignment_limits.artifacts import read_table
from alignment_limits.figures.gamma import gamma_estimates
from alignment_limits.figures.style import Look, save
from alignment_limits.schemas.learning import GAMMA
from alignment_limits.scripting import job

with job(snakemake):
    p = snakemake.params.p
    look = Look.of({"figures": p["figures"]})
    table = read_table(snakemake.input.gamma[0], GAMMA)
    save(gamma_estimates(table, look, truth=p["gamma"]), look, snakemake.output.pdf, snakemake.output.png)
