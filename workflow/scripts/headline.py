"""Write the headline numbers as a table and, with the verdicts on the paper's claims, as a page."""

import json
import math
from dataclasses import asdict

import polars as pl

from alignment_limits.jobs.job import job, provenance, say
from alignment_limits.report.agreement import within_prompt_spearman
from alignment_limits.report.claims.limits import claims, turns_down
from alignment_limits.report.headline import answers, headline
from alignment_limits.report.pages.headline import headline_page
from alignment_limits.report.pages.page import write_page
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.estimates import BEST_OF_N, FRONTIER, OVER_OPTIMISATION
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
    tables = {name: read_table(snakemake.input[name], schema) for name, schema in schemas.items()}
    # a study that starts from a table of scores has no samples to describe
    file = snakemake.input.get("summary")
    summary = read_table(file, SAMPLES_SUMMARY) if file else None
    names = {"gold": p["gold"], "proxies": p["proxies"]}
    others = [*p["proxies"], *p["members"]]
    agreement = within_prompt_spearman(tables["standardised"], p["gold"], others)
    curves, turns = (tables["frontier"], tables["best_of_n"]), tables["over_optimisation"]
    rest = agreement, tables["scales"], summary
    numbers = headline(*curves, turns, *rest, **names, ensembles=list(p["members"]))
    scale = tables["scales"].filter(pl.col("reward") == p["gold"])["scale"]
    answered = answers(*curves, float(scale[0]) if len(scale) else math.nan, **names)
    verdicts = [*claims(*curves, agreement, **names, members=p["members"]), turns_down(turns, p["proxies"])]
    for verdict in verdicts:
        say(f"{verdict.claim}: {verdict.verdict}")
    write_table(numbers, snakemake.output.table, HEADLINE, provenance(snakemake))
    write_page(headline_page(study, numbers, answered, verdicts, p["notes"]), snakemake.output.html)
    findings = {"answers": answered, "verdicts": [asdict(verdict) for verdict in verdicts]}
    write_page(json.dumps(findings, indent=2, ensure_ascii=False) + "\n", snakemake.output.findings)
