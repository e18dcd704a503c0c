"""Estimators of trade-offs in the workflow: what a reward costs, what label noise hides. `tradeoffs` lists all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from alignment_limits.errors import EstimateError
from alignment_limits.limits.best_of_n import check_ns
from alignment_limits.tables.artifacts import KEY
from alignment_limits.tables.estimators import Estimator, Scores
from alignment_limits.tables.grid import Grid
from alignment_limits.tables.sample_columns import TOKENS
from alignment_limits.tables.schemas.limits import contract, own_verdicts, with_interval
from alignment_limits.tradeoffs.closed_policies import ClosedTable, kl_from_scores
from alignment_limits.tradeoffs.cost import BEST_OF_N, CostTable, most_draws, reward_for_cost
from alignment_limits.tradeoffs.label_noise import LabelNoiseTable, label_noise
from alignment_limits.tradeoffs.shortfall import ShortfallTable, shortfall

_SHORTFALL = ("kl", "limit_per_prompt", "limit", *with_interval("not_tilt"), *with_interval("same_n"))
_VERDICT = {"shortfall_reliable": pl.Boolean, "shortfall_reason": pl.String}

COST = contract(
    "cost",
    CostTable,
    "optimized evaluated method n most prompts draws draws_low draws_high tokens tokens_low tokens_high gain gain_low "
    "gain_high extra extra_low extra_high same_as same_as_low same_as_high reliable reason",
    {"reliable": (*with_interval("gain"), *with_interval("extra"))}
    | {"shortfall_reliable": (*with_interval("not_tilt"), *with_interval("same_n"))},
    optimized=pl.String,
    evaluated=pl.String,
    # of best-of-n by the reward that evaluates it, else null
    **{name: ShortfallTable.polars_schema()[name] for name in _SHORTFALL},
    **_VERDICT,
)

LABEL_NOISE = contract(
    "label_noise",
    LabelNoiseTable,
    "reward at n kl judgements selecting seen gain gain_low gain_high inflation inflation_low inflation_high limit "
    "limit_low limit_high at_least at_most reliability reliability_low reliability_high noise noise_ratio reliable "
    "reason limit_reliable limit_reason",
    {"reliable": ("seen", *with_interval("gain"), *with_interval("inflation"))} | own_verdicts("limit"),
    reward=pl.String,  # the name of the repeated judgements
)

CLOSED_POLICIES = contract(
    "closed_policies",
    ClosedTable,
    "policy prompts replies gain gain_low gain_high kl_at_least kl_bound kl_ceiling limit efficiency_at_most "
    "reliable reason limit_reliable limit_reason",
    {
        "reliable": (*with_interval("gain"), "kl_at_least", "kl_bound"),
        "limit_reliable": ("limit", "efficiency_at_most"),
    },
)


def _cost(scores: Scores, optimized: Sequence[str], p: Mapping[str, Any]) -> Iterator[pl.DataFrame]:
    settings = {"replicates": p["bootstrap"], "seed": p["seed"], **scores.prompts}
    lengths = _lengths(scores)
    for name in optimized:
        own = scores.of[name]
        most = p["most"] or most_draws(own)
        ns = [n for n in p["best_of"] if n <= most]
        if most < 2 or not ns:  # too few samples to learn a rule from
            continue
        tables = reward_for_cost(own, scores.evaluated(name), ns=ns, lengths=lengths, most=p["most"], **settings)
        parts = shortfall(own, ns=check_ns(ns, own), **settings).to_polars()
        parts = parts.select("n", *_SHORTFALL, shortfall_reliable="reliable", shortfall_reason="reason")
        for evaluated, table in tables.items():
            rows = table.to_polars().with_columns(optimized=pl.lit(name), evaluated=pl.lit(evaluated))
            mine = (pl.col("method") == BEST_OF_N) & (pl.col("evaluated") == name)
            joined = rows.join(parts, on="n", how="left", maintain_order="left")
            blank = [c for c in parts.columns if c != "n"]
            yield joined.with_columns(pl.when(mine).then(pl.col(c)).alias(c) for c in blank).select(*COST.columns)


def _lengths(scores: Scores) -> np.ndarray | None:
    """Tokens of each sample, if all samples have them."""
    columns = scores.tables["columns"]
    if TOKENS not in columns.columns:
        return None
    tokens = scores.column(TOKENS)
    present = ~np.isnan(scores.of[scores.gold])
    return tokens if np.isfinite(tokens[present]).all() and np.nansum(tokens) > 0 else None


def _cost_given(study: Any) -> dict[str, Any]:
    return {"optimized": study.tradeoffs.cost.optimized or [study.gold], "most": study.tradeoffs.cost.most}


def _label_noise(scores: Scores, optimized: Sequence[str], p: Mapping[str, Any]) -> Iterator[pl.DataFrame]:
    settings = {"kls": p["kls"], "replicates": p["bootstrap"], "seed": p["seed"]}
    for name, columns in p["repeats"].items():
        judgements = scores.columns(columns)
        judged = np.any(np.all(np.isfinite(list(judgements.values())), axis=0), axis=1)
        if not judged.any():
            raise EstimateError(
                f"tradeoffs.label_noise: no reply has all judgements of '{name}' ({', '.join(columns)})."
            )
        some = {column: values[judged] for column, values in judgements.items()}
        prompts: dict[str, Any] = {k: None if v is None else np.asarray(v)[judged] for k, v in scores.prompts.items()}
        table = label_noise(some, ns=[n for n in p["best_of"] if n > 1] or [2], **settings, **prompts)
        yield table.to_polars().with_columns(reward=pl.lit(name))


def _closed(scores: Scores, optimized: Sequence[str], p: Mapping[str, Any]) -> Iterator[pl.DataFrame]:
    prompts = Grid.of(scores.standardised.select(*KEY)).prompt_ids
    scales = scores.tables["scales"]
    table = scores.tables["closed"].filter(pl.col("prompt_id").is_in(prompts)).sort(KEY)
    policies = {
        name: {reward: _on_scale(table.filter(pl.col("law") == name), scales, reward, prompts) for reward in optimized}
        for name in p["closed"]
    }
    base = {reward: scores.of[reward] for reward in optimized}
    settings = {"replicates": p["bootstrap"], "seed": p["seed"], **scores.prompts}
    yield kl_from_scores(base, policies, scores.gold, **settings).to_polars()


def closed_policies(study: Any) -> list[str]:
    """The policies without log-probabilities: laws of a table of scores, or tables of replies."""
    return list(study.scores.closed if study.scores else study.tradeoffs.closed_policies)


def _on_scale(rows: pl.DataFrame, scales: pl.DataFrame, reward: str, prompts: Sequence[str]) -> np.ndarray:
    """Scores of a policy's replies on the base's scale (prompts, replies), NaN where a prompt has fewer."""
    of_reward = scales.filter(pl.col("reward") == reward).select("prompt_id", "centre", "scale")
    joined = rows.join(of_reward, on="prompt_id", how="left", maintain_order="left")
    values = ((joined[reward] - joined["centre"]) / joined["scale"]).to_numpy()
    row = joined["prompt_id"].replace_strict(list(prompts), range(len(prompts)), return_dtype=pl.Int64).to_numpy()
    place = np.arange(len(row)) - np.searchsorted(row, row)
    out = np.full((len(prompts), int(place.max(initial=0)) + 1), np.nan)
    out[row, place] = values
    return out


ESTIMATORS = {
    "closed_policies": Estimator(
        _closed,
        CLOSED_POLICIES,
        "none",
        ("bootstrap",),
        "closed_policies.parquet",
        folder="tradeoffs",
        reads=lambda study: ("closed", "scales"),
        given=lambda study: {"closed": closed_policies(study), "optimized": study.reward_names},
        made=lambda study: bool(closed_policies(study)),
    ),
    "label_noise": Estimator(
        _label_noise,
        LABEL_NOISE,
        "none",
        ("kls", "best_of", "bootstrap"),
        "label_noise.parquet",
        folder="tradeoffs",
        reads=lambda study: ("columns",),
        given=lambda study: {"repeats": study.tradeoffs.label_noise.repeats},
        made=lambda study: bool(study.tradeoffs.label_noise.repeats),
    ),
    "cost": Estimator(
        _cost,
        COST,
        "all",
        ("best_of", "bootstrap"),
        "cost.parquet",
        folder="tradeoffs",
        reads=lambda study: ("columns",),
        given=_cost_given,
    ),
}
