"""How estimates agree with exact values, as a page."""

from alignment_limits.jobs.job import job
from alignment_limits.report.pages.exact import exact_page
from alignment_limits.report.pages.page import write_page
from alignment_limits.tables.artifacts import read_table
from alignment_limits.tables.schemas.learning import EXACT_BEST_OF_N, EXACT_FRONTIER, EXACT_OF_POLICIES

with job(snakemake):
    contracts = {"frontier": EXACT_FRONTIER, "best_of_n": EXACT_BEST_OF_N, "policies": EXACT_OF_POLICIES}
    files = {name: snakemake.input.get(name) for name in contracts}
    tables = {name: read_table(file, contracts[name]) for name, file in files.items() if file}
    write_page(exact_page(snakemake.config["study"], tables, gold=snakemake.params.p["gold"]), snakemake.output.html)
