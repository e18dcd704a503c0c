"""Weighted sums of rewards, of tables of scores or of models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from alignment_limits.errors import ArtifactError
from alignment_limits.rewards.base import RewardModel, Scores


def sum_of_scores(tables: Mapping[str, pl.DataFrame], weights: Mapping[str, float]) -> pl.DataFrame:
    """The first table with `score` Σ weight · score, and `truncated` (where there is one) if any of them is.

    Raises:
        ArtifactError: the tables are not of the same replies in the same order.
    """
    (first, table), *others = tables.items()
    key = [column for column in table.columns if column not in ("score", "truncated")]
    for name, other in others:
        if not other.select(key).equals(table.select(key)):
            raise ArtifactError(
                f"{name} has scores of other replies ({other.height}) than {first} ({table.height}), so they cannot be "
                "added; do both read the same of a document, and are all shards of one run?"
            )
    total = sum(weights[name] * tables[name]["score"] for name in tables)
    made = table.with_columns(score=total)
    if "truncated" in table.columns:
        made = made.with_columns(truncated=pl.Series(np.any([t["truncated"] for t in tables.values()], axis=0)))
    return made


@dataclass(frozen=True)
class ReadBeside:
    """A reward that is given prompts, but reads the document or the references that belong to them."""

    model: RewardModel
    of: Mapping[str, str]

    def score(self, prompts: Sequence[str], replies: Sequence[str]) -> Scores:
        """See `RewardModel.score`."""
        return self.model.score([self.of[prompt] for prompt in prompts], replies)


@dataclass(frozen=True)
class SumOfRewards:
    """Σ weight · score of reward models."""

    terms: Sequence[tuple[float, RewardModel]]

    def score(self, prompts: Sequence[str], replies: Sequence[str]) -> Scores:
        """See `RewardModel.score`."""
        each = [(weight, model.score(prompts, replies)) for weight, model in self.terms]
        total = np.sum([weight * scores.score for weight, scores in each], axis=0)
        return Scores(total, np.any([scores.truncated for _, scores in each], axis=0))
