"""Where policies stand on the KL-reward plane, next to the limit estimated from base samples.

For a policy π of mean KL κ from the base, and a reward with limit G*(κ), reached by the tilt π_β with β = dG*/dκ:

    gain        E_π r − E_π₀ r
    efficiency  gain / G*(κ)
    gap         KL(π‖π_β) = [𝒥(π_β) − 𝒥(π)] / β = (G*(κ) − gain) / β,   𝒥(π) = E_π r − β KL(π‖π₀)
    win rate    P(r(π's reply) > r(base's)) + P(equal) / 2

Everything is a mean, or a ratio of means, of contributions per prompt, resampled together. So intervals of efficiency
and gap contain the uncertainty of gain, KL and limit at once. β is kept at its estimate.

`placements` goes from score and KL shards of several policies to the table `policies`: one row per policy and
evaluated reward.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from alignment_limits.ensembles.scales import aggregate, apply_standardisation, standardise
from alignment_limits.ensembles.scores import Array, Columns, Flags, Words, check_scores, prompt_means
from alignment_limits.errors import ArtifactError, EstimateError
from alignment_limits.limits.bootstrap import PromptBootstrap
from alignment_limits.limits.curve import CorrectedCurve, judge_points
from alignment_limits.limits.means import judge_draws, paired_limit
from alignment_limits.limits.samples import Pool
from alignment_limits.sampling.checks import deviation
from alignment_limits.tables.artifacts import KEY
from alignment_limits.tables.grid import Grid

RESOLUTION = 1e-5  # nats per reply; a smaller KL is rounding in float32, and its limit a ratio of rounding errors


@dataclass(frozen=True, repr=False)
class Placement(Columns):
    """One row per policy, equal 1-D arrays; rewards in the units given, KL in nats per reply, means over prompts.

    Attributes:
        gain: of the policy over the base.
        limit: at the policy's KL. Like `efficiency` and `optimality_gap` it is NaN where the samples do not show it, or
            the KL is infinite.
        efficiency: gain / limit; also NaN where the KL is below the resolution of float32.
        beta: dG*/dκ at the policy's KL; inf at KL 0.
        optimality_gap: KL(π‖π_β), nats.
        win_rate: against a base reply; a tie counts half.
        limit_from: "base" where the limit is from the base's samples, "pool" where it is from the policy's as well.
        reliable, reason: of the limit ("" where reliable). Gain and win rate do not need a limit and have their own
            verdicts.

    Intervals (bootstrap over prompts) are `*_low` and `*_high`.
    """

    shown = ("gain", "efficiency")

    gain: Array
    gain_low: Array
    gain_high: Array
    limit: Array
    efficiency: Array
    efficiency_low: Array
    efficiency_high: Array
    beta: Array
    optimality_gap: Array
    optimality_gap_low: Array
    optimality_gap_high: Array
    win_rate: Array
    win_rate_low: Array
    win_rate_high: Array
    limit_from: Words
    reliable: Flags
    reason: Words
    gain_reliable: Flags
    gain_reason: Words
    win_rate_reliable: Flags
    win_rate_reason: Words


def place(
    base: ArrayLike,
    policies: Sequence[ArrayLike],
    kl: ArrayLike,
    *,
    log_ratios: Sequence[tuple[ArrayLike, ArrayLike]] | None = None,
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    keys: np.ndarray | None = None,
    clusters: ArrayLike | None = None,
) -> Placement:
    """Place K policies on the plane of one reward.

    Where base samples alone do not show the limit at a policy's KL, and log-ratios are given, the limit is from the
    base's and the policy's samples together (`Pool`).

    Args:
        base: scores of base samples [p, m]; NaN marks a missing sample.
        policies: scores of each policy's samples [p, m'], the same prompts in the same order, in the same units.
        kl: KL of each policy at each prompt [p, k], nats; its mean over prompts is the budget.
        log_ratios: for each policy log π/π₀ of the base's samples [p, m] and of its own [p, m'], nats.
        replicates, seed, level, keys, clusters: as for `frontier`.

    Returns:
        One row for each policy.

    Raises:
        EstimateError: scores or KLs that cannot be used, or of other prompts.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> base, policy = rng.normal(size=(200, 64)), rng.normal(1.0, size=(200, 64))  # the tilt at 0.5 nats
        >>> place(base, [policy], np.full((200, 1), 0.5), replicates=200).efficiency.round(2)
        array([1.02])

    References:
        docs/theory.md, "Distance of a policy from the limit"; docs/policies.md.
    """
    scores = check_scores(base, "the base's")
    theirs = [check_scores(policy, f"policy {i}") for i, policy in enumerate(policies)]
    spent = np.asarray(kl, dtype=np.float64)
    if spent.shape != (len(scores), len(theirs)) or np.isnan(spent).any():
        raise EstimateError(f"KLs of shape {spent.shape} (prompts, policies), or NaN, for {len(theirs)} policies.")
    if any(len(policy) != len(scores) for policy in theirs):
        raise EstimateError(f"Policies must have the base's {len(scores)} prompts, in its order.")
    boot = PromptBootstrap(len(scores), replicates=replicates, seed=seed, level=level, keys=keys, clusters=clusters)
    gain = np.stack([prompt_means(policy) - prompt_means(scores) for policy in theirs], axis=1)
    wins = np.stack([win_rates(policy, scores) for policy in theirs], axis=1)

    kappa = spent.mean(axis=0)
    infinite, none = np.isinf(kappa), kappa <= RESOLUTION
    away = ~(infinite | none)
    points = CorrectedCurve(scores, seed=seed, keys=keys).at(np.where(away, kappa, 0.0))
    limit = np.where(away, paired_limit(points, np.where(away, spent, 0.0), "average"), 0.0)
    limit[:, infinite] = np.nan
    beta, reasons = points.beta.copy(), judge_points(scores, points, clusters=boot.clusters).reason.copy()
    limit_from = np.full(len(theirs), "base", dtype=object)
    for k in np.flatnonzero(away & (reasons != "")):
        if log_ratios is None:
            break
        pooled = _pooled_limit(scores, theirs[k], log_ratios[k], spent[:, k], boot, seed, keys)
        if pooled.reason == "":
            limit[:, k], beta[k], reasons[k], limit_from[k] = pooled.values, pooled.beta, "", "pool"
    reasons[none] = f"no KL to speak of (up to {RESOLUTION:g} nats)"
    reasons[infinite] = "infinite KL: its top-p nucleus leaves the base's"
    with np.errstate(invalid="ignore"):
        gap = np.where(none, 0.0, (limit - gain) / beta)
    mean, mean_limit = gain.mean(axis=0), limit.mean(axis=0)
    efficiency_low, efficiency_high = boot.ratio(gain, limit)
    gain_low, gain_high = boot.interval(gain)
    gap_low, gap_high = boot.interval(gap)
    win_low, win_high = boot.interval(wins)
    gain_reason, win_reason = (judge_draws(name, each, boot) for name, each in (("gain", gain), ("win rate", wins)))
    return Placement(
        gain=mean,
        gain_low=gain_low,
        gain_high=gain_high,
        limit=mean_limit,
        efficiency=mean / np.where(mean_limit > 0, mean_limit, np.nan),
        efficiency_low=efficiency_low,
        efficiency_high=efficiency_high,
        beta=np.where(infinite, np.nan, beta),
        optimality_gap=gap.mean(axis=0),
        optimality_gap_low=gap_low,
        optimality_gap_high=gap_high,
        win_rate=wins.mean(axis=0),
        win_rate_low=win_low,
        win_rate_high=win_high,
        limit_from=limit_from,
        reliable=reasons == "",
        reason=reasons,
        gain_reliable=gain_reason == "",
        gain_reason=gain_reason,
        win_rate_reliable=win_reason == "",
        win_rate_reason=win_reason,
    )


@dataclass(frozen=True)
class _Limit:
    """The limit at a policy's KL: contributions of the prompts [p], dG*/dκ, and why it is not reliable."""

    values: Array
    beta: float
    reason: str


def _pooled_limit(
    base: Array,
    policy: Array,
    log_ratios: tuple[ArrayLike, ArrayLike],
    kl: Array,
    boot: PromptBootstrap,
    seed: int,
    keys: np.ndarray | None,
) -> _Limit:
    """From the base's samples [p, m] and the policy's [p, m'], at the policy's KLs [p]."""
    on_base, own = (np.asarray(each, dtype=np.float64) for each in log_ratios)
    if on_base.shape != base.shape or own.shape != policy.shape:
        raise EstimateError(
            f"Log-ratios of shapes {on_base.shape} and {own.shape} for samples {base.shape} and {policy.shape}."
        )
    both, ratios = np.concatenate([base, policy], axis=1), np.concatenate([on_base, own], axis=1)
    pool = Pool.of(
        np.repeat(["base", "policy"], [base.shape[1], policy.shape[1]]),
        {"policy": np.where(np.isnan(both), np.nan, ratios)},
    )
    points = CorrectedCurve(both, seed=seed, keys=keys, pool=pool).at(np.array([kl.mean()]))
    values = paired_limit(points, kl[:, None], "average")
    low, high = boot.interval(values)
    verdict = judge_points(both, points, high - low, clusters=boot.clusters, pool=pool)
    return _Limit(values[:, 0], float(points.beta[0]), str(verdict.reason[0]))


def win_rates(policy: Array, base: Array) -> Array:
    """Share of pairs (a policy's reply, a base reply) that the policy wins; a tie counts half.

    Args:
        policy, base: scores [p, m'] and [p, m]; NaN marks a missing sample.

    Returns:
        Shares [p].

    Example:
        >>> win_rates(np.array([[1.0, 2.0]]), np.array([[0.0, 1.0]]))
        array([0.875])
    """
    out = np.empty(len(base))
    for i, (ours, theirs) in enumerate(zip(policy, base, strict=True)):
        ours, theirs = ours[~np.isnan(ours)], np.sort(theirs[~np.isnan(theirs)])
        below, up_to = (np.searchsorted(theirs, ours, side=side) for side in ("left", "right"))
        out[i] = (below + up_to).mean() / (2 * len(theirs))
    return out


def mean_over_prompts(values: Array, boot: PromptBootstrap) -> tuple[Array, Array, Array]:
    """Mean of contributions over prompts, with its interval.

    Args:
        values: [p, k].
        boot: replicates.

    Returns:
        Mean, low and high [k]; an infinite contribution makes the mean infinite, without interval.

    Example:
        >>> boot = PromptBootstrap(100, replicates=200)
        >>> mean, low, high = mean_over_prompts(np.random.default_rng(0).normal(size=(100, 1)), boot)
        >>> bool(low < mean < high)
        True
    """
    finite = np.isfinite(values).all(axis=0)
    low, high = boot.interval(np.where(finite, values, np.nan))
    return values.mean(axis=0), low, high


ESTIMATOR = "rao-blackwell"


def on_base_scale(
    scores: Mapping[str, pl.DataFrame],
    scales: pl.DataFrame,
    base: Mapping[str, Array],
    ensembles: Mapping[str, Mapping[str, Any]],
) -> dict[str, Array]:
    """A policy's rewards and ensembles, centred and scaled as the base samples were.

    Args:
        scores: table `scores` of each reward, all of the same keys.
        scales: table `scales`: centre per prompt and scale of each reward on base samples.
        base: the rewards of the base samples [p, m], standardised, prompts in sorted order.
        ensembles: members, aggregator and penalty of each.

    Returns:
        Rewards and ensembles [p, m'] by name, in base standard deviations.

    Raises:
        ArtifactError: the policy was sampled on other prompts than the base.
    """
    out: dict[str, Array] = {}
    for name, table in scores.items():
        grid, scale = Grid.of(table), scales.filter(pl.col("reward") == name).sort("prompt_id")
        if grid.prompt_ids != scale["prompt_id"].to_list():
            raise ArtifactError(f"reward {name}: a policy has other prompts than the base; delete its shards")
        out[name] = apply_standardisation(
            grid.array(table["score"]), scale["centre"].to_numpy(), float(scale["scale"][0]), name=name
        )
    for name, e in ensembles.items():
        combined = standardise(_combine(base, e), name=name)
        out[name] = apply_standardisation(_combine(out, e), combined.centre, combined.scale, name=name)
    return out


def _combine(rewards: Mapping[str, Array], ensemble: Mapping[str, Any]) -> Array:
    members = np.stack([rewards[member] for member in ensemble["members"]])
    return aggregate(members, ensemble["aggregator"], coefficient=ensemble["penalty"])


def per_prompt(kl: pl.DataFrame, column: str) -> Array:
    """Mean of a column over each prompt's replies.

    Args:
        kl: table `policy_kl`.
        column: such as "kl".

    Returns:
        Means [p], prompts in sorted order, in units of the column.

    Example:
        >>> table = pl.DataFrame({"prompt_id": ["a", "a"], "sample_id": [0, 1], "kl": [0.2, 0.4]})
        >>> per_prompt(table, "kl").round(3)
        array([0.3])
    """
    with np.errstate(invalid="ignore"):
        return np.nanmean(Grid.of(kl).array(kl[column]), axis=1)


def placements(
    base: Mapping[str, Array],
    policies: Mapping[str, Mapping[str, Array]],
    kl: Mapping[str, pl.DataFrame],
    ratios: Mapping[str, tuple[Array, Array]] | None = None,
    *,
    replicates: int,
    seed: int,
    keys: np.ndarray | None = None,
    clusters: np.ndarray | None = None,
) -> pl.DataFrame:
    """Where each policy stands: one row per policy and reward or ensemble.

    Args:
        base: every reward and ensemble of the base samples [p, m], standardised.
        policies: the same of each policy's samples, from `on_base_scale`.
        kl: table `policy_kl` of each policy.
        ratios: log-ratios of each policy (`log_ratios`), to see the limit where base samples alone do not show it.
        replicates, seed, keys, clusters: as for `place`.

    Returns:
        Rows of the table `policies`, without the labels of `labelled`.
    """
    names = list(policies)
    spent, ratio = (np.stack([per_prompt(kl[p], c) for p in names], axis=1) for c in ("kl", "log_ratio"))
    draws: dict[str, Any] = {"replicates": replicates, "seed": seed, "keys": keys, "clusters": clusters}
    boot = PromptBootstrap(len(spent), **draws)
    common: dict[str, Any] = {"policy": names}
    for column, values in (("kl", spent), ("kl_log_ratio", ratio)):
        common |= dict(zip((column, f"{column}_low", f"{column}_high"), mean_over_prompts(values, boot), strict=True))
        common[f"{column}_reliable"] = judge_draws("KL", values, boot) == ""
    common["kl_infinite"] = [float(kl[p]["kl"].is_infinite().mean()) for p in names]  # type: ignore[arg-type]
    pools = None if ratios is None else [ratios[p] for p in names]
    rows = []
    for evaluated, scores in base.items():
        theirs = [policies[p][evaluated] for p in names]
        placed = place(scores, theirs, spent, log_ratios=pools, **draws)
        rows.append(pl.DataFrame(common).hstack(placed.to_polars()).with_columns(evaluated=pl.lit(evaluated)))
    return pl.concat(rows).with_columns(kl_estimator=pl.lit(ESTIMATOR))


def log_ratios(
    kl: Mapping[str, pl.DataFrame], on_base: Mapping[str, pl.DataFrame], standardised: pl.DataFrame
) -> dict[str, tuple[Array, Array]]:
    """Log π/π₀ of the base's samples [p, m] and of each policy's own [p, m'], nats.

    Args:
        kl: table `policy_kl` of each policy's samples.
        on_base: the same of the base's samples, with the base and the policy in each other's place.
        standardised: rewards of the base's samples.

    Raises:
        ArtifactError: a policy was read on other samples than the base's.
    """
    keys = standardised.select(*KEY).sort(*KEY)
    out = {}
    for policy, table in on_base.items():
        if not table.select(*KEY).equals(keys):
            raise ArtifactError(
                f"policy {policy} was read on other samples than the base's; delete its shards in on_base"
            )
        own = kl[policy]
        out[policy] = (-Grid.of(table).array(table["log_ratio"]), Grid.of(own).array(own["log_ratio"]))
    return out


def labelled(
    table: pl.DataFrame,
    labels: Mapping[str, Mapping[str, Any]],
    samples: Mapping[str, pl.DataFrame],
    notes: Mapping[str, Sequence[str]],
    kl: Mapping[str, pl.DataFrame],
) -> pl.DataFrame:
    """Add the labels of the study file and facts about the replies: training, lengths, truncation, notes.

    Args:
        table: from `placements`.
        labels: of each policy: objective, optimized, coefficient, seed.
        samples: table `samples` of each policy.
        notes: remarks on each policy.
        kl: table `policy_kl` of each policy.

    Returns:
        The table with these columns. `logprob_deviation` is the largest difference, over the policy's replies, between
        the log-probability of the sampling engine and the one that the KL was read with, in nats per reply.
    """
    rows = [
        {
            "policy": policy,
            **labels[policy],
            "truncation_rate": (s["finish_reason"] == "length").mean(),
            "mean_tokens": s["n_tokens"].mean(),
            "logprob_deviation": _apart(s, kl[policy]),
            "note": "; ".join(notes[policy]),
        }
        for policy, s in samples.items()
    ]
    types = {"objective": pl.String, "optimized": pl.String, "coefficient": pl.Float64, "seed": pl.Int64}
    return table.join(pl.DataFrame(rows, schema_overrides=types), on="policy", how="left", maintain_order="left")


def _apart(samples: pl.DataFrame, kl: pl.DataFrame) -> float:
    both = samples.select(*KEY, "n_tokens", drawn="logprob").join(kl.select(*KEY, "logprob"), on=KEY, validate="1:1")
    return deviation(both["drawn"], both["logprob"], both["n_tokens"]).largest
