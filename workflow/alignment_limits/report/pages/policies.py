"""Pages on policies: where each stands, and how far each is from the target of its preferences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import polars as pl

from alignment_limits.report.claims.limits import Verdict
from alignment_limits.report.numbers import Estimate, interval, number
from alignment_limits.report.pages.headline import claim_box
from alignment_limits.report.pages.page import Cell, page, table, tag
from alignment_limits.study.objectives import named

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


_ABOUT = (
    "The target is the law the preferences speak of: the base's tilt by {reward} at β = {beta:g} (rewards in base "
    "standard deviations). KL(target‖policy) weighs the base's samples towards the target; KL(policy‖target) is "
    "[𝒥(target) − 𝒥(policy)]/β, 𝒥 = E r − β·KL(·‖π₀). Nats per reply, means over prompts; brackets are 95% intervals "
    "from a bootstrap over prompts; † marks what is not reliable, with the reason. The target has an effective sample "
    "size of {ess} of the base's samples to a prompt ({share}; median over prompts, the smallest is {least})."
)
_NONE = "No two policies here learned from preference pairs in ways that the claims of the paper compare."
_BEST = (
    "Of several recipes or coefficients of one objective those of least mean distance are taken, as an oracle would."
)


def targets_page(study: str, rows: pl.DataFrame, exact: pl.DataFrame | None, verdicts: Sequence[Verdict]) -> str:
    """HTML of `policies/targets.parquet`, and of `exact/targets.parquet` where there is one."""
    first = rows.row(0, named=True)
    about = _ABOUT.format(
        reward=first["reward"],
        beta=first["beta"],
        ess=number(first["ess"], 1),
        share=f"{first['ess_share']:.0%}",
        least=number(first["ess_least"], 1),
    )
    known = {(r["policy"], r["quantity"]): r for r in exact.iter_rows(named=True)} if exact is not None else {}
    found = {(r["policy"], r["quantity"]): r for r in rows.iter_rows(named=True)}
    policies = rows["policy"].unique(maintain_order=True)
    head = ["policy", "pairs", "KL(target‖policy)", "KL(policy‖target)"]
    body = [
        tag("h2", "What the paper's claims come to here"),
        *([tag("p", _BEST, "soft")] if verdicts else [tag("p", _NONE)]),
        *(claim_box(v) for v in verdicts),
        tag("h2", "Distances"),
        table(head, [_row([found[p, q] for q in ("forward_kl", "reverse_kl")], known) for p in policies]),
    ]
    return page(f"Distance to the preferences' target: {study}", body, about)


def _row(both: Sequence[Mapping[str, Any]], known: Mapping[tuple[str, str], Mapping[str, Any]]) -> list[str | Cell]:
    r = both[0]
    said = [named(r["objective"])] if r["objective"] else []
    said += [f"{key} {r[key]}" for key in ("setting", "optimized", "coefficient", "seed") if r[key] is not None]
    pairs = "–" if r["pairs"] is None else f"{r['pairs']:,}"
    return [Cell(r["policy"], "; ".join(said)), pairs, *(_cell(one, known) for one in both)]


def _cell(r: Mapping[str, Any], known: Mapping[tuple[str, str], Mapping[str, Any]]) -> Cell:
    value = "∞" if r["estimate"] == float("inf") else interval(Estimate(r["estimate"], r["low"], r["high"]))
    exact = known.get((r["policy"], r["quantity"]))
    below = [f"exact {number(exact['exact'])}"] if exact else []
    below += [] if r["reliable"] else [r["reason"]]
    return Cell(value + ("" if r["reliable"] else "†"), "; ".join(below))
