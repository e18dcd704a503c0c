"""The answers, the figure of the frontier and the verdicts as the first page of the report."""

import json
from pathlib import Path

from alignment_limits.jobs.job import job
from alignment_limits.report.pages.headline import first_page
from alignment_limits.report.pages.page import write_page
from alignment_limits.tables.artifacts import read_table
from alignment_limits.tables.schemas.limits import POLICIES

with job(snakemake):
    given = snakemake.input
    found = json.loads(Path(given.findings).read_text("utf-8"))
    placed = read_table(given.policies, POLICIES) if given.get("policies") else None
    png = Path(given.figure).read_bytes()
    write_page(first_page(found, png, placed, snakemake.params.p["gold"]), snakemake.output.rst)
