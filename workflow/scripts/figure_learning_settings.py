"""Draw the distance to the target against how far the data depart from the model, setting by setting."""

from alignment_limits.jobs.job import job
from alignment_limits.report.figures.learning import learning_settings
from alignment_limits.report.figures.style import Look, save
from alignment_limits.tables.artifacts import read_table
from alignment_limits.tables.schemas.learning import LEARNING_SUMMARY

with job(snakemake):
    p = snakemake.params.p
    look = Look.of(p)
    table = read_table(snakemake.input.summary, LEARNING_SUMMARY)
    save(learning_settings(table, look, p["objectives"]), look, snakemake.output.pdf, snakemake.output.png)
