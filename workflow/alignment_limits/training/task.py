"""What a training job is given, whatever its objective, and the random numbers it may use.

Which prompts a step sees, and the noise it draws, depend on the seed and the step's number alone. So a run that was
killed goes on as it would have, and runs that differ in their coefficient or reward have prompts and noise in common.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alignment_limits.limits.arrays import Array
from alignment_limits.policies.next_token import SamplingLaw
from alignment_limits.sampling import tokens
from alignment_limits.training.fitted_reward import Signal
from alignment_limits.training.pair_data import PairData
from alignment_limits.training.standard_reward import StandardReward


@dataclass(frozen=True)
class Task:
    """One run.

    settings : the recipe's, with its coefficient and seed. base : the base model's plain folder. sent : token ids of
    each prompt as sent to the model. prompts : each prompt as rewards read it. law, longest : of sampling. samples :
    token ids of the base's samples, prompt by prompt, in the order of `reward.base`. pairs : that it learns from, if it
    does. signal : what it maximises in place of `reward`, if it does; the curves are of `reward` all the same.
    """

    settings: dict[str, Any]
    base: Path
    sent: Sequence[Sequence[int]]
    prompts: Sequence[str]
    law: SamplingLaw
    longest: int
    reward: StandardReward
    samples: Sequence[Sequence[Sequence[int]]]
    tokenizer: Any
    stop: Sequence[int]
    scratch: Path
    template: str = "none"
    trust_remote_code: bool = False
    pairs: PairData | None = None
    signal: Signal | None = None

    @property
    def steps(self) -> int:
        return int(self.settings["steps"])

    @property
    def batch(self) -> int:
        return int(self.settings["batch"])

    @property
    def rows(self) -> NDArray[np.intp]:
        """Prompts of each step [steps, prompts per step]: every prompt once, in another order each time through."""
        per_step = self.batch // self.settings["group"]
        rng = np.random.default_rng([self.settings["seed"], 1])
        rounds = -(-self.steps * per_step // len(self.sent))
        order = np.concatenate([rng.permutation(len(self.sent)) for _ in range(rounds)])
        return order[: self.steps * per_step].reshape(self.steps, per_step)

    def score(self, row: Sequence[int], replies: Sequence[Sequence[int]]) -> Array:
        """Standardised rewards [n] of replies, token ids with their stop token, to the prompts at these rows."""
        return self.reward(row, *self._texts(row, replies))

    def signal_of(self, row: Sequence[int], replies: Sequence[Sequence[int]], log_base: Array) -> Array:
        """Rewards [n] to be maximised by these replies, whose log π₀ are given [n]."""
        assert self.signal
        return self.signal(*self._texts(row, replies), log_base)

    def _texts(self, row: Sequence[int], replies: Sequence[Sequence[int]]) -> tuple[list[str], list[str]]:
        """Prompts and replies as rewards read them."""
        return [self.prompts[i] for i in row], tokens.decode(replies, self.tokenizer, self.stop, self.template)


def step_seed(seed: int, step: int) -> int:
    """32-bit seed of one step's noise."""
    return int.from_bytes(hashlib.sha256(f"training/{seed}/{step}".encode()).digest()[:4], "big")
