"""The preference pairs that one run learns from: its own slice of a study's table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from alignment_limits.errors import ArtifactError
from alignment_limits.grid import Grid
from alignment_limits.limits.arrays import Array


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
