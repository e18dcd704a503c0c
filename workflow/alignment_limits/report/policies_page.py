"""Where each policy stands, as a page of the report: one table for what holds of a policy, one for each reward."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

import polars as pl

from alignment_limits.report.lookup import Estimate
from alignment_limits.report.page import Cell, page, table, tag
from alignment_limits.report.text import interval, number

_LEAD = (
    "Policies were sampled on the study's prompts as the base was (same engine, temperature, top-p and longest reply) "
    "and scored with the same rewards. Gains are in base standard deviations: scores are centred and scaled as the "
    "base's samples were. KL is in nats per reply, averaged over prompts. Brackets are 95% intervals from a bootstrap "
    "over prompts. A limit that is not reliable is a dash with its reason, and so is a share of it; † marks other "
    "estimates that are not reliable."
)
_KL = (
    "KL is the exact KL between next-token laws, summed along the policy's replies; the log-ratio of the same "
    "replies is a cross-check of higher variance that may be negative. Both models were read in float32 under "
    "the sampling law; nothing is clipped. The last column is the largest difference, over a policy's replies, between "
    "the log-probability that the sampling engine gave and the one that the KL was read with."
)
_PLACE = (
    "The limit is the largest gain of any policy with that average KL, estimated from the base's samples; "
    "efficiency is the policy's share of it. The optimality gap is KL(π‖π_β) in nats, π_β the tilt of the limit at "
    "that KL: 0 for the best possible policy. The win rate counts pairs of a policy's and a base reply to one "
    "prompt, ties half."
)
_INFINITE = (
    "With top-p below 1 every model's law leaves tokens out, and a policy that draws one the base leaves out has "
    "infinite KL: the two truncated laws cannot be compared. Sample with top_p: 1 to place such a policy."
)


def policies_page(study: str, rows: pl.DataFrame, *, gold: str, top_p: float = 1.0) -> str:
    """HTML of the table `policies/policies.parquet`, gold's section first."""
    one_each = rows.unique("policy", keep="first", maintain_order=True)
    body = [
        tag("h2", "KL from the base"),
        tag("p", _KL, "soft"),
        *([tag("p", _INFINITE)] if top_p < 1 else []),
        table(
            ["policy", "KL", "log-ratio", "tokens a reply", "cut at the longest", "engines differ by (nats)"],
            [_kl(r) for r in one_each.iter_rows(named=True)],
        ),
    ]
    names = rows["evaluated"].unique(maintain_order=True).to_list()
    for name in sorted(names, key=lambda n: n != gold):
        part = rows.filter(pl.col("evaluated") == name)
        body += [
            tag("h2", f"By {name}{' (gold)' if name == gold else ''}"),
            *([tag("p", _PLACE, "soft")] if name == gold else []),
            table(
                ["policy", "gain", "limit", "efficiency", "optimality gap", "win rate"],
                [_place(r) for r in part.iter_rows(named=True)],
            ),
        ]
    return page(f"Policies beside the limit: {study}", body, _LEAD)


def _kl(r: Mapping[str, Any]) -> list[str | Cell]:
    trained = [f"{key} {r[key]}" for key in ("objective", "optimized", "coefficient", "seed") if r[key] is not None]
    below = "; ".join([*trained, *([r["note"]] if r["note"] else [])])
    finite = "" if r["kl"] < float("inf") else f"infinite for {r['kl_infinite']:.0%} of its replies"
    kl = Cell(_marked(r, "kl") if not finite else "∞", finite)
    cut = f"{r['truncation_rate']:.0%}"
    apart = f"{r['logprob_deviation']:.1g}"
    return [Cell(r["policy"], below), kl, _marked(r, "kl_log_ratio"), number(r["mean_tokens"], 1), cut, apart]


def _place(r: Mapping[str, Any]) -> list[str | Cell]:
    if r["reliable"]:
        beside: list[str | Cell] = [number(r["limit"]), _estimate(r, "efficiency"), _estimate(r, "optimality_gap")]
    else:  # a limit that is not reliable is no number, nor is a share of it
        beside = [Cell("–", r["reason"]), "–", f"{_estimate(r, 'optimality_gap')}†"]
    return [r["policy"], _marked(r, "gain"), *beside, _marked(r, "win_rate")]


def _marked(r: Mapping[str, Any], name: str) -> str:
    """An estimate that has a verdict of its own."""
    return _estimate(r, name) + ("" if r[f"{name}_reliable"] or not isfinite(r[name]) else "†")


def _estimate(r: Mapping[str, Any], name: str) -> str:
    return interval(Estimate(r[name], r[f"{name}_low"], r[f"{name}_high"], True, ""))
