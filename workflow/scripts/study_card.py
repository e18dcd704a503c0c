"""Write the study card: settings, seeds, versions and provenance of every kind of table."""

import json
from pathlib import Path

from alignment_limits.jobs.job import job
from alignment_limits.report.pages.page import study_card, write_page
from alignment_limits.tables.artifacts import read_provenance

with job(snakemake):
    made = {str(file): read_provenance(file) for file in snakemake.input.tables}
    tried = [json.loads(Path(file).read_text("utf-8")) for file in snakemake.input.get("preflights") or []]
    write_page(study_card(snakemake.params.p["study"], made, *tried), snakemake.output.html)
