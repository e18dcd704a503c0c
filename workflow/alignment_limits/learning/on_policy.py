"""Preference distillation on a policy's own pairs: the policy that its own pairs leave where it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from alignment_limits.learning.objectives import sigmoid
from alignment_limits.learning.tabular import log_softmax, margins

_STEPS, _LONGEST, _FLAT = 60, 1.0, 1e-10


def on_policy_path(
    labels: np.ndarray, log_base: np.ndarray, *, gamma: float, betas: Sequence[float]
) -> Iterator[np.ndarray]:
    """Log-policies (..., Y) at which the gradient of distillation + β KL(π‖π₀) on pairs from π × π is 0, for each β.

    The sampler is not differentiated, so this is no minimum of a loss but a fixed point. Divided by π_a the gradient is
    2γ Σ_b π_b (σ(γ m_ab) − t_ab) + β (g_a − E_π g), g = log π/π₀; its root is found by Newton, from the last β's on.
    One that is not found is NaN.

    Args:
        labels: t, the rewards' P(a ≻ b), (..., Y, Y).
        log_base: log π₀, broadcast against (..., Y).
        betas: from the largest down.
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
    """The gradient over π_a (B, Y) and its derivatives in the logits (B, Y, Y), the constant's filled up."""
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
