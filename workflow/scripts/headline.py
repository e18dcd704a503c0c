"""The headline numbers as a table, and with the verdicts on the paper's claims as a page."""

from alignment_limits.artifacts import read_table, write_table
from alignment_limits.report.agreement import within_prompt_spearman
from alignment_limits.report.claims import claims
from alignment_limits.report.headline import headline
from alignment_limits.report.headline_page import headline_page
from alignment_limits.report.page import write_page
from alignment_limits.scripting import job, provenance, say

with job(snakemake):
    p, study = snakemake.params.p, snakemake.config["study"]
    tables = {k: read_table(snakemake.input[k], k) for k in ("frontier", "best_of_n", "scales", "standardised")}
    summary = read_table(snakemake.input.summary, "samples_summary")
    names = {"gold": p["gold"], "proxies": p["proxies"]}
    others = [*p["proxies"], *p["ensembles"]]
    members = {name: snakemake.config["ensembles"][name]["members"] for name in p["ensembles"]}
    agreement = within_prompt_spearman(tables["standardised"], p["gold"], others)
    measured = tables["frontier"], tables["best_of_n"], agreement
    numbers = headline(*measured, tables["scales"], summary, **names, ensembles=list(p["ensembles"]))
    verdicts = claims(*measured, **names, members=members)
    for verdict in verdicts:
        say(f"{verdict.claim}: {verdict.verdict}")
    write_table(numbers, snakemake.output.table, "headline", provenance(snakemake))
    write_page(headline_page(study, numbers, verdicts, p["notes"]), snakemake.output.html)
