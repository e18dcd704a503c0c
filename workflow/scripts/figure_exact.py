"""Draw exact values and estimates of one reward."""

from alignment_limits.jobs.job import job
from alignment_limits.report.figures.exact import exact
from alignment_limits.report.figures.style import Look, save
from alignment_limits.tables.artifacts import read_table
from alignment_limits.tables.schemas.learning import EXACT_BEST_OF_N, EXACT_FRONTIER, EXACT_OF_POLICIES

with job(snakemake):
    look, files = Look.of(snakemake.params.p), snakemake.input
    policies = files.get("policies") and read_table(files.policies, EXACT_OF_POLICIES)
    frontier, best_of_n = read_table(files.frontier, EXACT_FRONTIER), read_table(files.best_of_n, EXACT_BEST_OF_N)
    figure = exact(frontier, best_of_n, policies, look, evaluated=snakemake.params.p["evaluated"])
    save(figure, look, snakemake.output.pdf, snakemake.output.png)
