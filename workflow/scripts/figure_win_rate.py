"""Draw the win rate of best-of-n and its relatives against KL."""

from alignment_limits.jobs.job import job
from alignment_limits.report.figures.style import Look, save
from alignment_limits.report.figures.win_rate import win_rate
from alignment_limits.tables.artifacts import read_table
from alignment_limits.tables.schemas.limits import BEST_OF_N

with job(snakemake):
    p = snakemake.params.p
    look = Look.of(p)
    table = read_table(snakemake.input.best_of_n, BEST_OF_N)
    figure = win_rate(table, look, proxies=p["proxies"], ensembles=p["ensembles"])
    save(figure, look, snakemake.output.pdf, snakemake.output.png)
