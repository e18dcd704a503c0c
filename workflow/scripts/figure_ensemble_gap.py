"""Draw the cost of a wrong reward against the size of an ensemble."""

from alignment_limits.artifacts import read_table
from alignment_limits.figures.ensemble_gap import ensemble_gap
from alignment_limits.figures.style import Look, save
from alignment_limits.schemas.limits import ENSEMBLES
from alignment_limits.scripting import job

with job(snakemake):
    p = snakemake.params.p
    look = Look.of(p)
    table = read_table(snakemake.input.ensembles, ENSEMBLES)
    figure = ensemble_gap(table, look, beta=p["beta"])
    save(figure, look, snakemake.output.pdf, snakemake.output.png)
