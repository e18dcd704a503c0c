"""Draw what proxies of every quality and ensembles of them cost."""

from alignment_limits.jobs.job import job
from alignment_limits.report.figures.proxies import proxy_quality
from alignment_limits.report.figures.style import Look, save
from alignment_limits.tables.artifacts import read_table
from alignment_limits.tables.schemas.learning import PROXIES, PROXY_ENSEMBLES

with job(snakemake):
    look = Look.of(snakemake.params.p)
    singles = read_table(snakemake.input.proxies, PROXIES)
    groups = read_table(snakemake.input.ensembles, PROXY_ENSEMBLES)
    figure = proxy_quality(singles, groups, look, beta=snakemake.params.p["beta"])
    save(figure, look, snakemake.output.pdf, snakemake.output.png)
