"""What a training job is given, whatever its objective: prompts, pairs, rewards, and the random numbers it may use.

Which prompts a step sees, and the noise it draws, depend on the seed and the step's number alone. So a run that was
killed goes on as it would have, and runs that differ in their coefficient or reward have prompts and noise in common.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from alignment_limits.ensembles.scores import Array
from alignment_limits.errors import ArtifactError
from alignment_limits.policies.kl import SamplingLaw
from alignment_limits.sampling.shard import decode
from alignment_limits.tables.grid import Grid
from alignment_limits.training.rewards import Signal, StandardReward


@dataclass(frozen=True)
class PairData:
    """n pairs of the base's samples.

    row : each pair's prompt [n]. chosen, rejected : which of that prompt's samples [n]. gamma : preferences follow
    σ(γ log π*(a)/π*(b)). fitted : R̂ of the base's samples [p, m]; None where no reward is fitted.
    """

    row: NDArray[np.intp]
    chosen: NDArray[np.intp]
    rejected: NDArray[np.intp]
    gamma: float
    fitted: Array | None = None

    def examples(
        self,
        steps: int,
        batch: int,
        seed: int,
        sent: Sequence[Sequence[int]],
        samples: Sequence[Sequence[Sequence[int]]],
    ) -> Iterator[dict[str, Any]]:
        """The run's steps × batch pairs as token ids: all of them once, in another order each time through.

        Where a reward was fitted, with its difference, R̂(chosen) − R̂(rejected).
        """
        rng, size = np.random.default_rng([seed, 2]), len(self.row)
        order = np.concatenate([rng.permutation(size) for _ in range(-(-steps * batch // size))])[: steps * batch]
        for i in order.tolist():
            row, chosen, rejected = int(self.row[i]), int(self.chosen[i]), int(self.rejected[i])
            made: dict[str, Any] = {"prompt_ids": list(sent[row])}
            made |= {"chosen_ids": list(samples[row][chosen]), "rejected_ids": list(samples[row][rejected])}
            if self.fitted is not None:
                made["reward_margin"] = float(self.fitted[row, chosen] - self.fitted[row, rejected])
            yield made


def dealt(table: pl.DataFrame, level: float, size: int, seed: int) -> pl.DataFrame:
    """`size` pairs of the table's level: prompts take turns, and no pair is dealt to two seeds.

    Raises:
        ArtifactError: the table has too few (ties that were dropped leave fewer than were asked for).
    """
    own = table.filter(pl.col("level") == level)
    turns = own.with_columns(turn=pl.int_range(pl.len()).over("prompt_id")).sort("turn", "prompt_id")
    slice_ = turns.slice(seed * size, size).drop("turn")
    if slice_.height < size:
        raise ArtifactError(
            f"{size} pairs for each of the seeds 0 to {seed} are asked for, but there are {own.height}; "
            "raise preferences.pairs_per_prompt"
        )
    return slice_


def placed(pairs: pl.DataFrame, samples: Grid, ids: NDArray[Any], gamma: float) -> PairData:
    """Pairs by their places in the arrays of the base's samples; `ids` are the sample_ids of its columns."""
    row = np.searchsorted(samples.prompt_ids, pairs["prompt_id"].to_numpy().astype(str))
    chosen, rejected = (np.searchsorted(ids, pairs[c].to_numpy()) for c in ("chosen_id", "rejected_id"))
    return PairData(row, chosen, rejected, gamma)


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
        return [self.prompts[i] for i in row], decode(replies, self.tokenizer, self.stop, self.template)


def step_seed(seed: int, step: int) -> int:
    """32-bit seed of one step's noise."""
    return int.from_bytes(hashlib.sha256(f"training/{seed}/{step}".encode()).digest()[:4], "big")
