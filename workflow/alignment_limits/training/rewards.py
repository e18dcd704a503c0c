"""The reward in training: a reward of the study in base standard deviations, or a reward fitted to preference pairs.

Each reward of the study is centred per prompt and scaled by its spread over the base's samples. An ensemble is the
aggregate of such rewards, centred and scaled again. The tables have the policy's replies on the same scale.

The fitted R̂ is γ log π₀ plus a Bradley-Terry head that is linear in an encoder's features. Preferences follow
σ(γ log π*(a)/π*(b)), and the target is a tilt of the base. So their reward γ log π* is γ log π₀ plus a part that the
encoder has to represent. The head is shrunk to 0, so R̂ is shrunk to the base's reward. If the weight of log π₀ were
shrunk as well, the reward would prefer replies that are unlikely under the base.

Reverse KL maximises E_π[R̂ − γ log π − β log(π/π₀)] = E_π[(R̂ − γ log π₀) − (γ + β) log(π/π₀)]. This is RLHF on the
reward R̂ − γ log π₀ at the KL coefficient γ + β, with optimum π₀^{β/(β+γ)} e^{R̂/(β+γ)} (docs/theory.md,
"Three ways to learn it"). RLHF is E_π[R̂ − β log(π/π₀)], with optimum π₀ e^{R̂/β}, as for REBEL (`offline`). Both are
divided by γ here, so that a reward is on the scale of log π* for every γ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from alignment_limits.ensembles.scales import Standardised, aggregate, standardise
from alignment_limits.ensembles.scores import Array
from alignment_limits.rewards.base import RewardModel
from alignment_limits.rewards.heads import bradley_terry, load_head
from alignment_limits.rewards.load import SumOfRewards, load_reward, with_rows


class StandardReward:
    """A reward or an ensemble on the base's scale.

    Args:
        models: the reward, or the ensemble's members.
        base: each one's scores of the base's samples [p, m], in its own units.
        ensemble: aggregator and penalty; None for a single reward.

    Raises:
        EstimateError: a reward is constant within every prompt.
    """

    def __init__(
        self, models: Mapping[str, RewardModel], base: Mapping[str, Array], ensemble: Mapping[str, Any] | None = None
    ) -> None:
        self._models, self._ensemble = models, ensemble
        self._scales = {name: standardise(base[name], name=name) for name in models}
        self._whole: Standardised | None = None
        self.base = next(iter(self._scales.values())).scores
        if ensemble:
            self._whole = standardise(self._combine([s.scores for s in self._scales.values()]), name="the ensemble")
            self.base = self._whole.scores

    @classmethod
    def of(
        cls,
        terms: Mapping[str, Mapping[str, float]],
        read: Mapping[str, RewardModel],
        base: Mapping[str, Array],
        ensemble: Mapping[str, Any] | None = None,
    ) -> StandardReward:
        """The same from the terms of each reward and their weights, with the models of `read_rewards`."""
        models = {
            name: SumOfRewards([(weight, read[term]) for term, weight in each.items()]) for name, each in terms.items()
        }
        return cls(models, {name: base[name] for name in terms}, ensemble)

    def __call__(self, row: Sequence[int] | NDArray[np.intp], prompts: Sequence[str], replies: Sequence[str]) -> Array:
        """Standardised rewards [n] of replies to the prompts at these rows of the base's scores."""
        at = np.asarray(row, dtype=np.intp)
        members = []
        for name, model in self._models.items():
            scale = self._scales[name]
            members.append((model.score(prompts, replies).score - scale.centre[at]) / scale.scale)
        if self._whole is None:
            return np.asarray(members[0])
        combined = self._combine([m[:, None] for m in members])[:, 0]
        return np.asarray((combined - self._whole.centre[at]) / self._whole.scale)

    def _combine(self, members: Sequence[Array]) -> Array:
        assert self._ensemble
        return aggregate(np.stack(members), self._ensemble["aggregator"], coefficient=self._ensemble["penalty"])


def k2(log_ratio: Any) -> Any:
    """½(log π/π₀)² of complete replies [n], a mean; its gradient is one of KL(π‖π₀) if the replies are of π."""
    return (log_ratio**2).mean() / 2


def best_of_group(reward: Array, group: int) -> Array:
    """1 for the best of each group of successive replies, 0 for the others; equal ones share it.

    Example:
        >>> best_of_group(np.array([0.0, 2.0, 1.0, 1.0]), 2)
        array([0. , 1. , 0.5, 0.5])
    """
    grouped = reward.reshape(-1, group)
    best = grouped == grouped.max(axis=1, keepdims=True)
    return np.asarray((best / best.sum(axis=1, keepdims=True)).ravel())


def read_rewards(
    specs: Mapping[str, Mapping[str, Any]],
    sources: Callable[[str], Sequence[Path]],
    prompts: pl.DataFrame,
    documents: pl.DataFrame | None,
    *,
    device: str,
) -> dict[str, RewardModel]:
    """Reward models that score new replies to the study's prompts, given as plain texts.

    Args:
        specs: settings of each reward.
        sources: the files of a reward: its folder, or the encoder and the head of a trained one; none for kinds
            without files.
        prompts: the table `prompts` of all prompts.
        documents: for rewards that read them.
        device: torch device.

    Raises:
        RewardError: a file is missing or unreadable, or prompts with the same text differ in what a reward reads.
    """
    read: dict[str, RewardModel] = {}
    for name, spec in specs.items():
        source = list(sources(name))
        model: RewardModel
        if spec["kind"] == "trained":
            encoder, head = source
            model = load_head(encoder, head, device=device, text=spec["text"], sign=spec["sign"])
        else:
            model = load_reward(spec, next(iter(source), None), device=device)
        read[name] = with_rows(model, spec, prompts, documents)
    return read


Index = NDArray[np.intp]


@dataclass(frozen=True)
class FittedReward:
    """R̂ = features · weight + base_weight · log π₀, in nats of preference.

    held_out : its log loss in nats on held-out pairs.
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
        base_weight: R̂'s weight of log π₀: γ if the target is a tilt of the base.

    Raises:
        EstimateError: too few pairs.
    """
    seen = features[row, chosen] - features[row, rejected]
    head = bradley_terry(seen, base_weight * (log_base[row, chosen] - log_base[row, rejected]))
    return FittedReward(head.weight, base_weight, head.held_out)


def as_rlhf(reward: Any, log_base: Any, *, objective: str, gamma: float, coefficient: float) -> tuple[Any, float]:
    """The reward and the KL coefficient for which RLHF is 1/γ times the objective (reverse-kl or rlhf) on `reward`."""
    if objective == "rlhf":
        return reward / gamma, coefficient / gamma
    return reward / gamma - log_base, 1 + coefficient / gamma


@dataclass(frozen=True)
class Signal:
    """The reward that RLOO maximises instead of a study's reward, with its KL coefficient.

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
