"""Draw what happens to gold when each proxy and each ensemble is optimised."""

from alignment_limits.jobs.job import job
from alignment_limits.report.figures.proxies import gold_under_proxies
from alignment_limits.report.figures.style import Look, save
from alignment_limits.tables.artifacts import read_table
from alignment_limits.tables.schemas.limits import FRONTIER

with job(snakemake):
    p = snakemake.params.p
    look = Look.of(p)
    table = read_table(snakemake.input.frontier, FRONTIER)
    figure = gold_under_proxies(table, look, proxies=p["proxies"], ensembles=p["ensembles"])
    save(figure, look, snakemake.output.pdf, snakemake.output.png)
