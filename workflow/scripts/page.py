"""Write one page of report/pages/table.py."""

from alignment_limits.jobs.job import job, say
from alignment_limits.report.pages.page import write_page
from alignment_limits.report.pages.table import make

with job(snakemake):
    p, files = snakemake.params, dict(snakemake.input.items())
    page, verdicts = make(p.page, snakemake.config["study"], files, p.p)
    for verdict in verdicts:
        say(f"{verdict.claim}: {verdict.verdict}")
    write_page(page, snakemake.output.html)
