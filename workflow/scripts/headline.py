"""Write the headline numbers as a table and, with the verdicts on the paper's claims, as a page."""

import json
from dataclasses import asdict

from alignment_limits.jobs.job import job, provenance, say
from alignment_limits.report.claims.limits import findings
from alignment_limits.report.pages.headline import headline_page
from alignment_limits.report.pages.page import write_page
from alignment_limits.report.tradeoffs import ANSWERS
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.estimates import BEST_OF_N, ESTIMATORS, FRONTIER, OVER_OPTIMISATION, TEMPERED
from alignment_limits.tables.schemas.limits import HEADLINE
from alignment_limits.tables.schemas.samples import SAMPLES_SUMMARY, SCALES, STANDARDISED

with job(snakemake):
    p, study = snakemake.params.p, snakemake.config["study"]
    schemas = {
        "frontier": FRONTIER,
        "best_of_n": BEST_OF_N,
        "over_optimisation": OVER_OPTIMISATION,
        "scales": SCALES,
        "standardised": STANDARDISED,
    }
    schemas |= {name: ESTIMATORS[name].contract for name in ANSWERS if snakemake.input.get(name)}
    schemas |= {"tempered": TEMPERED} if snakemake.input.get("tempered") else {}
    tables = {name: read_table(snakemake.input[name], schema) for name, schema in schemas.items()}
    # a study that starts from a table of scores has no samples to describe
    file = snakemake.input.get("summary")
    summary = read_table(file, SAMPLES_SUMMARY) if file else None
    found = findings(tables, summary, gold=p["gold"], proxies=p["proxies"], members=p["members"], raw="units" in p)
    for verdict in found.verdicts:
        say(f"{verdict.claim}: {verdict.verdict}")
    write_table(found.numbers, snakemake.output.table, HEADLINE, provenance(snakemake))
    page = headline_page(study, found.numbers, found.answers, found.verdicts, p["notes"])
    write_page(page, snakemake.output.html)
    written = {"answers": found.answers, "verdicts": [asdict(verdict) for verdict in found.verdicts]}
    write_page(json.dumps(written, indent=2, ensure_ascii=False) + "\n", snakemake.output.findings)
