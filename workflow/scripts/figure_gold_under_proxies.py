"""Draw what happens to gold when each proxy and each ensemble is optimised."""

from alignment_limits.artifacts import read_table
from alignment_limits.figures.gold_under_proxies import gold_under_proxies
from alignment_limits.figures.style import Look, save
from alignment_limits.schemas.limits import FRONTIER
from alignment_limits.scripting import job

with job(snakemake):
    p = snakemake.params.p
    look = Look.of(p)
    table = read_table(snakemake.input.frontier, FRONTIER)
    figure = gold_under_proxies(table, look, proxies=p["proxies"], ensembles=p["ensembles"])
    save(figure, look, snakemake.output.pdf, snakemake.output.png)
