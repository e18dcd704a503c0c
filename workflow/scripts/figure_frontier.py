"""Draw the frontier of the gold reward with best-of-n beside it."""

from alignment_limits.jobs.job import job
from alignment_limits.report.figures.frontier import frontier
from alignment_limits.report.figures.style import Look, save
from alignment_limits.tables.artifacts import read_table
from alignment_limits.tables.schemas.limits import BEST_OF_N, FRONTIER

with job(snakemake):
    look = Look.of(snakemake.params.p)
    table = read_table(snakemake.input.frontier, FRONTIER)
    points = read_table(snakemake.input.best_of_n, BEST_OF_N)
    # The pooled within-prompt variance of a standardised reward is 1: that is the bound's variance proxy.
    save(frontier(table, points, look, sigma=1.0), look, snakemake.output.pdf, snakemake.output.png)
