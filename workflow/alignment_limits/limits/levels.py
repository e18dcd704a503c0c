"""Replies of all levels of tempered sampling as one weighted sample of the base.

Each level is a sample of π₀ e^{λ r} / Z(λ), whose density relative to the base is known up to Z. The multistate Bennett
acceptance ratio finds the Z of all levels at once, for each prompt, from the rewards alone. Then every reply of every
level has a weight relative to the base, as in a pool (`Pool`), and the curve is that of the weighted replies.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy

from alignment_limits.ensembles.scores import Array, Flags
from alignment_limits.errors import EstimateError
from alignment_limits.limits.correction import interpolate
from alignment_limits.limits.sequential import Level

NEWTON_STEPS = 50
BLOCK = 4_000_000  # numbers in memory at once
NODES = 48  # λ of the curve of each prompt
BEYOND_LAST = 3.0  # times the λ of the last level, for prompts that spend less KL there than the others


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

    @cached_property
    def spread(self) -> Array:
        """Standard deviation of the tempering reward under the base (P,)."""
        return np.sqrt(self.at(0.0)[3])

    def each_at(self, kappa: Array, last: float) -> "EachAt":
        """Every prompt at the KL kappa (K,), each with its own λ, up to `BEYOND_LAST` times the last level's."""
        lam = np.geomspace(last / 400, BEYOND_LAST * last, NODES)
        kl, gain, covariance, variance, ess = (
            np.moveaxis(np.array(each), 0, -1) for each in zip(*(self.at(x) for x in lam), strict=True)
        )
        wanted = np.broadcast_to(kappa, (len(kl), len(kappa)))
        curves = gain[:, None, None], covariance[:, None, None]
        values = interpolate(kl[:, None], (lam * variance)[:, None], *curves, wanted)[:, 0, 0]
        root = np.sqrt(np.maximum.accumulate(np.maximum(kl, 0.0), axis=1))
        nodes = np.concatenate([[0.0], lam])
        inverse = np.stack([np.interp(np.sqrt(kappa), np.concatenate([[0.0], row]), nodes) for row in root])
        inverse = np.maximum(inverse, 1e-12 * last)
        size = np.stack([np.interp(row, lam, own) for row, own in zip(inverse, ess, strict=True)])
        constant = self.spread <= 1e-12 * max(self.spread.max(), 1e-300)
        values[constant] = 0.0
        return EachAt(values, inverse, size, (wanted > kl[:, -1:]) & ~constant[:, None])

    def inverse_at(self, kl: float, last: float) -> float:
        """The λ up to `last` at which the mean KL is `kl`."""
        if not kl > 0:
            return 0.0
        return float(scipy.optimize.brentq(lambda x: self.at(x)[0].mean() - kl, 0.0, last, xtol=1e-12))


@dataclass(frozen=True)
class EachAt:
    """Prompts at given KLs, each with its own λ; all arrays are (P, K).

    Attributes:
        gain: in the reward's units.
        inverse: λ.
        ess: effective sample size.
        short: whether the KL is beyond the largest λ.
    """

    gain: Array
    inverse: Array
    ess: Array
    short: Flags


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
