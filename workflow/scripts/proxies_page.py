"""What the sweep over trained proxies says, as a page."""

from alignment_limits.artifacts import read_table
from alignment_limits.report.page import write_page
from alignment_limits.report.proxies_page import proxies_page
from alignment_limits.report.proxy_claims import proxy_claims
from alignment_limits.schemas.proxies import PROXIES, PROXY_ENSEMBLES
from alignment_limits.scripting import job, say

with job(snakemake):
    singles = read_table(snakemake.input.proxies, PROXIES)
    groups = read_table(snakemake.input.ensembles, PROXY_ENSEMBLES)
    verdicts = proxy_claims(singles, groups)
    for verdict in verdicts:
        say(f"{verdict.claim}: {verdict.verdict}")
    study = snakemake.config["study"]
    write_page(proxies_page(study, snakemake.params.p["gold"], singles, groups, verdicts), snakemake.output.html)
