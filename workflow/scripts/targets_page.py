"""How far each policy is from the target, and what the paper's claims come to, as a page."""

from alignment_limits.artifacts import read_table
from alignment_limits.policies.distances import chosen, distances, main_setting
from alignment_limits.report.page import write_page
from alignment_limits.report.target_claims import target_claims
from alignment_limits.report.targets_page import targets_page
from alignment_limits.schemas.targets import EXACT_TARGETS, TARGETS
from alignment_limits.scripting import job, say

with job(snakemake):
    p, files = snakemake.params.p, snakemake.input
    targets = read_table(files.targets, TARGETS)
    exact = read_table(files.exact, EXACT_TARGETS) if files.exact else None
    verdicts = target_claims(chosen(main_setting(distances(targets, exact))))
    for verdict in verdicts:
        say(f"{verdict.claim}: {verdict.verdict}")
    write_page(targets_page(p["study"], targets, exact, verdicts), snakemake.output.html)
