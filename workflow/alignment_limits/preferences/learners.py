"""Every objective as an exact learner of a tabular class: from pairs to its minimiser over all policies.

Data are a table of wins, W[..., a, b]: how often (or with what weight) a was preferred to b. No objective here uses
anything else of the pairs. So a fit costs the same for 2⁵ pairs as for 2²⁰, and seeds, data sizes and contexts are one
batch.

A learner takes `Data` and coefficients (from the largest down) and yields log-policies (..., X, Y), one array per
coefficient. The coefficient is β of the KL for PMLE, distillation, reverse KL and RLHF, the β that multiplies the
log-ratio for DPO, τ for IPO, and 1/(η · steps) for REBEL, which has the effect of a β.

In a class that contains every policy, RLHF, DPO and REBEL follow one curve, π₀ e^{R̂/β}. It passes the target only if
π₀ is uniform. Reverse KL follows π₀^{β/(β+γ)} e^{R̂/(β+γ)}, which ends in e^{R̂/γ} as β falls to 0. Distances to the
target are exact, in nats.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from alignment_limits.preferences.fits import FAR, log_softmax, margins, newton, pair_loss
from alignment_limits.preferences.objectives import sigmoid


def preference_path(
    wins: np.ndarray,
    log_base: np.ndarray,
    *,
    gamma: float,
    betas: Sequence[float],
    start: np.ndarray | None = None,
) -> Iterator[np.ndarray]:
    """Log-policies minimising Σ W[a, b] (−log σ(γ log π_a/π_b)) + β KL(π‖π₀), for each β in order.

    W of real pairs gives PMLE. W = w · σ(R̂_a − R̂_b) of pairs with weights w gives preference distillation (up to a
    constant). The KL is bounded, so on separable data the loss has its infimum at infinity, however large β is, and the
    loss is not convex. "The" minimiser is the one that is connected to π₀ as β falls from infinity. So give the β from
    the largest down: each solution starts where the last one ended.

    Args:
        wins: W (..., Y, Y), a mean over pairs, so of the same unit as β.
        log_base: log π₀, broadcast against (..., Y).
        gamma: inverse temperature of the preferences.
        betas: coefficients of the KL, nats.
        start: log-policies (..., Y) to begin from instead of π₀; where they are NaN, all that follows is NaN.

    Yields:
        Log-policies (..., Y) at each β; NaN from where a policy diverges.

    Example:
        >>> wins, base = np.array([[0, 0.75], [0.25, 0]]), np.log([0.5, 0.5])
        >>> [np.exp(p).round(3).tolist() for p in preference_path(wins, base, gamma=1.0, betas=[1.0, 0.0])]
        [[0.628, 0.372], [0.75, 0.25]]

    References:
        "Beyond RLHF: A Unified Theoretical Framework of Alignment", arXiv 2506.01523;
        docs/theory.md, "Three ways to learn it".
    """
    shape = wins.shape[:-1]
    weights = wins.reshape(-1, *wins.shape[-2:])
    base = np.broadcast_to(log_base, shape).reshape(len(weights), -1)
    # log π/π₀ up to a constant
    x = np.zeros(base.shape) if start is None else (start.reshape(base.shape) - base)
    x = x - x.mean(-1, keepdims=True)
    alive = np.isfinite(x).all(-1)
    for beta in betas:
        here = np.flatnonzero(alive)
        scaled = weights[here] / (1 + beta)  # of order 1 for every β, as is the tolerance
        found, ok = newton(
            functools.partial(_with_kl, wins=scaled, log_base=base[here], gamma=gamma, beta=beta / (1 + beta)),
            x[here],
            bound=FAR,
        )
        x[here], alive[here] = found, ok
        policy = log_softmax(base + x)
        policy[~alive] = np.nan
        yield policy.reshape(shape)


def _with_kl(
    g: np.ndarray, rows: np.ndarray, *, wins: np.ndarray, log_base: np.ndarray, gamma: float, beta: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """PMLE + β KL(π‖π₀) of the rows given at π ∝ π₀ eᵍ, with gradient and Hessian in g."""
    wins, log_base = wins[rows], log_base[rows]
    value, gradient, hessian = pair_loss(g, wins, gamma, np.zeros(len(g)), log_base)
    if beta:
        log_policy = log_softmax(log_base + g)
        policy, ratio = np.exp(log_policy), log_policy - log_base
        kl = (policy * ratio).sum(-1, keepdims=True)
        pull = policy * (ratio - kl)
        value = value + beta * kl[:, 0]
        gradient = gradient + beta * pull
        cross = pull[:, :, None] * policy[:, None, :]
        outer = policy[:, :, None] * policy[:, None, :]
        hessian = hessian - beta * (cross + cross.swapaxes(-2, -1) + outer)
        diagonal = np.arange(g.shape[1])
        hessian[:, diagonal, diagonal] += beta * (pull + policy)
    return value, gradient, hessian


def reverse_kl_policy(reward: np.ndarray, log_base: np.ndarray, *, gamma: float, beta: float) -> np.ndarray:
    """argmin −E_π R − γ H(π) + β KL(π‖π₀), which is π ∝ π₀^{β/(β+γ)} e^{R/(β+γ)}.

    Args:
        reward, log_base: (..., Y).
        gamma, beta: coefficients of entropy and KL, in the reward's units; not both 0.

    Returns:
        Log-policy (..., Y).

    Example:
        >>> base = np.log([0.25, 0.75])
        >>> np.exp(reverse_kl_policy(np.zeros(2), base, gamma=1.0, beta=1.0)).round(3)  # ∝ √π₀
        array([0.366, 0.634])

    References:
        "Beyond RLHF: A Unified Theoretical Framework of Alignment", arXiv 2506.01523;
        docs/theory.md, "Three ways to learn it".
    """
    return log_softmax((beta * log_base + reward) / (beta + gamma))


def rlhf_policy(reward: np.ndarray, log_base: np.ndarray, *, beta: float) -> np.ndarray:
    """argmin −E_π R + β KL(π‖π₀): the tilt π ∝ π₀ e^{R/β}. It is also DPO's, for R fitted without a prior.

    Args:
        reward, log_base: (..., Y).
        beta: positive, in the reward's units.

    Returns:
        Log-policy (..., Y).

    Example:
        >>> np.exp(rlhf_policy(np.log([1.0, 3.0]), np.log([0.5, 0.5]), beta=1.0)).round(3)
        array([0.25, 0.75])
    """
    return reverse_kl_policy(reward, log_base, gamma=0.0, beta=beta)


def rebel_policy(reward: np.ndarray, log_base: np.ndarray, *, eta: float, steps: int) -> np.ndarray:
    """REBEL from π₀ after `steps` exact regressions. Each multiplies by e^{ηR}: RLHF's policy at β = 1/(η steps).

    Args:
        reward, log_base: (..., Y).
        eta: step size, per unit of reward.
        steps: number of regressions.

    Returns:
        Log-policy (..., Y).

    Example:
        >>> np.exp(rebel_policy(np.log([1.0, 3.0]), np.log([0.5, 0.5]), eta=0.25, steps=4)).round(3)
        array([0.25, 0.75])

    References:
        arXiv 2404.16767; docs/theory.md, "Three ways to learn it".
    """
    policy = log_softmax(log_base + 0 * reward)
    for _ in range(steps):
        policy = log_softmax(policy + eta * reward)
    return policy


def ipo_direction(wins: np.ndarray) -> np.ndarray:
    """argmin Σ W[a, b] (g_a − g_b − 1)², a linear system of a graph Laplacian. IPO's policy is π₀ e^{g/(2τ)}.

    It is finite for any data. A response that always won is one above those that it beat. A response that was never
    compared stays at 0.

    Args:
        wins: W (..., Y, Y).

    Returns:
        g (..., Y) of least norm.

    Example:
        >>> ipo_direction(np.array([[0, 4.0], [0, 0]])).round(3)
        array([ 0.5, -0.5])
    """
    met = wins + wins.swapaxes(-2, -1)
    laplacian = -met
    diagonal = np.arange(wins.shape[-1])
    laplacian[..., diagonal, diagonal] += met.sum(-1)
    ahead = wins.sum(-1) - wins.sum(-2)
    return np.einsum("...ab,...b->...a", np.linalg.pinv(laplacian, hermitian=True), ahead)


def ipo_policy(wins: np.ndarray, log_base: np.ndarray, *, tau: float) -> np.ndarray:
    """argmin Σ W[a, b] (m_ab − 1/(2τ))², with m the margin of log π/π₀.

    Args:
        wins: W (..., Y, Y).
        log_base: log π₀ (..., Y).
        tau: positive.

    Returns:
        Log-policy (..., Y).

    Example:
        >>> np.exp(ipo_policy(np.array([[0, 4.0], [0, 0]]), np.log([0.5, 0.5]), tau=0.5)).round(3)
        array([0.731, 0.269])

    References:
        arXiv 2310.12036; docs/theory.md, "Three ways to learn it".
    """
    return log_softmax(log_base + ipo_direction(wins) / (2 * tau))


_STEPS, _LONGEST, _FLAT = 60, 1.0, 1e-10


def on_policy_path(
    labels: np.ndarray, log_base: np.ndarray, *, gamma: float, betas: Sequence[float]
) -> Iterator[np.ndarray]:
    """Log-policies at which the gradient of distillation + β KL(π‖π₀) on pairs from π × π is 0, for each β.

    The sampler is not differentiated, so the result is a fixed point and not the minimum of a loss. The gradient
    divided by π_a is 2γ Σ_b π_b (σ(γ m_ab) − t_ab) + β (g_a − E_π g) with g = log π/π₀. Newton's method finds its root.
    It starts at the solution of the last β.

    Args:
        labels: t, the rewards' P(a ≻ b), (..., Y, Y).
        log_base: log π₀, broadcast against (..., Y).
        gamma: inverse temperature of the preferences.
        betas: coefficients of the KL in nats, from the largest down.

    Yields:
        Log-policies (..., Y) at each β; NaN where none is found.

    Example:
        >>> labels, base = np.array([[0.5, 0.75], [0.25, 0.5]]), np.log([0.5, 0.5])
        >>> [np.exp(p).round(3).tolist() for p in on_policy_path(labels, base, gamma=1.0, betas=[1.0, 0.01])]
        [[0.583, 0.417], [0.745, 0.255]]

    References:
        "Beyond RLHF: A Unified Theoretical Framework of Alignment", arXiv 2506.01523;
        docs/theory.md, "Three ways to learn it".
    """
    shape = labels.shape[:-1]
    target = labels.reshape(-1, *labels.shape[-2:])
    base = np.broadcast_to(log_base, shape).reshape(len(target), -1)
    policy = base.copy()
    for beta in betas:
        moving = np.arange(len(policy))
        for _ in range(_STEPS):
            value, jacobian = _gradient(policy[moving], target[moving], base[moving], gamma, beta)
            moving, value, jacobian = (x[np.abs(value).max(-1) > _FLAT * (1 + beta)] for x in (moving, value, jacobian))
            if not moving.size:
                break
            step = -np.linalg.solve(jacobian, value[..., None])[..., 0]
            step *= np.minimum(1, _LONGEST / np.abs(step).max(-1))[:, None]
            policy[moving] = log_softmax(policy[moving] + step)
        found = policy.copy()
        found[moving] = np.nan
        yield found.reshape(shape)


def _gradient(
    log_policy: np.ndarray, target: np.ndarray, log_base: np.ndarray, gamma: float, beta: float
) -> tuple[np.ndarray, np.ndarray]:
    """The gradient divided by π_a (B, Y), and its derivatives in the logits (B, Y, Y), constant direction filled."""
    policy, ratio = np.exp(log_policy), log_policy - log_base
    p = sigmoid(gamma * margins(log_policy))
    apart = p - target
    pull = np.einsum("bac,bc->ba", apart, policy)
    kl = (policy * ratio).sum(-1, keepdims=True)
    slope = p * (1 - p)
    toward = policy[:, None, :]
    jacobian = 2 * gamma * toward * (apart - pull[:, :, None] - gamma * slope)
    jacobian -= beta * toward * (1 + ratio - kl)[:, None, :]
    diagonal = np.arange(policy.shape[1])
    jacobian[:, diagonal, diagonal] += 2 * gamma**2 * np.einsum("bac,bc->ba", slope, policy) + beta
    return 2 * gamma * pull + beta * (ratio - kl), jacobian + 1 / policy.shape[1]


REBEL_STEPS = 4


@dataclass(frozen=True)
class Data:
    """What a learner may use.

    Attributes:
        wins: (..., X, Y, Y), the mean over pairs, times X.
        log_base: log π₀ (..., X, Y), broadcast against the batch of `wins`.
        gamma: the γ that the learner assumes.
        reward: (..., X, Y), fitted in the reward class with a weak prior.
        free_reward: (..., X, Y), the maximum-likelihood table; NaN where the data determine none.
    """

    wins: np.ndarray
    log_base: np.ndarray
    gamma: float
    reward: np.ndarray
    free_reward: np.ndarray


Learner = Callable[[Data, Sequence[float]], Iterator[np.ndarray]]


def _pmle(data: Data, betas: Sequence[float]) -> Iterator[np.ndarray]:
    return preference_path(data.wins, data.log_base, gamma=data.gamma, betas=betas)


def _distillation(data: Data, betas: Sequence[float]) -> Iterator[np.ndarray]:
    """Distillation on the pairs of the data, relabelled by the fitted reward."""
    met = data.wins + data.wins.swapaxes(-2, -1)
    return preference_path(met * _labels(data), data.log_base, gamma=data.gamma, betas=betas)


def _distillation_on_policy(data: Data, betas: Sequence[float]) -> Iterator[np.ndarray]:
    """Distillation on all pairs of the policy itself."""
    return on_policy_path(_labels(data), data.log_base, gamma=data.gamma, betas=betas)


def _reverse_kl(data: Data, betas: Sequence[float]) -> Iterator[np.ndarray]:
    return (reverse_kl_policy(data.reward, data.log_base, gamma=data.gamma, beta=b) for b in betas)


def _rlhf(data: Data, betas: Sequence[float]) -> Iterator[np.ndarray]:
    return (rlhf_policy(data.reward, data.log_base, beta=b) for b in betas)


def _dpo(data: Data, betas: Sequence[float]) -> Iterator[np.ndarray]:
    return (rlhf_policy(data.free_reward, data.log_base, beta=b) for b in betas)


def _rebel(data: Data, betas: Sequence[float]) -> Iterator[np.ndarray]:
    steps = REBEL_STEPS
    return (rebel_policy(data.reward, data.log_base, eta=1 / (steps * b), steps=steps) for b in betas)


def _ipo(data: Data, betas: Sequence[float]) -> Iterator[np.ndarray]:
    direction = ipo_direction(data.wins)
    return (log_softmax(data.log_base + direction / (2 * b)) for b in betas)


def _labels(data: Data) -> np.ndarray:
    return np.asarray(sigmoid(margins(data.reward)))


LEARNERS: dict[str, Learner] = {
    "pmle": _pmle,
    "distillation": _distillation,
    "distillation-on-policy": _distillation_on_policy,
    "reverse-kl": _reverse_kl,
    "rlhf": _rlhf,
    "dpo": _dpo,
    "rebel": _rebel,
    "ipo": _ipo,
}


def unregularised(data: Data, *, free: bool) -> dict[str, np.ndarray]:
    """PMLE, distillation and reverse KL at β = 0, each by its own solver.

    Args:
        data: wins, rewards and the base.
        free: whether the reward class is all tables. If not, reverse KL takes the fit of its class, which the prior
            keeps finite.

    Returns:
        Log-policies (..., X, Y) by objective; NaN where the data determine no policy.

    Example:
        >>> wins, base = np.array([[[0, 0.75], [0.25, 0]]]), np.log([[0.5, 0.5]])
        >>> fitted = np.array([[np.log(3) / 2, -np.log(3) / 2]])
        >>> found = unregularised(Data(wins, base, 1.0, fitted, fitted), free=True)
        >>> {name: np.exp(policy).round(3).tolist() for name, policy in found.items()}
        {'pmle': [[0.75, 0.25]], 'distillation': [[0.75, 0.25]], 'reverse-kl': [[0.75, 0.25]]}
    """
    undetermined = np.isnan(data.free_reward)
    (pmle,) = preference_path(data.wins, data.log_base, gamma=data.gamma, betas=[0.0])
    met = data.wins + data.wins.swapaxes(-2, -1)
    labels = sigmoid(margins(np.nan_to_num(data.free_reward)))
    (distilled,) = preference_path(met * labels, data.log_base, gamma=data.gamma, betas=[0.0])
    reward = data.free_reward if free else data.reward
    return {
        "pmle": np.where(undetermined, np.nan, pmle),
        "distillation": np.where(undetermined, np.nan, distilled),
        "reverse-kl": reverse_kl_policy(reward, data.log_base, gamma=data.gamma, beta=0.0),
    }
