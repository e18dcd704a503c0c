"""Draw the distance to the target at fixed coefficients, and the floors that closed forms give."""

from alignment_limits.artifacts import read_table
from alignment_limits.figures.learning_floors import learning_floors
from alignment_limits.figures.style import Look, save
from alignment_limits.schemas.learning import LEARNING_SUMMARY, SLOPES
from alignment_limits.scripting import job

with job(snakemake):
    p = snakemake.params.p
    look = Look.of(p)
    table = read_table(snakemake.input.summary, LEARNING_SUMMARY)
    floors = read_table(snakemake.input.slopes, SLOPES)
    save(learning_floors(table, floors, look, p["objectives"]), look, snakemake.output.pdf, snakemake.output.png)
