"""Draw the distance to the target against how far the data depart from the model, setting by setting."""

from alignment_limits.artifacts import read_table
from alignment_limits.figures.learning_settings import learning_settings
from alignment_limits.figures.style import Look, save
from alignment_limits.schemas.learning import LEARNING_SUMMARY
from alignment_limits.scripting import job

with job(snakemake):
    p = snakemake.params.p
    look = Look.of(p)
    table = read_table(snakemake.input.summary, LEARNING_SUMMARY)
    save(learning_settings(table, look, p["objectives"]), look, snakemake.output.pdf, snakemake.output.png)
