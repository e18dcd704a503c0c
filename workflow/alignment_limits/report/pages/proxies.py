"""The page about trained proxies: verdicts, and the numbers of every quality and size."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from alignment_limits.report.claims.limits import Verdict
from alignment_limits.report.numbers import Estimate, interval, number
from alignment_limits.report.pages.headline import claim_box
from alignment_limits.report.pages.page import page, table, tag

_ABOUT = (
    "Proxies are linear heads on frozen sentence embeddings, trained on gold's scores of base samples for prompts the "
    "study does not use. Gaps are what tilting by the proxy instead of gold costs in the regularised objective, in "
    "base standard deviations of gold, with 95% intervals over prompts; † marks what is not reliable. Heads, features, "
    "noise, grids: our choice."
)

_FALLS = (
    "Of the proxies with so many labels, those under which gold surely falls from its peak to the end of what the "
    "samples can tell (its 95% interval excludes 0), and where the peak is (median and range of those whose place is "
    "told). Where gold bends under a tilt is told from 256 samples per prompt on; best-of-n is unbiased at any n."
)


def proxies_page(
    study: str,
    gold: str,
    proxies: pl.DataFrame,
    onsets: pl.DataFrame,
    ensembles: pl.DataFrame,
    verdicts: Sequence[Verdict],
) -> str:
    """A self-contained HTML page.

    Args:
        proxies: `limits/proxies.parquet`. onsets: `limits/proxy_onsets.parquet`.
        ensembles: `limits/proxy_ensembles.parquet`.
        verdicts: from `proxy_claims`.
    """
    body = [
        *(claim_box(v) for v in verdicts),
        tag("h2", "Proxies by their labels"),
        table(["labels", "error variance", "rank correlation", "gold at fixed KL"], _by_labels(proxies)),
        tag("h2", "Proxies optimised ever harder"),
        table(["labels", "tilted: gold falls", "told to (nats)", "best-of-n: gold falls", "from n"], _by_onset(onsets)),
        tag("p", _FALLS, "soft"),
        tag("h2", "Ensembles by size and by what members share"),
        table(["share", "K", "aggregator", "β", "ρ [95%]", "gap [95%]", "predicted"], _by_size(ensembles)),
    ]
    return page(f"Trained proxies of {gold}", body, f"study {study}. {_ABOUT}")


def _by_labels(proxies: pl.DataFrame) -> list[list[str]]:
    """Medians over members; the range in brackets. Gold at fixed KL as it stands in the table."""
    rows = []
    once = proxies.unique(["labels", "member"], keep="first", maintain_order=True)
    for (labels,), part in once.group_by(["labels"], maintain_order=True):
        cells = [_range(part[c]) for c in ("error_variance", "spearman")]
        gold = _range(part["gold_gain_at_kl"]) + ("" if part["gold_gain_at_kl_reliable"].all() else " †")
        rows.append([f"{labels:,}", *cells, gold])
    return rows


def _by_onset(onsets: pl.DataFrame) -> list[list[str]]:
    """How many proxies take gold down again, along both paths."""
    rows = []
    for (labels,), part in onsets.group_by(["labels"], maintain_order=True):
        cells = []
        for path, place in (("tilt", "end"), ("best-of-n", "peak")):
            own = part.filter(pl.col("path") == path)
            fallen = own.filter(pl.col("drop_low").is_finite() & (pl.col("drop_low") > 0))
            places = (own if place == "end" else fallen).filter(pl.col(place).is_finite())[place]
            cells += [f"{fallen.height} of {own.height}", _range(places) if len(places) else "–"]
        rows.append([f"{labels:,}", *cells])
    return rows


def _range(values: pl.Series) -> str:
    low, middle, high = (float(x) for x in (values.min(), values.median(), values.max()))  # type: ignore[arg-type]
    return f"{number(middle)} ({number(low)} to {number(high)})"


def _by_size(ensembles: pl.DataFrame) -> list[list[str]]:
    return [
        [
            row["shared"],
            str(row["k"]),
            row["aggregator"],
            f"{row['beta']:g}",
            interval(Estimate(row["rho"], row["rho_low"], row["rho_high"])),
            interval(Estimate(row["gap"], row["gap_low"], row["gap_high"])) + ("" if row["reliable"] else " †"),
            number(row["gap_predicted"], 3) if row["aggregator"] == "mean" else "–",
        ]
        for row in ensembles.sort("shared", "beta", "aggregator", "k").iter_rows(named=True)
    ]
