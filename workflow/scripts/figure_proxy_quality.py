"""Draw what proxies of every quality and ensembles of them cost."""

from alignment_limits.artifacts import read_table
from alignment_limits.figures.proxy_quality import proxy_quality
from alignment_limits.figures.style import Look, save
from alignment_limits.schemas.proxies import PROXIES, PROXY_ENSEMBLES
from alignment_limits.scripting import job

with job(snakemake):
    look = Look.of(snakemake.params.p)
    singles = read_table(snakemake.input.proxies, PROXIES)
    groups = read_table(snakemake.input.ensembles, PROXY_ENSEMBLES)
    figure = proxy_quality(singles, groups, look, beta=snakemake.params.p["beta"])
    save(figure, look, snakemake.output.pdf, snakemake.output.png)
