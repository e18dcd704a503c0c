"""Where each policy stands, as a page."""

from alignment_limits.artifacts import read_table
from alignment_limits.report.page import write_page
from alignment_limits.report.policies_page import policies_page
from alignment_limits.schemas.policies import POLICIES
from alignment_limits.scripting import job

with job(snakemake):
    p = snakemake.params.p
    table = read_table(snakemake.input.policies, POLICIES)
    page = policies_page(snakemake.config["study"], table, gold=p["gold"], top_p=p["top_p"])
    write_page(page, snakemake.output.html)
