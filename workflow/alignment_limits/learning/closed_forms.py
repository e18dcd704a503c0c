"""Minimisers in closed form over all policies, given a reward or the pairs; all as log-policies (..., Y).

In a class that holds every policy, RLHF, DPO and REBEL trace one curve, π₀ e^{R̂/β}: it passes the target only if
π₀ is uniform. Reverse KL traces π₀^{β/(β+γ)} e^{R̂/(β+γ)}, which ends in e^{R̂/γ} as β falls to 0.
"""

from __future__ import annotations

import numpy as np

from alignment_limits.learning.tabular import log_softmax


def reverse_kl_policy(reward: np.ndarray, log_base: np.ndarray, *, gamma: float, beta: float) -> np.ndarray:
    """argmin −E_π R − γ H(π) + β KL(π‖π₀): π ∝ π₀^{β/(β+γ)} e^{R/(β+γ)}."""
    return log_softmax((beta * log_base + reward) / (beta + gamma))


def rlhf_policy(reward: np.ndarray, log_base: np.ndarray, *, beta: float) -> np.ndarray:
    """argmin −E_π R + β KL(π‖π₀): the tilt π ∝ π₀ e^{R/β}. DPO's as well, for R fitted without a prior."""
    return reverse_kl_policy(reward, log_base, gamma=0.0, beta=beta)


def rebel_policy(reward: np.ndarray, log_base: np.ndarray, *, eta: float, steps: int) -> np.ndarray:
    """REBEL from π₀ after `steps` exact regressions: each multiplies by e^{ηR}, so it is RLHF's at β = 1/(η steps)."""
    policy = log_softmax(log_base + 0 * reward)
    for _ in range(steps):
        policy = log_softmax(policy + eta * reward)
    return policy


def ipo_direction(wins: np.ndarray) -> np.ndarray:
    """argmin Σ W[a, b] (g_a − g_b − 1)², (..., Y, Y) → (..., Y): a graph Laplacian's system, of least norm.

    IPO's policy is π₀ e^{g/(2τ)}. It is finite for any data: a response that always won is one above those it beat,
    one never compared stays at 0.
    """
    met = wins + wins.swapaxes(-2, -1)
    laplacian = -met
    diagonal = np.arange(wins.shape[-1])
    laplacian[..., diagonal, diagonal] += met.sum(-1)
    ahead = wins.sum(-1) - wins.sum(-2)
    return np.einsum("...ab,...b->...a", np.linalg.pinv(laplacian, hermitian=True), ahead)


def ipo_policy(wins: np.ndarray, log_base: np.ndarray, *, tau: float) -> np.ndarray:
    """argmin Σ W[a, b] (m_ab − 1/(2τ))², m the margin of log π/π₀."""
    return log_softmax(log_base + ipo_direction(wins) / (2 * tau))
