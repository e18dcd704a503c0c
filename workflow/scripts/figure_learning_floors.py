"""Draw the distance to the target at fixed coefficients, and the floors that closed forms give."""

from alignment_limits.jobs.job import job
from alignment_limits.report.figures.learning import learning_floors
from alignment_limits.report.figures.style import Look, save
from alignment_limits.tables.artifacts import read_table
from alignment_limits.tables.schemas.learning import LEARNING_SUMMARY, SLOPES

with job(snakemake):
    p = snakemake.params.p
    look = Look.of(p)
    table = read_table(snakemake.input.summary, LEARNING_SUMMARY)
    floors = read_table(snakemake.input.slopes, SLOPES)
    save(learning_floors(table, floors, look, p["objectives"]), look, snakemake.output.pdf, snakemake.output.png)
