"""The reward a policy is trained on: scores through the study's reward interface, in base standard deviations.

Each reward is centred per prompt and scaled by its spread over the base's samples, and an ensemble is the aggregate of
such rewards, centred and scaled once more: the numbers that the policy's replies will have in the study's tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alignment_limits.limits.arrays import Array
from alignment_limits.limits.ensembles import aggregate
from alignment_limits.limits.standardisation import Standardised, standardise
from alignment_limits.rewards.base import RewardModel


class StandardReward:
    """A reward or an ensemble on the base's scale.

    Args:
        models: the reward, or the ensemble's members.
        base: each one's scores of the base's samples [p, m], in its own units.
        ensemble: aggregator and penalty; None where there is one reward.

    Raises:
        EstimateError: a reward ranks nothing.
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
