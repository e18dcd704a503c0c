"""Where each policy stands, as a page."""

from alignment_limits.jobs.job import job
from alignment_limits.report.pages.page import write_page
from alignment_limits.report.pages.policies import policies_page
from alignment_limits.tables.artifacts import read_table
from alignment_limits.tables.schemas.limits import POLICIES

with job(snakemake):
    p = snakemake.params.p
    table = read_table(snakemake.input.policies, POLICIES)
    page = policies_page(snakemake.config["study"], table, gold=p["gold"], top_p=p["top_p"])
    write_page(page, snakemake.output.html)
