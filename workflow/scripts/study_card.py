"""The study card: settings, seeds, versions and provenance of every kind of table."""

from alignment_limits.artifacts import read_provenance
from alignment_limits.report.page import write_page
from alignment_limits.report.study_card import study_card
from alignment_limits.scripting import job

with job(snakemake):
    made = {str(file): read_provenance(file) for file in snakemake.input.tables}
    write_page(study_card(snakemake.params.p["study"], made), snakemake.output.html)
