"""Every objective as a learner: from pairs to its minimiser over all policies, for each coefficient in turn.

A learner takes `Data` and coefficients (β, from the largest down) and yields log-policies (..., X, Y), one array
per coefficient. The coefficient is β of the KL for PMLE, distillation, reverse KL and RLHF; DPO's β in front of the
log-ratio; IPO's τ; for REBEL 1/(η · steps), which is what it does to the base.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from alignment_limits.learning.closed_forms import ipo_direction, rebel_policy, reverse_kl_policy, rlhf_policy
from alignment_limits.learning.objectives import sigmoid
from alignment_limits.learning.on_policy import on_policy_path
from alignment_limits.learning.tabular import log_softmax, margins, preference_path

REBEL_STEPS = 4


@dataclass(frozen=True)
class Data:
    """What a learner may see.

    `wins` (..., X, Y, Y) is the mean over pairs, times X; `log_base` (..., X, Y) broadcasts against its batch.
    `reward` (..., X, Y) is fitted in the reward class with a weak prior; `free_reward` is the table of maximum
    likelihood, NaN where the data determine none. `gamma` is what the learner takes γ to be.
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
    """Of the data's own pairs, relabelled by the fitted reward."""
    met = data.wins + data.wins.swapaxes(-2, -1)
    return preference_path(met * _labels(data), data.log_base, gamma=data.gamma, betas=betas)


def _distillation_on_policy(data: Data, betas: Sequence[float]) -> Iterator[np.ndarray]:
    """Of pairs from the policy itself, all of them."""
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
    """PMLE, distillation and reverse KL at β = 0, each by its own route; NaN where the data determine no policy.

    Args:
        free: whether the reward class is all tables; otherwise reverse KL takes the class's own fit, which its prior
            keeps finite.
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
