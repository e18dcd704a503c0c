"""What the sweep over trained proxies says, as a page."""

from alignment_limits.jobs.job import job, say
from alignment_limits.report.claims.proxies import proxy_claims
from alignment_limits.report.pages.page import write_page
from alignment_limits.report.pages.proxies import proxies_page
from alignment_limits.tables.artifacts import read_table
from alignment_limits.tables.schemas.learning import PROXIES, PROXY_ENSEMBLES, PROXY_ONSETS

with job(snakemake):
    singles = read_table(snakemake.input.proxies, PROXIES)
    onsets = read_table(snakemake.input.onsets, PROXY_ONSETS)
    groups = read_table(snakemake.input.ensembles, PROXY_ENSEMBLES)
    verdicts = proxy_claims(singles, groups)
    for verdict in verdicts:
        say(f"{verdict.claim}: {verdict.verdict}")
    study, gold = snakemake.config["study"], snakemake.params.p["gold"]
    write_page(proxies_page(study, gold, singles, onsets, groups, verdicts), snakemake.output.html)
