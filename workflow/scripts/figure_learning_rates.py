"""Draw the distance to the target against the number of pairs, without regularisation and with chosen coefficients."""

from alignment_limits.artifacts import read_table
from alignment_limits.figures.learning_rates import learning_rates
from alignment_limits.figures.style import Look, save
from alignment_limits.schemas.learning import LEARNING_SUMMARY
from alignment_limits.scripting import job

with job(snakemake):
    p = snakemake.params.p
    look = Look.of(p)
    table = read_table(snakemake.input.summary, LEARNING_SUMMARY)
    save(learning_rates(table, look, p["objectives"]), look, snakemake.output.pdf, snakemake.output.png)
