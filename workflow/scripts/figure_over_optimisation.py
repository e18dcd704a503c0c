"""Draw gold under best-of-n by each proxy, Gao's fits and the stopping points."""

from alignment_limits.artifacts import read_table
from alignment_limits.figures.over_optimisation import over_optimisation
from alignment_limits.figures.style import Look, save
from alignment_limits.schemas.limits import BEST_OF_N, OVER_OPTIMISATION
from alignment_limits.scripting import job

with job(snakemake):
    p = snakemake.params.p
    look = Look.of(p)
    fits = read_table(snakemake.input.over_optimisation, OVER_OPTIMISATION)
    points = read_table(snakemake.input.best_of_n, BEST_OF_N)
    figure = over_optimisation(fits, points, look, proxies=p["proxies"], ensembles=p["ensembles"])
    save(figure, look, snakemake.output.pdf, snakemake.output.png)
