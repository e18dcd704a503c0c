"""All estimators of the workflow in one table: what each takes of a study, what it gives, and in which contract.

A new estimator is a function of `limits`, a function and an entry here, and (for its figure) an entry of
`report/figures/table.py`. One rule and one script make all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from alignment_limits.limits.best_of_n import study_choice
from alignment_limits.limits.compare import compare
from alignment_limits.limits.ensembles import study_ensembles
from alignment_limits.limits.frontier import frontier
from alignment_limits.limits.over_optimisation import over_optimisation
from alignment_limits.limits.plan import Plan, plan
from alignment_limits.limits.proxy_gap import proxy_gap
from alignment_limits.tables.grid import prompt_clusters, prompt_keys, reward_arrays
from alignment_limits.tables.schemas import limits as contracts

if TYPE_CHECKING:
    from alignment_limits.study.study import Study
    from alignment_limits.tables.artifacts import Schema

BUDGETS = ("average", "per-prompt")


@dataclass(frozen=True)
class Scores:
    """A study's standardised rewards as estimators take them.

    Attributes:
        gold: the reward taken as the truth.
        of: scores by reward or ensemble, each (prompts, samples).
        prompts: `keys` and `clusters` of the prompts, for splits and intervals.
    """

    gold: str
    of: Mapping[str, np.ndarray]
    prompts: Mapping[str, Any]

    @classmethod
    def read(cls, standardised: pl.DataFrame, gold: str, others: Sequence[str]) -> Scores:
        """From the table `standardised`."""
        arrays = reward_arrays(standardised, [*dict.fromkeys([gold, *others])])
        return cls(gold, arrays, {"keys": prompt_keys(standardised), "clusters": prompt_clusters(standardised)})

    def evaluated(self, optimized: str) -> dict[str, np.ndarray]:
        """What a policy that optimises a reward is evaluated on: that reward, and gold."""
        return {name: self.of[name] for name in dict.fromkeys([optimized, self.gold])}


def _frontier(scores: Scores, optimized: Sequence[str], p: Mapping[str, Any]) -> Iterator[pl.DataFrame]:
    log_m = float(np.log(np.isfinite(scores.of[scores.gold]).sum(1)).mean())
    grids = {"betas": p["betas"], "kls": p["kls"], "replicates": p["bootstrap"], "seed": p["seed"]}
    for name in optimized:
        for budget in BUDGETS:
            tables = frontier(scores.of[name], scores.evaluated(name), budget=budget, **grids, **scores.prompts)
            for evaluated, table in tables.items():
                labels = {"optimized": pl.lit(name), "evaluated": pl.lit(evaluated), "log_m": pl.lit(log_m)}
                yield table.to_polars().with_columns(**labels)


def _best_of_n(scores: Scores, optimized: Sequence[str], p: Mapping[str, Any]) -> Iterator[pl.DataFrame]:
    settings = {"ns": p["best_of"], "temperatures": p["soft_temperatures"], "betas": p["pessimism_betas"]}
    draws = {"seed": p["seed"], "keys": scores.prompts["keys"]}
    for name in optimized:
        own, evaluated = scores.of[name], scores.evaluated(name)
        choice = study_choice(own, evaluated, relatives=name in p["relatives_of"], **settings, **draws)
        more = {"replicates": p["bootstrap"], "clusters": scores.prompts["clusters"]}
        for budget in BUDGETS:
            for other, table in compare(choice, own, evaluated, budget=budget, **more, **draws).items():
                nulls = pl.col("temperature").fill_nan(None)  # where a method has no such setting
                labels = {"optimized": pl.lit(name), "evaluated": pl.lit(other)}
                yield table.to_polars().with_columns(nulls, **labels)


def _proxy_gap(scores: Scores, optimized: Sequence[str], p: Mapping[str, Any]) -> Iterator[pl.DataFrame]:
    more = {"betas": p["betas"], "replicates": p["bootstrap"], "seed": p["seed"]}
    for name in optimized:
        gap = proxy_gap(scores.of[name], scores.of[scores.gold], **more, **scores.prompts)
        yield gap.to_polars().with_columns(optimized=pl.lit(name))


def _over_optimisation(scores: Scores, optimized: Sequence[str], p: Mapping[str, Any]) -> Iterator[pl.DataFrame]:
    more = {"replicates": p["bootstrap"], "seed": p["seed"]}
    for name in optimized:
        table = over_optimisation(scores.of[name], scores.of[scores.gold], **more, **scores.prompts)
        yield table.to_polars().with_columns(optimized=pl.lit(name))


def _ensembles(scores: Scores, optimized: Sequence[str], p: Mapping[str, Any]) -> Iterator[pl.DataFrame]:
    members = [scores.of[name] for name in optimized]
    more = {"betas": p["ensemble_betas"], "at_kl": p["reference_kl"], "replicates": p["bootstrap"], "seed": p["seed"]}
    table = study_ensembles(members, scores.of[scores.gold], names=optimized, **more, **scores.prompts)
    yield table.to_polars()


def _plan(scores: Scores, optimized: Sequence[str], p: Mapping[str, Any]) -> Iterator[pl.DataFrame]:
    needs = plan(scores.of[scores.gold], p["kls"], half_width=p["half_width"], seed=p["seed"], **scores.prompts)
    yield needs.to_polars()


def _peaks(table: pl.DataFrame, p: Mapping[str, Any]) -> Iterator[str]:
    for row in table.iter_rows(named=True):
        where = f"at {row['peak']:.2g} {row['unit']}" if row["found"] else f"nowhere: {row['reason']}"
        yield f"{row['optimized']}, {row['path']}: gold peaks {where}"


def _needs(table: pl.DataFrame, p: Mapping[str, Any]) -> Iterator[str]:
    yield f"for a 95% interval of ±{p['half_width']:.0%} of the limit of {p['gold']}:"
    columns = {name: table[name].to_numpy() for name in contracts.PLAN.columns}
    yield from (f"  {line}" for line in Plan(**columns).lines())


@dataclass(frozen=True)
class Estimator:
    """An estimator.

    Attributes:
        rows: from the scores of these rewards and ensembles, with the settings below, to parts of the table.
        contract: of the table.
        optimized: what is optimised: 'all' rewards and ensembles, 'other' ones than gold, 'proxies' alone, or none.
        settings: of the study file's `limits:`.
        file: of the table, below limits/.
        priority: of the job; the longest of a level starts first.
        always: a finished study has the table.
        said: lines for the person who watches, from the table and the settings.
    """

    rows: Callable[[Scores, Sequence[str], Mapping[str, Any]], Iterator[pl.DataFrame]]
    contract: Schema
    optimized: str
    settings: tuple[str, ...]
    file: str
    priority: int = 0
    always: bool = True
    said: Callable[[pl.DataFrame, Mapping[str, Any]], Iterator[str]] = lambda table, p: iter(())


ESTIMATORS = {
    "frontier": Estimator(_frontier, contracts.FRONTIER, "all", ("betas", "kls", "bootstrap"), "frontier.parquet"),
    "best_of_n": Estimator(
        _best_of_n,
        contracts.BEST_OF_N,
        "all",
        ("best_of", "soft_temperatures", "pessimism_betas", "bootstrap"),
        "best_of_n.parquet",
        priority=1,
    ),
    "proxy_gap": Estimator(_proxy_gap, contracts.PROXY_GAP, "other", ("betas", "bootstrap"), "proxy_gap.parquet"),
    "over_optimisation": Estimator(
        _over_optimisation,
        contracts.OVER_OPTIMISATION,
        "other",
        ("bootstrap",),
        "over_optimisation.parquet",
        said=_peaks,
    ),
    "ensemble_gaps": Estimator(
        _ensembles,
        contracts.ENSEMBLES,
        "proxies",
        ("ensemble_betas", "reference_kl", "bootstrap"),
        "ensembles.parquet",
        priority=2,
    ),
    "plan": Estimator(_plan, contracts.PLAN, "none", ("kls", "half_width"), "plan.parquet", always=False, said=_needs),
}


def settings_of(name: str, study: Study) -> dict[str, Any]:
    """What an estimator's result depends on, of a study file."""
    entry = ESTIMATORS[name]
    given = study.limits.model_dump(include=set(entry.settings))
    optimized = {
        "all": [*study.reward_names, *study.ensembles],
        "other": [*study.proxies, *study.ensembles],
        "proxies": study.proxies,
        "none": [],
    }[entry.optimized]
    named = {"gold": study.gold, "optimized": optimized, "seed": study.seed}
    return named | given | ({"relatives_of": study.reward_names} if name == "best_of_n" else {})


def made_for(study: Study) -> list[str]:
    """The estimators whose tables a finished study has."""
    few = len(study.proxies) < 2
    return [name for name, e in ESTIMATORS.items() if e.always and not (few and e.optimized == "proxies")]


def estimate(name: str, standardised: pl.DataFrame, p: Mapping[str, Any]) -> pl.DataFrame:
    """The table of an estimator.

    Args:
        name: of the estimator.
        standardised: rewards and ensembles on one scale, a column each.
        p: `settings_of` the study.

    Raises:
        EstimateError: the scores allow no estimate, or a setting is impossible.
    """
    entry = ESTIMATORS[name]
    scores = Scores.read(standardised, p["gold"], p["optimized"])
    parts = list(entry.rows(scores, p["optimized"], p))
    return pl.concat(parts) if parts else pl.DataFrame(schema=entry.contract.columns)  # gold alone has no gap
