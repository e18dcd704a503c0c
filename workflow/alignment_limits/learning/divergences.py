"""How far a learned policy is from its target, exactly, over enumerated responses; all in nats."""

from __future__ import annotations

import numpy as np


def kl(log_p: np.ndarray, log_q: np.ndarray) -> np.ndarray:
    """E_x KL(p‖q): (..., X, Y) → (...), contexts equally likely. NaN log-policies (run away) are infinitely far."""
    each = (np.exp(log_p) * (log_p - log_q)).sum(-1)
    return np.where(np.isnan(each), np.inf, each).mean(-1)


def gain(log_policy: np.ndarray, log_base: np.ndarray, reward: np.ndarray) -> np.ndarray:
    """E_x (E_π r − E_π₀ r), (..., X, Y) → (...); NaN for a policy that ran away."""
    return ((np.exp(log_policy) - np.exp(log_base)) * reward).sum(-1).mean(-1)
