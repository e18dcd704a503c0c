"""Draw gold along both paths of optimising each proxy, Gao's fits, and where gold peaks."""

from alignment_limits.jobs.job import job
from alignment_limits.report.figures.over_optimisation import over_optimisation
from alignment_limits.report.figures.style import Look, save
from alignment_limits.tables.artifacts import read_table
from alignment_limits.tables.schemas.limits import BEST_OF_N, FRONTIER, OVER_OPTIMISATION

with job(snakemake):
    p = snakemake.params.p
    look = Look.of(p)
    schemas = {"over_optimisation": OVER_OPTIMISATION, "frontier": FRONTIER, "best_of_n": BEST_OF_N}
    tables = [read_table(snakemake.input[name], schema) for name, schema in schemas.items()]
    figure = over_optimisation(*tables, look, proxies=p["proxies"], ensembles=p["ensembles"])
    save(figure, look, snakemake.output.pdf, snakemake.output.png)
