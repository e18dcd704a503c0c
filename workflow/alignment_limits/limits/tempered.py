"""The limit from tempered sampling: all levels pooled with the base's replies, and two runs of different effort.

All replies are weighted as replies of the base (`levels.py`), and the curve is that of the weighted replies.

Particles share ancestors, moves mix slowly, and a limit is not linear in its samples, so a run is biased, mostly
downwards. This bias is proportional to 1 / particles for many particles, whatever the moves. So a second run has half
the particles, and the estimate is full + (full − half).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from alignment_limits.ensembles.scores import Array, Columns, Counts, Flags, Words
from alignment_limits.errors import EstimateError
from alignment_limits.limits.bootstrap import PromptBootstrap, no_shorter_than_students, widened
from alignment_limits.limits.brackets import Bounds
from alignment_limits.limits.frontier import FrontierTable, frontier
from alignment_limits.limits.levels import Pooled, pool_levels
from alignment_limits.limits.reliability import FEWEST_PROMPTS, SMALLEST_ESS, too_few, weighted_median
from alignment_limits.limits.sequential import Level

# Verdicts: in Markov worlds, such rows are within 2 % on average (docs/benchmarks.md, "Tempered sampling").
MOST_CORRECTED = 0.05  # of the gain
FEWEST_DRAWS = 8.0
MOST_SHORT = 0.05  # of the prompts, weighted by spread, that may not reach a per-prompt budget


@dataclass(frozen=True, repr=False)
class TemperedTable(Columns):
    """Rows at KL budgets, then rows at the levels of the full run, then rows at per-prompt budgets; equal 1-D arrays.

    Attributes:
        at: "kl" (the limit at a budget) or "level" (a level of the run, as a decoder).
        budget: "average": one β for all prompts; the KL is a mean over prompts. "per-prompt": every prompt has this KL,
            and its own β.
        beta: temperature, in units of the tempering reward; a mean over prompts under the per-prompt budget.
        kl: nats per reply.
        gain: of the evaluated reward; corrected for the effort of the run, as `kl` is at a level.
        gain_full, gain_half: the same from each run alone.
        at_least, at_most: bounds as in `FrontierTable`, from the base's replies alone; `at_least` at a level is of the
            gain at this or a smaller λ.
        gain_drawn: at a level, mean reward of its own replies minus the base's, what a decoder gains; else NaN.
        level: number of the level, at a KL the first one at or above its λ; −1 if there is none.
        tokens: new tokens drawn for one reply of this level, all levels before it and the base's reply included.
        ess: effective sample size of all replies pooled, a median over prompts weighted by their KL.
        acceptance: share of moves accepted at this level.
        renewed: share of the level's tokens that were drawn after the base's.
        draws: different draws that the first tokens of the half run's level are from, a mean over prompts.
        reliable, reason: the verdict, and why not ("" if reliable).

    Intervals are `*_low` and `*_high`.
    """

    shown = ("kl", "gain")

    at: Words
    budget: Words
    beta: Array
    kl: Array
    kl_low: Array
    kl_high: Array
    gain: Array
    gain_low: Array
    gain_high: Array
    gain_full: Array
    gain_half: Array
    at_least: Array
    at_most: Array
    gain_drawn: Array
    level: Counts
    tokens: Array
    ess: Array
    acceptance: Array
    renewed: Array
    draws: Array
    reliable: Flags
    reason: Words


def tempered_limit(
    full: Sequence[Level],
    half: Sequence[Level],
    kls: ArrayLike,
    *,
    evaluated: tuple[Sequence[Array], Sequence[Array]] | None = None,
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    keys: np.ndarray | None = None,
    clusters: ArrayLike | None = None,
    budgets: Sequence[str] = ("average",),
    bounds: Bounds | None = None,
) -> TemperedTable:
    """The limit at KL budgets and the levels of a run, from two runs of tempered sampling.

    Args:
        full, half: levels of a run, and of one with half the particles at the same λ; both from the same base level.
        kls: budgets in nats.
        evaluated: another reward of the replies of each level of both runs, each (P, K); default: the tempering
            reward, whose gain is the limit.
        replicates, seed, level, keys, clusters: of the bootstrap over prompts, as for `frontier`.
        budgets: "average" (the KL is a mean over prompts), "per-prompt" (every prompt has this KL), or both.
        bounds: the lowest and the highest score of the evaluated reward, as for `frontier`.

    Returns:
        With the average budget, one row for each KL, then one for each level of the full run; then, with the per-prompt
        budget, one row for each KL.

    Raises:
        EstimateError: the two runs have other levels or prompts.

    Example:
        >>> from alignment_limits.exact.markov import MarkovReplies, MarkovWorld
        >>> from alignment_limits.limits import Level, Tempering, temper
        >>> markov, pairs = MarkovWorld.random(32, tokens=8, length=6), np.random.default_rng(0).normal(size=(32, 8, 8))
        >>> start = markov.sample(pairs, 0.0, 64, np.random.default_rng(0))
        >>> base, world = Level.base(start.tolist(), markov.reward(pairs, start)), MarkovReplies(markov, pairs)
        >>> full = [base, *temper(world, base, Tempering(kl=2.0))]
        >>> ladder = tuple(level.inverse for level in full[1:])
        >>> half = [base, *temper(world, base, Tempering(particles=32, ladder=ladder, seed=1))]
        >>> found = tempered_limit(full, half, [0.5, 2.0]).gain[:2]
        >>> exact = [markov.limit(pairs, kl)[0] for kl in (0.5, 2.0)]
        >>> (found / exact).round(1)
        array([1., 1.])

    References:
        docs/theory.md, "Tempered sampling".
    """
    inverse = np.array([each.inverse for each in full])
    if len(half) != len(full) or not np.array_equal(inverse, [each.inverse for each in half]):
        raise EstimateError("The two runs must have the same levels λ; give the second the first one's as its ladder.")
    if not np.array_equal(full[0].scores, half[0].scores):
        raise EstimateError("The two runs must start from the same replies of the base.")
    own, other = (pool_levels(run, evaluated and evaluated[i]) for i, run in enumerate((full, half)))
    boot = PromptBootstrap(
        len(own.rewards), replicates=replicates, seed=seed, level=level, keys=keys, clusters=clusters
    )
    kappa = np.atleast_1d(np.asarray(kls, dtype=np.float64))
    last = min(float(each.at(inverse[-1])[0].mean()) for each in (own, other))
    rows: list[_Row] = []
    if "average" in budgets:
        rows += [_at_kl(own, other, float(k), inverse[-1]) for k in kappa]
        rows += [_at_level(own, other, lam) for lam in inverse[1:]]
    if "per-prompt" in budgets:
        rows += _per_prompt(own, other, full[0].scores, kappa, inverse[-1])
    runs = _Diagnostics.of(full, half, evaluated and evaluated[0])
    numbers = np.array([-1 if np.isnan(row.inverse) else _first_above(inverse, row.inverse) for row in rows])
    base = own.evaluated[:, : full[0].scores.shape[1]]
    more: dict[str, Any] = {"replicates": replicates, "seed": seed, "level": level, "keys": keys, "clusters": clusters}
    more["bounds"] = bounds and {"": bounds}
    brackets = {}
    for budget in budgets:
        betas = 1 / inverse[1:] if budget == "average" else ()
        brackets[budget] = frontier(full[0].scores, {"": base}, kls=kappa, betas=betas, budget=budget, **more)[""]
    return _table(rows, numbers, runs, boot, last, brackets)


@dataclass(frozen=True)
class _Row:
    """Contributions of each prompt (P,) of both runs at one λ; NaN where a run does not reach the KL.

    `change` is the distance between the runs' curves: at a level their KL differs, too. `short` is the share of the
    prompts that do not reach the KL.
    """

    at: str
    inverse: float
    beta: float
    kl: Array
    full: Array
    half: Array
    change: Array
    share: Array
    ess: Array
    budget: str = "average"
    short: float = 0.0


def _at_kl(own: Pooled, other: Pooled, kappa: float, last: float) -> _Row:
    found, prompts = [], len(own.rewards)
    for pooled in (own, other):
        if pooled.at(last)[0].mean() < kappa:
            gone = np.full(prompts, np.nan)
            return _Row("kl", np.nan, np.nan, np.full(prompts, kappa), gone, gone, gone, np.zeros(prompts), gone)
        lam = pooled.inverse_at(kappa, last)
        kl, gain, covariance, variance, ess = pooled.at(lam)
        rate = lam * variance.mean()
        # stationary in λ, as in limits/curve.py: replicates of the prompts need not solve again
        found.append((lam, gain + (covariance.mean() / rate if rate > 0 else 0.0) * (kappa - kl), kl, ess))
    (lam, full, share, ess), (lower, half, _, _) = found
    beta = 2 / lam - 1 / lower if kappa > 0 else np.inf
    return _Row("kl", lam, beta, np.full(prompts, kappa), full, half, full - half, share, ess)


def _per_prompt(own: Pooled, other: Pooled, base: Array, kappa: Array, last: float) -> list[_Row]:
    """Rows at a KL that every prompt has, with its own λ.

    A prompt whose best reward occurs more than once in the base's replies, and whose largest KL is below the budget,
    contributes a known gain.
    """
    full, half = (pooled.each_at(kappa, last) for pooled in (own, other))
    best = own.rewards.max(axis=1, keepdims=True)
    known = (base == best).sum(axis=1) > 1
    short = (full.short | half.short) & ~known[:, None]
    share, rows = own.spread, []
    middle = weighted_median(full.inverse, share)
    betas = np.where(full.short, 0.0, 2 / full.inverse - 1 / half.inverse).mean(axis=0)
    for j, k in enumerate(kappa):
        one, two = full.gain[:, j], half.gain[:, j]
        row = _Row(
            "kl",
            min(float(middle[j]), last) if k > 0 else 0.0,
            float(betas[j]) if k > 0 else np.inf,
            np.full(len(one), k),
            one,
            two,
            one - two,
            share,
            full.ess[:, j],
            "per-prompt",
            float(share[short[:, j]].sum() / max(share.sum(), 1e-300)),
        )
        rows.append(row)
    return rows


def _at_level(own: Pooled, other: Pooled, lam: float) -> _Row:
    kl, gain, covariance, variance, ess = own.at(lam)
    kl_half, gain_half, *_ = other.at(lam)
    rate = lam * variance.mean()
    change = gain - gain_half - (covariance.mean() / rate if rate > 0 else 0.0) * (kl - kl_half)
    return _Row("level", lam, 1 / lam, 2 * kl - kl_half, gain, gain_half, change, kl, ess)


def _first_above(inverse: Array, wanted: float) -> int:
    return int(np.searchsorted(inverse, wanted * (1 - 1e-9)))


@dataclass(frozen=True)
class _Diagnostics:
    """Of each level (L,): see `TemperedTable`."""

    tokens: Array
    acceptance: Array
    renewed: Array
    draws: Array
    drawn: Array

    @classmethod
    def of(cls, full: Sequence[Level], half: Sequence[Level], evaluated: Sequence[Array] | None) -> "_Diagnostics":
        base, count = full[0], full[0].scores.shape[1]
        values = evaluated or [level.scores for level in full]
        new = [float(base.lengths.mean()), *(level.drawn.mean() / level.scores.shape[1] for level in full[1:])]
        return cls(
            np.cumsum(new),
            np.array([level.accepted.sum() / max(level.proposed.sum(), 1) for level in full]),
            np.array([level.renewed(count).mean() for level in full]),
            np.array([level.draws.mean() for level in half]),
            np.array([each.mean() for each in values]) - values[0].mean(),
        )

    def at(self, numbers: np.ndarray) -> dict[str, Array]:
        """Diagnostics of levels with these numbers, NaN at −1."""
        return {name: np.where(numbers >= 0, values[numbers], np.nan) for name, values in vars(self).items()}


def _table(
    rows: Sequence[_Row],
    numbers: np.ndarray,
    runs: _Diagnostics,
    boot: PromptBootstrap,
    last: float,
    brackets: Mapping[str, FrontierTable],
) -> TemperedTable:
    at_kl = np.array([row.at == "kl" for row in rows])
    full, half = (np.stack([getattr(row, name) for row in rows], axis=1) for name in ("full", "half"))
    gains, kls = 2 * full - half, np.stack([row.kl for row in rows], axis=1)
    kl_low, kl_high = boot.interval(kls)
    change = np.stack([row.change for row in rows], axis=1)
    low, high = boot.interval(change)
    # The runs' distance bounds the bias that the correction leaves.
    ends = no_shorter_than_students(boot, gains, *boot.interval(gains))
    gain_low, gain_high = widened(gains.mean(axis=0), *ends, np.abs(change.mean(axis=0)))
    known = runs.at(numbers)
    kl, gain = kls.mean(axis=0), gains.mean(axis=0)
    ess = np.array([weighted_median(row.ess[:, None], row.share)[0] for row in rows])
    reasons = [
        _why_not(row, ess[j], known["draws"][j], change[:, j].mean(), (high[j] - low[j]) / 4, gain[j], boot.units)
        if numbers[j] >= 0
        else f"beyond the last level ({last:.2f} nats)"
        for j, row in enumerate(rows)
    ]
    reason = np.array(reasons, dtype=object)
    return TemperedTable(
        at=np.array([row.at for row in rows], dtype=object),
        budget=np.array([row.budget for row in rows], dtype=object),
        beta=np.array([row.beta for row in rows]),
        kl=kl,
        kl_low=np.where(at_kl, kl, kl_low),
        kl_high=np.where(at_kl, kl, kl_high),
        gain=gain,
        gain_low=gain_low,
        gain_high=gain_high,
        gain_full=full.mean(axis=0),
        gain_half=half.mean(axis=0),
        **_bounds(brackets),
        gain_drawn=np.where(at_kl, np.nan, known["drawn"]),
        level=numbers.astype(np.int32),
        tokens=known["tokens"],
        ess=ess,
        acceptance=known["acceptance"],
        renewed=known["renewed"],
        draws=known["draws"],
        reliable=reason == "",
        reason=reason,
    )


def _bounds(brackets: Mapping[str, FrontierTable]) -> dict[str, Array]:
    """Columns of bounds in the order of the rows: KLs, then levels, whose λ grows, so that their gain does."""
    found: dict[str, list[Array]] = {"at_least": [], "at_most": []}
    for table in brackets.values():
        at_kl = table.at == "kl"
        found["at_least"] += [table.at_least[at_kl], np.fmax.accumulate(table.at_least[~at_kl])]
        found["at_most"] += [table.at_most[at_kl], table.at_most[~at_kl]]
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _why_not(row: _Row, ess: float, draws: float, change: float, error: float, gain: float, units: int) -> str:
    """Why a row is not reliable; "" if it is."""
    if row.inverse == 0:
        return ""
    if units < FEWEST_PROMPTS:
        return too_few(units, "independent prompt{}")
    if ess < SMALLEST_ESS:
        return f"effective sample size {ess:.1f} (needs {SMALLEST_ESS:.0f})"
    if row.short > MOST_SHORT:
        return f"{row.short:.0%} of the prompts, weighted by spread, do not reach this KL: use a larger tempered.kl"
    if draws < FEWEST_DRAWS:
        return (
            f"{draws:.1f} independent draws of the first token with half the particles (needs {FEWEST_DRAWS:g}): use "
            "more particles or moves"
        )
    if not abs(change) + error <= MOST_CORRECTED * abs(gain):
        return (
            f"runs with all and half the particles differ by {abs(change):.2g} ± {error:.2g}, more than "
            f"{MOST_CORRECTED:.0%} of the gain: use more moves or particles"
        )
    return ""
