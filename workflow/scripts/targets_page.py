"""How far each policy is from the target, and what the paper's claims come to, as a page."""

from alignment_limits.jobs.job import job, say
from alignment_limits.policies.target import chosen, distances, main_setting
from alignment_limits.report.claims.targets import target_claims
from alignment_limits.report.pages.page import write_page
from alignment_limits.report.pages.policies import targets_page
from alignment_limits.tables.artifacts import read_table
from alignment_limits.tables.schemas.learning import EXACT_TARGETS, TARGETS

with job(snakemake):
    p, files = snakemake.params.p, snakemake.input
    targets = read_table(files.targets, TARGETS)
    exact = read_table(files.exact, EXACT_TARGETS) if files.exact else None
    verdicts = target_claims(chosen(main_setting(distances(targets, exact))))
    for verdict in verdicts:
        say(f"{verdict.claim}: {verdict.verdict}")
    write_page(targets_page(p["study"], targets, exact, verdicts), snakemake.output.html)
