"""The estimators of several golds and of other divergences in the workflow; `tradeoffs` lists them with the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from alignment_limits.ensembles.scores import sample_counts
from alignment_limits.errors import EstimateError
from alignment_limits.tables.estimators import Estimator, Scores
from alignment_limits.tables.schemas.limits import contract, with_interval
from alignment_limits.tradeoffs.compromises import CompromiseTable, constrained_limit, worst_case_limit
from alignment_limits.tradeoffs.divergence_limits import DivergenceTable, divergence_limit
from alignment_limits.tradeoffs.divergences import Divergence
from alignment_limits.tradeoffs.several_golds import FrontTable, pareto_front

BUDGETS = ("average", "per-prompt")
GOLDS = contract(
    "golds",
    FrontTable,
    "method budget n kl point weights evaluated weight gain gain_low gain_high at_least reliable reason",
    {"reliable": with_interval("gain")},
)
COMPROMISES = contract(
    "compromises",
    CompromiseTable,
    "kind optimized budget kl at_most evaluated weight gain gain_low gain_high alone price price_low price_high "
    "reliable reason",
    {"reliable": with_interval("gain")},  # rows of a constrained reward and of the worst have no price
    optimized=pl.String,  # of a constraint; null of the worst
)
DIVERGENCES = contract(
    "divergences",
    DivergenceTable,
    "optimized divergence budget spent n gain gain_low gain_high at_least best_of_n best_of_n_low best_of_n_high "
    "reliable reason",
    {"reliable": with_interval("gain")},
    optimized=pl.String,
)


def _golds(scores: Scores, optimized: Sequence[str], p: Mapping[str, Any]) -> Iterator[pl.DataFrame]:
    golds = {name: scores.of[name] for name in optimized}
    most = int(sample_counts(scores.of[scores.gold]).max())
    ns = [n for n in p["best_of"] if n <= most]
    settings = {"replicates": p["bootstrap"], "seed": p["seed"], **scores.prompts}
    for budget in BUDGETS:
        table = pareto_front(golds, p["kls"], ns=ns if budget == BUDGETS[0] else (), budget=budget, **settings)
        yield table.to_polars()


def _compromises(scores: Scores, optimized: Sequence[str], p: Mapping[str, Any]) -> Iterator[pl.DataFrame]:
    settings = {"replicates": p["bootstrap"], "seed": p["seed"], **scores.prompts}
    for budget in BUDGETS:
        if p["worst_of"]:
            golds = {name: scores.of[name] for name in p["worst_of"]}
            yield _labelled(worst_case_limit(golds, p["kls"], budget=budget, **settings), None)
        if bound := p["constraint"]:
            goal, kept = bound["optimized"], bound["reward"]
            unit = 1.0 if bound["units"] == "base-sd" else _scale(scores, kept)
            for at_most in bound["at_most"]:
                table = constrained_limit(
                    {goal: scores.of[goal]}, {kept: scores.of[kept]}, {kept: at_most / unit}, p["kls"],
                    budget=budget, **settings,
                )  # fmt: skip
                yield _labelled(table, goal)


def _scale(scores: Scores, reward: str) -> float:
    own = scores.tables["scales"].filter(pl.col("reward") == reward)
    if own.is_empty():
        raise EstimateError(
            f"tradeoffs.golds.constraint: '{reward}' is an ensemble, which has no units of its own; use units: base-sd."
        )
    return float(own["scale"][0])


def _divergences(scores: Scores, optimized: Sequence[str], p: Mapping[str, Any]) -> Iterator[pl.DataFrame]:
    settings: dict[str, Any] = {"replicates": p["bootstrap"], "seed": p["seed"], **scores.prompts}
    for name in optimized:
        for kind in p["kinds"]:
            for budget in BUDGETS[1:] if np.isinf(Divergence.of(kind).order) else BUDGETS:
                settings |= {"budget": budget, "bounds": scores.bounds.get(name)}
                yield _labelled(divergence_limit(scores.of[name], kind, ns=p["best_of"], **settings), name)


def _labelled(table: CompromiseTable | DivergenceTable, optimized: str | None) -> pl.DataFrame:
    return table.to_polars().with_columns(pl.lit(optimized, pl.String).alias("optimized"))


def _golds_given(study: Any) -> dict[str, Any]:
    own = study.tradeoffs.golds
    return {"optimized": own.of, "kls": own.kls, "best_of": own.best_of} if own and own.of else {}


def _compromises_given(study: Any) -> dict[str, Any]:
    own = study.tradeoffs.golds
    if not own:
        return {}
    worst, bound = (own.of if own.worst else None) or [], None
    if own.constraint:
        bound = own.constraint.model_dump() | {"optimized": own.constraint.optimized or study.gold}
    named = [*worst, *([bound["optimized"], bound["reward"]] if bound else [])]
    return {"optimized": [*dict.fromkeys(named)], "kls": own.kls, "worst_of": worst, "constraint": bound}


def _divergences_given(study: Any) -> dict[str, Any]:
    own = study.tradeoffs.divergences
    return {"optimized": own.of or [study.gold], "kinds": own.kinds, "best_of": own.best_of} if own else {}


def _has_compromises(study: Any) -> bool:
    own = study.tradeoffs.golds
    return own is not None and bool(own.constraint or (own.worst and own.of))


ESTIMATORS = {
    "golds": Estimator(
        _golds,
        GOLDS,
        "none",
        ("bootstrap",),
        "golds.parquet",
        folder="tradeoffs",
        given=_golds_given,
        made=lambda study: bool(study.tradeoffs.golds and study.tradeoffs.golds.of),
    ),
    "compromises": Estimator(
        _compromises,
        COMPROMISES,
        "none",
        ("bootstrap",),
        "compromises.parquet",
        folder="tradeoffs",
        reads=lambda study: ("scales",),
        given=_compromises_given,
        made=_has_compromises,
    ),
    "divergences": Estimator(
        _divergences,
        DIVERGENCES,
        "none",
        ("bootstrap",),
        "divergences.parquet",
        folder="tradeoffs",
        bounded=True,
        given=_divergences_given,
        made=lambda study: study.tradeoffs.divergences is not None,
    ),
}
