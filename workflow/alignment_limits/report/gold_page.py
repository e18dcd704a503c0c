"""The page that says which rewards are fit to be gold."""

from __future__ import annotations

import polars as pl

from alignment_limits.report.lookup import Estimate
from alignment_limits.report.page import Cell, page, table, tag
from alignment_limits.report.text import interval


def gold_page(study: str, rewards: pl.DataFrame, gold: str, above_samples: float, above_other: float) -> str:
    """A self-contained HTML page.

    Args:
        rewards: `report/gold.parquet`.
        above_samples, above_other: shares a gold reward must reach.
    """
    own = rewards.row(by_predicate=pl.col("reward") == gold, named=True)
    verdict = "passes" if own["fit"] else "does not pass"
    if not own["documents"]:
        verdict = "cannot be judged: the only reference it could read is the expert's reply itself"
    rule = (
        f"A gold reward should put an expert's reply above a random reply of the base model in at least "
        f"{above_samples:.0%} of cases, and above an expert's reply to another document in at least {above_other:.0%}."
    )
    how = (
        "One reference of each document, in turn, is the expert's reply; rewards that read references read the others "
        "only. Intervals (95%) resample documents. The last column is the mean within-document rank correlation with "
        "gold on base samples. All of this is our choice."
    )
    head = ["reward", "reads", "above base replies", "above another document's", "fit", "rank correlation with gold"]
    rows: list[list[str | Cell]] = []
    for row in rewards.iter_rows(named=True):
        name = Cell(row["reward"], "gold" if row["reward"] == gold else "")
        shares = [_interval(row, share, percent=True) for share in ("above_samples", "above_other")]
        ranks = "1" if row["reward"] == gold else _interval(row, "spearman")
        rows.append([name, row["beside"], *shares, "yes" if row["fit"] else "no", ranks])
    body = [tag("p", f"The gold reward {gold} {verdict}."), tag("p", rule), table(head, rows), tag("p", how, "soft")]
    return page(f"Is {gold} fit to be gold?", body, f"study {study}, {own['documents']} documents")


def _interval(row: dict[str, float], name: str, *, percent: bool = False) -> str:
    return interval(Estimate(row[name], row[f"{name}_low"], row[f"{name}_high"]), percent=percent)
