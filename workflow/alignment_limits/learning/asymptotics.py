"""How far maximum likelihood is from its target to first order: E forward KL ≈ c/n, c in closed form."""

from __future__ import annotations

import numpy as np


def first_order(
    log_target: np.ndarray, table: np.ndarray, wins: np.ndarray, *, gamma: float, features: np.ndarray | None = None
) -> float:
    """c of E_x KL(π*‖π̂) ≈ c/n for π̂ = e^{R̂/γ}, R̂ the Bradley-Terry rewards fitted to n pairs of the model.

    Half the trace of the Fisher information of a response over that of a pair, divided by γ²: what plays the part of
    [B]'s C_Π/γ² and log|Π| here. Infinite where the pair sampler never compares some responses.

    Args:
        log_target: log π* (X, Y).
        table: P(a ≻ b) (X, Y, Y).
        wins: expected wins (X, Y, Y) of one pair in all contexts together.
        features: (X, Y, D) in which R̂ is linear; without it, every response has its own reward.
    """
    target = np.exp(log_target)
    response = _laplacian(target[:, :, None] * target[:, None, :]) / len(target)
    pair = _laplacian(wins * (1 - table))
    if features is not None:
        response = np.einsum("xad,xab,xbe->de", features, response, features)[None]
        pair = np.einsum("xad,xab,xbe->de", features, pair, features)[None]
    rank = np.linalg.matrix_rank(response, hermitian=True)
    if (np.linalg.matrix_rank(pair, hermitian=True) < rank).any():
        return float("inf")
    return float(np.einsum("xab,xba->", response, np.linalg.pinv(pair, hermitian=True)) / (2 * gamma**2))


def _laplacian(weights: np.ndarray) -> np.ndarray:
    """diag(W·1) − W of symmetric weights (X, Y, Y)."""
    out = -weights
    diagonal = np.arange(weights.shape[-1])
    out[:, diagonal, diagonal] += weights.sum(-1)
    return out
