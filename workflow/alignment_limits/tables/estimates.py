"""All estimators of the workflow in one table: their settings, their inputs, and the contract of their output.

A new estimator is a function of `limits`, a function and an entry here, and (for its figure) an entry in
`report/figures/table.py`. Those of `alignment_limits.tradeoffs` are in `tradeoffs.py`. One rule and one script run all
of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from alignment_limits.limits.best_of_n import study_choice
from alignment_limits.limits.compare import BestOfNTable, Comparison
from alignment_limits.limits.curve import CorrectedCurve
from alignment_limits.limits.ensembles import EnsembleTable, study_ensembles
from alignment_limits.limits.frontier import FrontierTable, frontier
from alignment_limits.limits.over_optimisation import OverOptimisationTable, over_optimisation
from alignment_limits.limits.plan import Plan, cheapest, plan
from alignment_limits.limits.prediction import PredictionTable, beyond, predict_best_of_n
from alignment_limits.limits.proxy_gap import ProxyGapTable, proxy_gap
from alignment_limits.limits.samples import Pool
from alignment_limits.limits.sequential import Tempering
from alignment_limits.limits.tempered import TemperedTable
from alignment_limits.tables import tradeoffs
from alignment_limits.tables.estimators import INPUTS, Estimator, Scores, pool_place
from alignment_limits.tables.grid import standardised_bounds
from alignment_limits.tables.labels import LABELS, check_labels, is_partial, partial_rows
from alignment_limits.tables.pools import contradictions, pooled_frontiers, reaching
from alignment_limits.tables.schemas.limits import contract, own_verdicts, with_interval

if TYPE_CHECKING:
    from alignment_limits.study.study import Study

BUDGETS = ("average", "per-prompt")
_PAIR = {"optimized": pl.String, "evaluated": pl.String}

# The contracts of the tables.
FRONTIER = contract(
    "frontier",
    FrontierTable,
    "optimized evaluated budget beta kl kl_low kl_high kl_reverse gain gain_low gain_high gain_plugin ess pareto_k "
    "reliable",
    {"reliable": ("kl", "gain", "gain_low", "gain_high")} | own_verdicts("gain", "kl"),
    **_PAIR,
    samples_from=pl.String,  # base, or pool: samples of the base and of policies
    log_m=pl.Float64,  # mean over prompts of log(number of samples), an upper bound of the KL that samples can show
)
BEST_OF_N = contract(
    "best_of_n",
    BestOfNTable,
    "method optimized evaluated n temperature kl kl_bound gain gain_low gain_high limit efficiency prompts reliable "
    "reason gain_reliable kl_reliable win_rate_reliable limit_reliable efficiency_reliable",
    {"reliable": ("kl", "gain", "limit", "efficiency")} | own_verdicts("gain", "kl", "win_rate", "limit", "efficiency"),
    **_PAIR,
)
PROXY_GAP = contract(
    "proxy_gap",
    ProxyGapTable,
    "optimized beta error_variance gap gap_low gap_high gap_bound kl gold_gain ideal_gain",
    {"reliable": ("gap", "gap_low", "gap_high", "gold_gain")},
    optimized=pl.String,
)
OVER_OPTIMISATION = contract(
    "over_optimisation",
    OverOptimisationTable,
    "optimized",
    {
        "found": (*with_interval("peak"), *with_interval("gain"), *with_interval("drop")),
        "fit_reliable": (*with_interval("alpha"), *with_interval("beta"), "residual"),
    },
    optimized=pl.String,
)
ENSEMBLES = contract(
    "ensembles",
    EnsembleTable,
    "aggregator members k rho beta gap gap_predicted gold_gain_at_kl kl reliable reason gold_gain_at_kl_reliable",
    {"reliable": with_interval("gap")} | own_verdicts("gold_gain_at_kl"),
)
TEMPERED = contract(
    "tempered",
    TemperedTable,
    "optimized evaluated at budget beta kl kl_low kl_high gain gain_low gain_high gain_drawn tokens ess acceptance "
    "renewed draws reliable reason",
    {"reliable": ("kl", *with_interval("gain"))},
    **_PAIR,
    base_tokens=pl.Float64,  # mean tokens of a base reply: a reply of best-of-n costs n times this
)
PLAN = contract("plan", Plan, "kl", {})  # the size that a study needs


def _frontier(scores: Scores, optimized: Sequence[str], p: Mapping[str, Any]) -> Iterator[pl.DataFrame]:
    log_m = float(np.log(np.isfinite(scores.of[scores.gold]).sum(1)).mean())
    grids = {"betas": p["betas"], "kls": p["kls"], "replicates": p["bootstrap"], "seed": p["seed"]}
    for name in optimized:
        for budget in BUDGETS:
            more = {"budget": budget, "bounds": scores.bounds_for(name), **grids, **scores.prompts}
            tables = frontier(scores.of[name], scores.evaluated(name), **more)
            for evaluated, table in tables.items():
                yield _labelled(table, name, evaluated, log_m, "base")
    if not scores.pools:
        return
    grids |= {"betas": (), "kls": reaching(p["kls"], max(pool.farthest for pool in scores.pools))}
    for name in p.get("pooled", optimized):
        for budget in BUDGETS:
            more = {"budget": budget, "bounds": scores.bounds_for(name), **grids, **scores.prompts}
            for evaluated, rows in pooled_frontiers(scores.pools, name, list(scores.evaluated(name)), **more):
                yield _with_labels(rows, name, evaluated, log_m, "pool")


def _labelled(table: FrontierTable, optimized: str, evaluated: str, log_m: float, samples: str) -> pl.DataFrame:
    return _with_labels(table.to_polars(), optimized, evaluated, log_m, samples)


def _with_labels(rows: pl.DataFrame, optimized: str, evaluated: str, log_m: float, samples: str) -> pl.DataFrame:
    labels = {"optimized": optimized, "evaluated": evaluated, "samples_from": samples, "log_m": log_m}
    return rows.with_columns(pl.lit(value).alias(name) for name, value in labels.items())


def _best_of_n(scores: Scores, optimized: Sequence[str], p: Mapping[str, Any]) -> Iterator[pl.DataFrame]:
    settings = {"ns": p["best_of"], "temperatures": p["soft_temperatures"], "betas": p["pessimism_betas"]}
    draws = {"seed": p["seed"], "keys": scores.prompts["keys"]}
    curves: dict[tuple[str, str], CorrectedCurve] = {}  # of gold, for all rewards
    for name in optimized:
        own, evaluated = scores.of[name], scores.evaluated(name)
        choice = study_choice(own, evaluated, relatives=name in p["relatives_of"], **settings, **draws)
        more = {"replicates": p["bootstrap"], "clusters": scores.prompts["clusters"], "bounds": scores.bounds_for(name)}
        comparison = Comparison(choice, own, evaluated, curves=curves, **more, **draws)
        for budget in BUDGETS:
            for other, table in comparison.tables(budget).items():
                nulls = pl.col("temperature").fill_nan(None)  # for methods without a temperature
                labels = {"optimized": pl.lit(name), "evaluated": pl.lit(other)}
                yield table.to_polars().with_columns(nulls, **labels)
        if further := beyond(own):
            more = {"replicates": p["bootstrap"], **draws, "clusters": scores.prompts["clusters"]}
            yield _predicted(predict_best_of_n(own, further, **more), name)


PREDICTED = "predicted-best-of-n"  # the method of rows with more draws than samples
ONLY_GAIN = "only the gain is predicted from fewer samples"


def _predicted(table: PredictionTable, name: str) -> pl.DataFrame:
    """Predictions as rows of the table of best-of-n, without what they do not have."""
    own = table.to_polars().drop("pareto", "weibull").rename({"reliable": "gain_reliable", "reason": "gain_reason"})
    known = pl.col("kl").is_finite()
    own = own.with_columns(
        *(pl.col("kl").alias(c) for c in ("kl_low", "kl_high", "kl_bound")),
        known.alias("kl_reliable"),
        pl.when(known).then(pl.lit("")).otherwise(pl.lit("many tied scores")).alias("kl_reason"),
        pl.lit(None, pl.Float64).alias("temperature"),
    )
    defaults = {pl.Float64: np.nan, pl.Boolean: False, pl.String: ONLY_GAIN}
    types = BestOfNTable.polars_schema()
    rest = [pl.lit(defaults[kind]).alias(c) for c, kind in types.items() if c not in own.columns]
    labels = {"method": PREDICTED, "budget": "average", "optimized": name, "evaluated": name}
    labelled = own.with_columns(rest).with_columns(pl.lit(value).alias(c) for c, value in labels.items())
    return labelled.select(*types, "optimized", "evaluated")


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
    more = {"half_width": p["half_width"], "seed": p["seed"], "particles": p.get("particles", 0), **scores.prompts}
    pilots: list[tuple[np.ndarray, Pool | None]] = [(each.scores[scores.gold], each.pool) for each in scores.pools]
    pilots = pilots or [(scores.of[scores.gold], None)]
    yield reduce(cheapest, (plan(pilot, p["kls"], pool=pool, **more) for pilot, pool in pilots)).to_polars()


def _peaks(table: pl.DataFrame, p: Mapping[str, Any]) -> Iterator[str]:
    for row in table.iter_rows(named=True):
        where = f"at {row['peak']:.2g} {row['unit']}" if row["found"] else f"nowhere: {row['reason']}"
        yield f"{row['optimized']}, {row['path']}: gold peaks {where}"


def _needs(table: pl.DataFrame, p: Mapping[str, Any]) -> Iterator[str]:
    yield f"for a 95% interval of ±{p['half_width']:.0%} of the limit of {p['gold']}:"
    columns = {name: table[name].to_numpy() for name in PLAN.columns}
    yield from (f"  {line}" for line in Plan(**columns).lines())


def _labelled_share(table: pl.DataFrame, p: Mapping[str, Any]) -> Iterator[str]:
    for (name,), rows in table.group_by("labels", maintain_order=True):
        yield f"{name}: {rows['share'][0]:.0%} of the samples have a score, in {rows['prompts'][0]} prompts"
        yield from rows.filter(~pl.col("random"))["reason"]


ESTIMATORS = {
    "frontier": Estimator(
        _frontier,
        FRONTIER,
        "all",
        ("betas", "kls", "bootstrap"),
        "frontier.parquet",
        pools=True,
        bounded=True,
        said=lambda table, p: contradictions(table),
    ),
    "best_of_n": Estimator(
        _best_of_n,
        BEST_OF_N,
        "all",
        ("best_of", "soft_temperatures", "pessimism_betas", "bootstrap"),
        "best_of_n.parquet",
        priority=1,
        bounded=True,
    ),
    "proxy_gap": Estimator(_proxy_gap, PROXY_GAP, "other", ("betas", "bootstrap"), "proxy_gap.parquet"),
    "over_optimisation": Estimator(
        _over_optimisation,
        OVER_OPTIMISATION,
        "other",
        ("bootstrap",),
        "over_optimisation.parquet",
        said=_peaks,
    ),
    "ensemble_gaps": Estimator(
        _ensembles,
        ENSEMBLES,
        "proxies",
        ("ensemble_betas", "reference_kl", "bootstrap"),
        "ensembles.parquet",
        priority=2,
    ),
    "plan": Estimator(
        _plan, PLAN, "none", ("kls", "half_width"), "plan.parquet", always=False, pools=True, said=_needs
    ),
    "labels": Estimator(
        lambda scores, optimized, p: iter([check_labels(scores.standardised)]),
        LABELS,
        "all",
        (),
        "labels.parquet",
        said=_labelled_share,
        made=lambda study: bool(study.partial),
        whole=True,
    ),
    **tradeoffs.ESTIMATORS,
}


def settings_of(name: str, study: Study) -> dict[str, Any]:
    """The settings in a study file that an estimator's result depends on."""
    entry = ESTIMATORS[name]
    given = study.limits.model_dump(include=set(entry.settings))
    optimized = {
        "all": [*study.reward_names, *study.ensembles],
        "other": [*study.proxies, *study.ensembles],
        "proxies": study.proxies,
        "none": [],
    }[entry.optimized]
    named = {"gold": study.gold, "optimized": optimized, "seed": study.seed}
    bounds = {"bounds": study.bounds} if entry.bounded and study.bounds else {}
    if entry.pools and (study.pools or (study.scores and study.scores.has_log_ratios)):
        named["pooled"] = study.pooled if study.pools else optimized
    own: dict[str, Any] = {"relatives_of": study.reward_names} if name == "best_of_n" else {}
    if name == "plan" and study.prompts:  # tempered sampling needs the base model
        own = {"particles": (study.tempered or Tempering()).particles}
    return named | given | bounds | own | dict(entry.given(study))


def inputs_of(name: str, study: Study) -> dict[str, str]:
    """The further tables that an estimator reads in a study: name → path below results/<study>/."""
    entry, pool = ESTIMATORS[name], pool_place(study)
    names = [*(["scales"] if entry.bounded and study.bounds else []), *entry.reads(study)]
    return ({"pool": pool} if entry.pools and pool else {}) | {each: INPUTS[each][0] for each in names}


def made_for(study: Study) -> list[str]:
    """The estimators whose tables a finished study has."""
    few = len(study.proxies) < 2
    wanted = [name for name, e in ESTIMATORS.items() if e.always and not (few and e.optimized == "proxies")]
    return [name for name in wanted if ESTIMATORS[name].made(study)]


def estimate(
    name: str,
    standardised: pl.DataFrame,
    p: Mapping[str, Any],
    pool: pl.DataFrame | None = None,
    scales: pl.DataFrame | None = None,
    **tables: pl.DataFrame,
) -> pl.DataFrame:
    """The table of an estimator.

    Args:
        name: of the estimator.
        standardised: rewards and ensembles on one scale, with a column each.
        p: `settings_of` the study.
        pool: table `pool` of the base's and policies' samples, if there is one.
        scales: table `scales`, if a reward has bounds or the estimator reads it.
        tables: further tables that it reads (`inputs_of`).

    Raises:
        EstimateError: the scores allow no estimate, or a setting is impossible.
    """
    entry = ESTIMATORS[name]

    def rows(table: pl.DataFrame, optimized: Sequence[str], gold: str) -> list[pl.DataFrame]:
        own = scales if scales is None else scales.filter(pl.col("prompt_id").is_in(table["prompt_id"].implode()))
        bounds = standardised_bounds(own, p["bounds"]) if own is not None and "bounds" in p else None
        more = tables | ({} if own is None else {"scales": own})
        others = [*optimized, *p.get("evaluated", ())]
        return list(entry.rows(Scores.read(table, gold, others, pool, bounds, more), optimized, p))

    if is_partial(standardised) and not entry.whole:
        parts = list(partial_rows(entry, standardised, p, rows))
    else:
        parts = rows(standardised, p["optimized"], p["gold"])
    return pl.concat(parts) if parts else pl.DataFrame(schema=entry.contract.columns)  # if there is only gold
