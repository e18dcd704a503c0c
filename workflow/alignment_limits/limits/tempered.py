"""The limit from tempered sampling: all levels pooled with the base's replies, and two runs of different effort.

Each level is a sample of π₀ e^{λ r} / Z(λ), whose density relative to the base is known up to Z. The multistate Bennett
acceptance ratio finds the Z of all levels at once, for each prompt, from the rewards alone. Then every reply of every
level has a weight relative to the base, as in a pool (`Pool`), and the curve is that of the weighted replies.

Particles share ancestors, moves mix slowly, and a limit is not linear in its samples, so a run is biased, mostly
downwards. This bias is proportional to 1 / particles for many particles, whatever the moves. So a second run has half
the particles, and the estimate is full + (full − half).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike

from alignment_limits.ensembles.scores import Array, Columns, Counts, Flags, Words
from alignment_limits.errors import EstimateError
from alignment_limits.limits.bootstrap import PromptBootstrap, no_shorter_than_students, widened
from alignment_limits.limits.reliability import FEWEST_PROMPTS, SMALLEST_ESS, weighted_median
from alignment_limits.limits.sequential import Level

# Verdicts: in Markov worlds, such rows are within 2 % on average (docs/benchmarks.md, "Tempered sampling").
MOST_CORRECTED = 0.05  # of the gain
FEWEST_DRAWS = 8.0
NEWTON_STEPS = 50
BLOCK = 4_000_000  # numbers in memory at once


@dataclass(frozen=True, repr=False)
class TemperedTable(Columns):
    """Rows at KL budgets, then rows at the levels of the full run, as equal 1-D arrays.

    Attributes:
        at: "kl" (the limit at a budget) or "level" (a level of the run, as a decoder).
        budget: "average": one β for all prompts; the KL is a mean over prompts.
        beta: temperature, in units of the tempering reward.
        kl: nats per reply.
        gain: of the evaluated reward; corrected for the effort of the run, as `kl` is at a level.
        gain_full, gain_half: the same from each run alone.
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
    gain_drawn: Array
    level: Counts
    tokens: Array
    ess: Array
    acceptance: Array
    renewed: Array
    draws: Array
    reliable: Flags
    reason: Words


@dataclass(frozen=True)
class Pooled:
    """Replies of all levels of a run to P prompts, weighted as replies of the base.

    Attributes:
        rewards: (P, N).
        evaluated: another reward of the same replies (P, N), or the same one.
        log_weights: log of each reply's weight (P, N); a prompt's weights sum to 1.
        log_z: log Z of each level (P, L).
    """

    rewards: Array
    evaluated: Array
    log_weights: Array
    log_z: Array

    def at(self, inverse: float) -> tuple[Array, Array, Array, Array, Array]:
        """KL, gain, slopes Cov(v, r) and Var(r), and effective sample size of each prompt (P,) at λ."""
        logs = self.log_weights + inverse * self.rewards
        log_z = scipy.special.logsumexp(logs, axis=1)
        w, base = np.exp(logs - log_z[:, None]), np.exp(self.log_weights)
        r, v = (np.sum(w * each, axis=1) for each in (self.rewards, self.evaluated))
        away = w * (self.rewards - r[:, None])
        covariance, variance = np.sum(away * self.evaluated, axis=1), np.sum(away * self.rewards, axis=1)
        gain = v - np.sum(base * self.evaluated, axis=1)
        return inverse * r - log_z, gain, covariance, variance, 1.0 / np.sum(w**2, axis=1)

    def inverse_at(self, kl: float, last: float) -> float:
        """The λ up to `last` at which the mean KL is `kl`."""
        if not kl > 0:
            return 0.0
        return float(scipy.optimize.brentq(lambda x: self.at(x)[0].mean() - kl, 0.0, last, xtol=1e-12))


def pool_levels(levels: Sequence[Level], evaluated: Sequence[Array] | None = None) -> Pooled:
    """Pool the replies of all levels by the multistate Bennett acceptance ratio, prompt by prompt.

    Z_l solves Σ_i e^{λ_l r_i} / Σ_m N_m e^{λ_m r_i} / Z_m = Z_l over all N replies; a reply's weight is one over that
    denominator. This is the minimum of a convex function of log Z, found by Newton's method from the sums by levels.

    Args:
        levels: of one run, the base first.
        evaluated: another reward of the replies of each level (P, K); default: the tempering reward.

    Returns:
        Replies with their weights.

    Raises:
        EstimateError: the levels are of other prompts, or do not begin at the base.

    Example:
        >>> rewards = np.random.default_rng(0).normal(size=(16, 64))
        >>> base = Level.base([[(0,)] * 64] * 16, rewards)
        >>> kl, gain, *_ = pool_levels([base]).at(1.0)  # without further levels, the tilt of the base's replies
        >>> round(float(kl.mean()), 1)
        0.4

    References:
        Shirts and Chodera (2008), "Statistically optimal analysis of samples from multiple equilibrium states";
        docs/theory.md, "Tempered sampling".
    """
    if not levels or levels[0].number != 0 or len({len(level.scores) for level in levels}) > 1:
        raise EstimateError("The levels of a run are of the same prompts, and the first is the base.")
    rewards = np.concatenate([level.scores for level in levels], axis=1)
    other = rewards if evaluated is None else np.concatenate(list(evaluated), axis=1)
    if other.shape != rewards.shape:
        raise EstimateError(f"The evaluated reward has shape {other.shape}, the replies {rewards.shape}.")
    inverse = np.array([level.inverse for level in levels])
    size = np.array([level.scores.shape[1] for level in levels], dtype=np.float64)
    start = np.stack([level.log_z for level in levels], axis=1)
    step = max(1, BLOCK // (len(levels) * rewards.shape[1]))
    parts = [_log_z(rewards[i : i + step], inverse, size, start[i : i + step]) for i in range(0, len(rewards), step)]
    log_z = np.concatenate(parts)
    mixture = np.full(rewards.shape, -np.inf)
    for i, lam in enumerate(inverse):
        mixture = np.logaddexp(mixture, np.log(size[i]) + lam * rewards - log_z[:, i, None])
    logs = -mixture
    return Pooled(rewards, other, logs - scipy.special.logsumexp(logs, axis=1, keepdims=True), log_z)


def _log_z(rewards: Array, inverse: Array, size: Array, start: Array) -> Array:
    """Log Z of each level (P, L), 0 at the base."""
    f = start[:, :1] - start
    for _ in range(NEWTON_STEPS):
        logs = (np.log(size) + f)[:, :, None] + inverse[:, None] * rewards[:, None, :]
        share = np.exp(logs - scipy.special.logsumexp(logs, axis=1, keepdims=True))
        slope = share.sum(axis=2) - size
        if np.abs(slope).max() <= 1e-8 * size.sum():
            break
        curvature = -share @ share.transpose(0, 2, 1)
        diagonal = np.arange(len(size))
        curvature[:, diagonal, diagonal] += share.sum(axis=2) + 1e-9
        f[:, 1:] -= np.linalg.solve(curvature[:, 1:, 1:], slope[:, 1:, None])[:, :, 0]
    return -f


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
) -> TemperedTable:
    """The limit at KL budgets and the levels of a run, from two runs of tempered sampling.

    Args:
        full, half: levels of a run, and of one with half the particles at the same λ; both from the same base level.
        kls: budgets in nats, means over prompts.
        evaluated: another reward of the replies of each level of both runs, each (P, K); default: the tempering
            reward, whose gain is the limit.
        replicates, seed, level, keys, clusters: of the bootstrap over prompts, as for `frontier`.

    Returns:
        One row for each KL, then one for each level of the full run.

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
    rows = [_at_kl(own, other, float(k), inverse[-1]) for k in kappa]
    numbers = [-1 if np.isnan(row.inverse) else _first_above(inverse, row.inverse) for row in rows]
    rows += [_at_level(own, other, lam) for lam in inverse[1:]]
    numbers += range(1, len(full))
    runs = _Diagnostics.of(full, half, evaluated and evaluated[0])
    return _table(rows, np.array(numbers), runs, boot, last)


@dataclass(frozen=True)
class _Row:
    """Contributions of each prompt (P,) of both runs at one λ; NaN where a run does not reach the KL.

    `change` is the distance between the runs' curves: at a level their KL differs, too.
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
    rows: Sequence[_Row], numbers: np.ndarray, runs: _Diagnostics, boot: PromptBootstrap, last: float
) -> TemperedTable:
    count, at_kl = len(rows), np.array([row.at == "kl" for row in rows])
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
        budget=np.full(count, "average", dtype=object),
        beta=np.array([row.beta for row in rows]),
        kl=kl,
        kl_low=np.where(at_kl, kl, kl_low),
        kl_high=np.where(at_kl, kl, kl_high),
        gain=gain,
        gain_low=gain_low,
        gain_high=gain_high,
        gain_full=full.mean(axis=0),
        gain_half=half.mean(axis=0),
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


def _why_not(row: _Row, ess: float, draws: float, change: float, error: float, gain: float, units: int) -> str:
    """Why a row is not reliable; "" if it is."""
    if row.inverse == 0:
        return ""
    if units < FEWEST_PROMPTS:
        return f"only {units} independent prompts (needs {FEWEST_PROMPTS})"
    if ess < SMALLEST_ESS:
        return f"effective sample size {ess:.1f} (needs {SMALLEST_ESS:.0f})"
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
