"""The headline numbers as a table, and with the verdicts on the paper's claims as a page."""

from alignment_limits.artifacts import read_table, write_table
from alignment_limits.report.agreement import within_prompt_spearman
from alignment_limits.report.claims import claims
from alignment_limits.report.headline import headline
from alignment_limits.report.headline_page import headline_page
from alignment_limits.report.page import write_page
from alignment_limits.report.turning import turns_down
from alignment_limits.schemas.ensembles import SCALES, STANDARDISED
from alignment_limits.schemas.limits import BEST_OF_N, FRONTIER, OVER_OPTIMISATION
from alignment_limits.schemas.report import HEADLINE
from alignment_limits.schemas.samples import SAMPLES_SUMMARY
from alignment_limits.scripting import job, provenance, say

with job(snakemake):
    p, study = snakemake.params.p, snakemake.config["study"]
    schemas = {
        "frontier": FRONTIER,
        "best_of_n": BEST_OF_N,
        "over_optimisation": OVER_OPTIMISATION,
        "scales": SCALES,
        "standardised": STANDARDISED,
    }
    tables = {name: read_table(snakemake.input[name], schema) for name, schema in schemas.items()}
    # a study that starts at a table of scores has no samples to describe
    file = snakemake.input.get("summary")
    summary = read_table(file, SAMPLES_SUMMARY) if file else None
    names = {"gold": p["gold"], "proxies": p["proxies"]}
    others = [*p["proxies"], *p["members"]]
    agreement = within_prompt_spearman(tables["standardised"], p["gold"], others)
    curves, turns = (tables["frontier"], tables["best_of_n"]), tables["over_optimisation"]
    rest = agreement, tables["scales"], summary
    numbers = headline(*curves, turns, *rest, **names, ensembles=list(p["members"]))
    verdicts = [*claims(*curves, agreement, **names, members=p["members"]), turns_down(turns, p["proxies"])]
    for verdict in verdicts:
        say(f"{verdict.claim}: {verdict.verdict}")
    write_table(numbers, snakemake.output.table, HEADLINE, provenance(snakemake))
    write_page(headline_page(study, numbers, verdicts, p["notes"]), snakemake.output.html)
