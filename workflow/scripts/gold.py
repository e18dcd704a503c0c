"""Report which rewards are good enough to be gold, as a table and a page."""

import polars as pl

from alignment_limits.jobs.job import job, provenance, say
from alignment_limits.report.agreement import shares, within_prompt_spearman
from alignment_limits.report.pages.headline import gold_page
from alignment_limits.report.pages.page import write_page
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.schemas.samples import GOLD, STANDARDISED, TRIALS

with job(snakemake):
    p = snakemake.params.p
    standardised = read_table(snakemake.input.standardised, STANDARDISED)
    others = [name for name in p["beside"] if name != p["gold"]]
    agreement = within_prompt_spearman(standardised, p["gold"], others, seed=p["seed"])
    rows = []
    for name, beside in p["beside"].items():
        judged = shares(read_table(snakemake.input[f"trials/{name}"], TRIALS), seed=p["seed"])
        fit = judged["above_samples"] >= p["above_samples"] and judged["above_other"] >= p["above_other"]
        rows.append({"reward": name, "beside": beside, **judged, "fit": fit})
    ranks = agreement.rename({"low": "spearman_low", "high": "spearman_high"}).drop("prompts")
    table = pl.DataFrame(rows).join(ranks, on="reward", how="left", maintain_order="left")
    gold = table.row(by_predicate=pl.col("reward") == p["gold"], named=True)
    found = f"expert above base replies {gold['above_samples']:.0%}, above others {gold['above_other']:.0%}"
    say(f"gold {p['gold']}: {found}")
    write_table(table, snakemake.output.table, GOLD, provenance(snakemake))
    thresholds = p["above_samples"], p["above_other"]
    write_page(gold_page(snakemake.config["study"], table, p["gold"], *thresholds), snakemake.output.html)
