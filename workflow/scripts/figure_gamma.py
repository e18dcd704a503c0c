"""Draw γ estimated from preferences."""

from alignment_limits.jobs.job import job
from alignment_limits.report.figures.learning import gamma_estimates
from alignment_limits.report.figures.style import Look, save
from alignment_limits.tables.artifacts import read_table
from alignment_limits.tables.schemas.learning import GAMMA

with job(snakemake):
    p = snakemake.params.p
    look = Look.of({"figures": p["figures"]})
    table = read_table(snakemake.input.gamma[0], GAMMA)
    save(gamma_estimates(table, look, truth=p["gamma"]), look, snakemake.output.pdf, snakemake.output.png)
