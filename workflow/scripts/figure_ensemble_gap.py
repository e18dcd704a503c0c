"""Draw the cost of a wrong reward against the size of an ensemble."""

from alignment_limits.jobs.job import job
from alignment_limits.report.figures.proxies import ensemble_gap
from alignment_limits.report.figures.style import Look, save
from alignment_limits.tables.artifacts import read_table
from alignment_limits.tables.schemas.limits import ENSEMBLES

with job(snakemake):
    p = snakemake.params.p
    look = Look.of(p)
    table = read_table(snakemake.input.ensembles, ENSEMBLES)
    figure = ensemble_gap(table, look, beta=p["beta"])
    save(figure, look, snakemake.output.pdf, snakemake.output.png)
