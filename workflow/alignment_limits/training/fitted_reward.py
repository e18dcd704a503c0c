"""The reward R̂ that a run fits to its own preference pairs, and what it maximises of it.

R̂ is γ log π₀ plus a Bradley-Terry head, linear in an encoder's features: preferences follow σ(γ log π*(a)/π*(b)), and
the target is a tilt of the base, so the reward that they hold, γ log π*, is γ log π₀ plus what the encoder has to see.
The head is shrunk to 0, so R̂ to the base's: were the weight of log π₀ shrunk as well, the reward would prefer replies
that the base finds unlikely.

Reverse KL maximises E_π[R̂ − γ log π − β log(π/π₀)] = E_π[(R̂ − γ log π₀) − (γ + β) log(π/π₀)]: it is RLHF on the
reward R̂ − γ log π₀ at the KL coefficient γ + β, whose optimum is π₀^{β/(β+γ)} e^{R̂/(β+γ)} (theory §7). RLHF itself is
E_π[R̂ − β log(π/π₀)], of optimum π₀ e^{R̂/β}, as REBEL (`from_pairs`). Both are divided by γ here, so that a reward is on
the scale of log π* whatever γ is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alignment_limits.limits.arrays import Array
from alignment_limits.proxies.heads import bradley_terry
from alignment_limits.rewards.base import RewardModel

Index = NDArray[np.intp]


@dataclass(frozen=True)
class FittedReward:
    """R̂ = features · weight + base_weight · log π₀, in nats of preference.

    held_out : its log loss in nats on pairs left out of the fit.
    """

    weight: Array
    base_weight: float
    held_out: float

    def __call__(self, features: Array, log_base: Array) -> Array:
        """R̂ [...] of replies with these features [..., d] and log π₀ [...]."""
        return np.asarray(features @ self.weight + self.base_weight * log_base)


def fit_reward(
    features: Array, log_base: Array, row: Index, chosen: Index, rejected: Index, *, base_weight: float
) -> FittedReward:
    """Fit R̂ to pairs.

    Args:
        features: of the base's samples [p, m, d]. log_base: their log π₀ [p, m].
        row: each pair's prompt [n]. chosen, rejected: its samples [n].
        base_weight: R̂'s weight of log π₀: γ where the target is a tilt of the base.

    Raises:
        EstimateError: too few pairs.
    """
    seen = features[row, chosen] - features[row, rejected]
    head = bradley_terry(seen, base_weight * (log_base[row, chosen] - log_base[row, rejected]))
    return FittedReward(head.weight, base_weight, head.held_out)


def as_rlhf(reward: Any, log_base: Any, *, objective: str, gamma: float, coefficient: float) -> tuple[Any, float]:
    """The reward, and its KL coefficient, whose RLHF is 1/γ times the objective (reverse-kl or rlhf) on `reward`."""
    if objective == "rlhf":
        return reward / gamma, coefficient / gamma
    return reward / gamma - log_base, 1 + coefficient / gamma


@dataclass(frozen=True)
class Signal:
    """What RLOO is given in place of a study's reward, and the KL coefficient that goes with it.

    model : the encoder's part of R̂. base_weight : R̂'s weight of log π₀. objective : reverse-kl or rlhf.
    """

    model: RewardModel
    base_weight: float
    objective: str
    gamma: float
    beta: float

    def __call__(self, prompts: Sequence[str], replies: Sequence[str], log_base: Array) -> Array:
        """Rewards [n] of replies with these log π₀ [n]."""
        fitted = self.model.score(prompts, replies).score + self.base_weight * log_base
        return np.asarray(self._as_rlhf(fitted, log_base)[0])

    @property
    def coefficient(self) -> float:
        """RLOO's KL coefficient."""
        return self._as_rlhf(0.0, 0.0)[1]

    def _as_rlhf(self, reward: Any, log_base: Any) -> tuple[Any, float]:
        return as_rlhf(reward, log_base, objective=self.objective, gamma=self.gamma, coefficient=self.beta)
