"""Fits to preferences: Newton's method for many small problems at once, Bradley-Terry rewards, and γ.

Preferences determine γ log π* and nothing else: if any reward is allowed, every γ fits equally well. They determine γ
if the target is known to be a tilt of the base, log π* = log π₀ + r/β, by a reward of a class that does not contain
log π₀. Then logit P(a ≻ b) = γ log π₀(a)/π₀(b) + w·(φ(a) − φ(b)), and γ is the weight of the base's log-probabilities.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from alignment_limits.preferences.objectives import sigmoid, softplus

# (points (b, D), their numbers (b,)) → value (b,), gradient (b, D), Hessian (b, D, D)
Oracle = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
FAR = 25.0  # nats from the base; a policy farther away counts as diverged
_LONGEST = 4.0  # largest component of a step


def newton(
    oracle: Oracle, start: np.ndarray, *, tolerance: float = 1e-11, steps: int = 80, bound: float = np.inf
) -> tuple[np.ndarray, np.ndarray]:
    """Minimisers of B functions of D variables, downhill from `start`.

    A step that does not lower the value is undone and the damping raised, so a function need not be convex. The result
    is the minimum in whose basin the start is.

    Args:
        oracle: (points (b, D), their numbers (b,)) → value (b,), gradient (b, D), Hessian (b, D, D).
        start: (B, D).
        tolerance: of the gradient's largest component.
        steps: largest number of steps.
        bound: a problem whose point leaves the box ±bound is given up.

    Returns:
        Points (B, D); converged (B,), False for problems given up or not finished after `steps`.

    Example:
        >>> square = lambda x, rows: ((x[:, 0] - 3) ** 2 / 2, x - 3, np.ones((len(x), 1, 1)))
        >>> points, converged = newton(square, np.zeros((2, 1)))
        >>> points.round(6).tolist(), converged.tolist()
        ([[3.0], [3.0]], [True, True])
    """
    x = np.array(start, dtype=float)
    done = np.zeros(len(x), bool)
    active = np.arange(len(x))
    value, gradient, hessian = oracle(x, active)
    damping = np.zeros(len(x))
    eye = np.eye(x.shape[1])
    for _ in range(steps):
        flat = np.abs(gradient).max(-1) <= tolerance
        done[active[flat]] = True
        keep = ~flat & (np.abs(x[active]).max(-1) <= bound)
        active, value, gradient, hessian = (a[keep] for a in (active, value, gradient, hessian))
        if not active.size:
            break
        scale = np.trace(hessian, axis1=-2, axis2=-1) / x.shape[1]
        shift = np.maximum(damping[active], 1e-13) * np.abs(scale) + 1e-300
        step = -np.linalg.solve(hessian + shift[:, None, None] * eye, gradient[..., None])[..., 0]
        step *= np.minimum(1, _LONGEST / np.maximum(np.abs(step).max(-1), 1e-300))[:, None]
        slope = np.einsum("bd,bd->b", step, gradient)
        trial = x[active] + step
        new = oracle(trial, active)
        rounding = 1e-14 * (1 + np.abs(value))
        good = (slope < 0) & (new[0] <= value + 1e-4 * slope + rounding)
        x[active[good]] = trial[good]
        value, gradient, hessian = (
            np.where(good.reshape(-1, *[1] * (a.ndim - 1)), a, b)
            for a, b in zip(new, (value, gradient, hessian), strict=True)
        )
        d = damping[active]
        damping[active] = np.where(good, np.where(d < 1e-6, 0, d / 8), np.maximum(8 * d, 1e-4))
    return x, done


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities of logits (..., Y), along the last axis: the same shape.

    Example:
        >>> np.exp(log_softmax(np.log([1.0, 3.0]))).round(6)
        array([0.25, 0.75])
    """
    top = logits - logits.max(-1, keepdims=True)
    return top - np.log(np.exp(top).sum(-1, keepdims=True))


def margins(values: np.ndarray) -> np.ndarray:
    """All differences v[a] − v[b], (..., Y) → (..., Y, Y).

    Example:
        >>> margins(np.array([1.0, 3.0]))
        array([[ 0., -2.],
               [ 2.,  0.]])
    """
    return values[..., :, None] - values[..., None, :]


def reward_fit(wins: np.ndarray, *, ridge: float = 0.0) -> np.ndarray:
    """Bradley-Terry rewards: argmin Σ W[a, b] (−log σ(R_a − R_b)) + ridge/2 ‖R‖².

    Args:
        wins: W (..., Y, Y), how often a was preferred to b.
        ridge: in pairs; 1/ridge is the variance of a normal prior. With 0 a finite minimiser exists only where
            `has_finite_fit` is true.

    Returns:
        Rewards (..., Y) of mean 0; NaN where there is no finite minimiser.

    Example:
        >>> reward_fit(np.array([[0, 3], [1, 0]])).round(3)  # half of log 3 up and down
        array([ 0.549, -0.549])
    """
    total = np.maximum(wins.sum((-2, -1)), 1.0)
    weights = (wins / total[..., None, None]).reshape(-1, *wins.shape[-2:])
    ridges = np.ravel(ridge / total)
    found, ok = newton(lambda r, i: pair_loss(r, weights[i], 1.0, ridges[i]), np.zeros(weights.shape[:2]), bound=FAR)
    if ridge == 0:
        ok &= has_finite_fit(weights)
    found[~ok] = np.nan
    return (found - found.mean(-1, keepdims=True)).reshape(wins.shape[:-1])


def pair_loss(
    g: np.ndarray, wins: np.ndarray, gamma: float, ridge: np.ndarray, shift: np.ndarray | float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Σ W[a, b] (−log σ(γ (s_a − s_b))) + ridge/2 ‖g‖² at s = g + shift, of B problems.

    Only differences of g count. A unit curvature along the constant fixes the rest.

    Args:
        g: (B, Y).
        wins: W (B, Y, Y).
        gamma: inverse temperature of the preferences.
        ridge: (B,).
        shift: broadcast against g.

    Returns:
        Values (B,), gradients (B, Y) and Hessians (B, Y, Y) in g.

    Example:
        >>> value, gradient, _ = pair_loss(np.zeros((1, 2)), np.array([[[0, 3], [1, 0]]]), 1.0, np.zeros(1))
        >>> value.round(3), gradient  # 4 log 2
        (array([2.773]), array([[-1.,  1.]]))
    """
    u = gamma * margins(g + shift)
    # softplus(−u) and sigmoid(−u) from one exponential: a fit spends most of its time here
    small = np.exp(-np.abs(u))
    loss, lost = np.maximum(-u, 0) + np.log1p(small), np.where(u > 0, small, 1) / (1 + small)
    pull = wins * lost
    value = (wins * loss).sum((-2, -1)) + 0.5 * ridge * (g**2).sum(-1)
    gradient = gamma * (pull.sum(-2) - pull.sum(-1)) + ridge[:, None] * g
    curvature = pull * (1 - lost)
    curvature = gamma**2 * (curvature + curvature.swapaxes(-2, -1))
    size = g.shape[1]
    hessian = 1 / size - curvature
    diagonal = np.arange(size)
    hessian[:, diagonal, diagonal] += curvature.sum(-1) + ridge[:, None]
    return value, gradient, hessian


def has_finite_fit(wins: np.ndarray) -> np.ndarray:
    """Whether maximum-likelihood rewards are finite and unique.

    They are if and only if every response can be reached from every other along wins. Otherwise the responses fall into
    two groups that never met, or of which one never lost to the other. Then the likelihood rises for ever as the groups
    move apart (separable data).

    Args:
        wins: (..., Y, Y).

    Returns:
        Booleans (...).

    Example:
        >>> has_finite_fit(np.array([[[0, 3], [1, 0]], [[0, 4], [0, 0]]]))
        array([ True, False])

    References:
        Ford (1957); docs/theory.md, "Three ways to learn it".
    """
    reach = (wins > 0) | np.eye(wins.shape[-1], dtype=bool)
    for _ in range(max(wins.shape[-1] - 1, 1).bit_length()):
        reach = np.matmul(reach.astype(np.float32), reach.astype(np.float32)) > 0
    return np.asarray(reach.all((-2, -1)))


def pair_design(values: np.ndarray) -> np.ndarray:
    """Differences of features between the two responses of every unordered pair.

    Args:
        values: features (X, Y, D).

    Returns:
        (pairs, D), context by context.

    Example:
        >>> pair_design(np.array([[[1.0], [4.0], [6.0]]])).ravel()
        array([-3., -5., -2.])
    """
    first, second = np.triu_indices(values.shape[1], 1)
    return (values[:, first] - values[:, second]).reshape(-1, values.shape[2])


def pair_wins(wins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wins of the first and of the second response of the pairs of `pair_design`.

    Args:
        wins: (..., X, Y, Y).

    Returns:
        Two arrays (..., pairs).

    Example:
        >>> first, second = pair_wins(np.array([[[0, 3], [1, 0]]]))
        >>> first.tolist(), second.tolist()
        ([3], [1])
    """
    first, second = np.triu_indices(wins.shape[-1], 1)
    flat = (*wins.shape[:-3], -1)
    return wins[..., first, second].reshape(flat), wins[..., second, first].reshape(flat)


def linear_reward_fit(wins: np.ndarray, features: np.ndarray, *, ridge: float) -> np.ndarray:
    """Rewards features · w, where w minimises Σ W[a, b] (−log σ(R_a − R_b)) + ridge/2 ‖w‖².

    Args:
        wins: (B, X, Y, Y), all of one world.
        features: (X, Y, D).
        ridge: in pairs; 1/ridge is the variance of a normal prior on each weight.

    Returns:
        Rewards (B, X, Y), of mean 0 in each context.

    Example:
        >>> wins, features = np.array([[[[0, 3], [1, 0]]]]), np.array([[[1.0], [0.0]]])
        >>> linear_reward_fit(wins, features, ridge=1e-9).round(3)
        array([[[ 0.549, -0.549]]])
    """
    weights, _ = logistic_fit(pair_design(features), *pair_wins(wins), ridge=ridge)
    rewards = np.einsum("xyd,bd->bxy", features, weights)
    return np.asarray(rewards - rewards.mean(-1, keepdims=True))


def logistic_fit(
    design: np.ndarray,
    won: np.ndarray,
    lost: np.ndarray,
    *,
    ridge: float | np.ndarray = 0.0,
    offset: np.ndarray | float = 0.0,
    start: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Weights of P(first wins) = σ(design · w + offset), for B data sets.

    Args:
        design: (pairs, D).
        won, lost: (B, pairs).
        ridge: of each weight, a number or (D,), in pairs.
        offset: broadcast against (B, pairs).
        start: (B, D); default: 0.

    Returns:
        Weights (B, D), and their log-likelihoods (B,) without the ridge.

    Example:
        >>> weights, likelihood = logistic_fit(np.ones((1, 1)), np.array([[3.0]]), np.array([[1.0]]))
        >>> weights.round(3), likelihood.round(3)
        (array([[1.099]]), array([-2.249]))
    """
    total = np.maximum(won.sum(-1) + lost.sum(-1), 1.0)[:, None]
    first, second = won / total, lost / total
    offsets = np.broadcast_to(offset, won.shape)
    size = design.shape[1]
    ridges = np.broadcast_to(ridge, size) / total
    squares = (design[:, :, None] * design[:, None, :]).reshape(-1, size * size)

    def oracle(w: np.ndarray, i: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        u = w @ design.T + offsets[i]
        value = (first[i] * softplus(-u) + second[i] * softplus(u)).sum(-1) + 0.5 * (ridges[i] * w**2).sum(-1)
        p = sigmoid(u)
        gradient = ((first[i] + second[i]) * p - first[i]) @ design + ridges[i] * w
        hessian = (((first[i] + second[i]) * p * (1 - p)) @ squares).reshape(-1, size, size)
        hessian[:, np.arange(size), np.arange(size)] += ridges[i]
        return value, gradient, hessian

    weights, _ = newton(oracle, np.zeros((len(won), size)) if start is None else start)
    u = weights @ design.T + offsets
    return weights, -(won * softplus(-u) + lost * softplus(u)).sum(-1)


DROP = NormalDist().inv_cdf(0.975) ** 2 / 2  # of the profile log-likelihood, at the ends of a 95% interval
_FLAT = 1e-6  # γ is not identified if a smaller share of its information is left once the rewards are fitted
_STEPS = 30


class GammaFit(NamedTuple):
    """Estimates of γ from B data sets.

    Attributes:
        gamma: (B,); NaN where γ is not identified.
        low, high: 95 % profile-likelihood interval; infinite where γ is not identified.
        identified: whether the data determine γ.
    """

    gamma: np.ndarray
    low: np.ndarray
    high: np.ndarray
    identified: np.ndarray


def profile_gamma(
    base_margin: np.ndarray, design: np.ndarray, won: np.ndarray, lost: np.ndarray, *, ridge: float = 1e-4
) -> GammaFit:
    """γ of B data sets of the same pairs, with the reward profiled out.

    Args:
        base_margin: log π₀(a)/π₀(b) of every pair (pairs,), nats.
        design: φ(a) − φ(b) (pairs, D).
        won, lost: how often a was preferred, and how often b, (B, pairs).
        ridge: in pairs, on w alone: keeps w finite on separable data.

    Returns:
        Estimates with intervals.

    Example:
        >>> margin = np.array([1.0, -1.0, 2.0])
        >>> won = 1000 / (1 + np.exp(-0.5 * margin))[None]
        >>> profile_gamma(margin, np.array([[1.0], [1.0], [0.0]]), won, 1000 - won).gamma.round(3)
        array([0.5])

    References:
        docs/theory.md, "When preferences determine γ".
    """
    joint = np.column_stack([base_margin, design])
    ridges = np.r_[0.0, np.full(design.shape[1], ridge)]
    identified = np.array([_identified(joint, met) for met in won + lost])
    gamma, low, high = (np.full(len(won), fill) for fill in (np.nan, -np.inf, np.inf))
    some = np.flatnonzero(identified)
    if some.size:
        weights, best = logistic_fit(joint, won[some], lost[some], ridge=ridges)
        best = best - 0.5 * (ridges * weights**2).sum(-1)
        gamma[some] = weights[:, 0]
        spread = _spread(joint, weights, won[some] + lost[some], ridges)
        for side, ends in ((-1, low), (1, high)):
            ends[some] = _end(base_margin, design, won[some], lost[some], ridge, weights, best, side * spread)
    return GammaFit(gamma, low, high, identified)


def _identified(joint: np.ndarray, met: np.ndarray) -> bool:
    """Whether the base's margins are not a linear combination of the features, over the pairs that were compared."""
    seen = met > 0
    root = np.sqrt(met[seen])[:, None] * joint[seen]
    base, rest = root[:, 0], root[:, 1:]
    left = base - rest @ np.linalg.lstsq(rest, base, rcond=None)[0] if rest.shape[1] else base
    return bool(left @ left > _FLAT * (base @ base))


def _spread(joint: np.ndarray, weights: np.ndarray, met: np.ndarray, ridges: np.ndarray) -> np.ndarray:
    """Standard errors of γ from the information."""
    p = sigmoid(weights @ joint.T)
    information = np.einsum("bp,pi,pj->bij", met * p * (1 - p), joint, joint, optimize=True) + np.diag(ridges)
    return np.asarray(np.sqrt(np.linalg.inv(information)[:, 0, 0]))


def _end(
    base_margin: np.ndarray,
    design: np.ndarray,
    won: np.ndarray,
    lost: np.ndarray,
    ridge: float,
    weights: np.ndarray,
    best: np.ndarray,
    step: np.ndarray,
) -> np.ndarray:
    """Where the profile log-likelihood is `DROP` below its maximum, on the side of `step`: doubling, then bisection."""

    def drop(gamma: np.ndarray) -> np.ndarray:
        w, value = logistic_fit(
            design, won, lost, ridge=ridge, offset=gamma[:, None] * base_margin, start=weights[:, 1:]
        )
        return best - (value - 0.5 * ridge * (w**2).sum(-1))

    inside, outside = weights[:, 0].copy(), weights[:, 0] + 2 * step
    for _ in range(_STEPS):
        short = drop(outside) < DROP
        if not short.any():
            break
        inside, outside = np.where(short, outside, inside), np.where(short, 2 * outside - weights[:, 0], outside)
    for _ in range(_STEPS):
        middle = (inside + outside) / 2
        short = drop(middle) < DROP
        inside, outside = np.where(short, middle, inside), np.where(short, outside, middle)
        if (np.abs(outside - inside) <= 1e-3 * np.abs(step)).all():
            break
    return (inside + outside) / 2
