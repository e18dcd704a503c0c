"""Draw how far policies are from the target against the number of pairs."""

from alignment_limits.jobs.job import job
from alignment_limits.policies.target import chosen, distances, main_setting
from alignment_limits.report.figures.style import Look, save
from alignment_limits.report.figures.targets import targets
from alignment_limits.tables.artifacts import read_table
from alignment_limits.tables.schemas.learning import EXACT_TARGETS, TARGETS

with job(snakemake):
    files, look = snakemake.input, Look.of(snakemake.params.p)
    exact = read_table(files.exact, EXACT_TARGETS) if files.exact else None
    rows = chosen(main_setting(distances(read_table(files.targets, TARGETS), exact)))
    save(targets(rows, look), look, snakemake.output.pdf, snakemake.output.png)
