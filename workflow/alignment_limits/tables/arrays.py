"""Tables of scores as arrays, for use of the estimators from Python."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from alignment_limits.errors import EstimateError, TableError
from alignment_limits.tables.artifacts import KEY
from alignment_limits.tables.columns import numbers
from alignment_limits.tables.grid import Grid, prompt_clusters, prompt_keys, reward_arrays
from alignment_limits.tables.scores import cluster_column, read_clusters, read_score_table
from alignment_limits.tables.standardised import standardised_tables, with_clusters
from alignment_limits.tables.user_table import UserTable, read_user_table

# Columns of a table of samples that are not rewards.
SAMPLE_COLUMNS = (
    "prompt",
    "text",
    "token_ids",
    "n_tokens",
    "logprob",
    "finish_reason",
    "seed",
    "answer",
    "law",
    "place",
    "cluster",
)


@dataclass(frozen=True)
class ScoreArrays:
    """Scores of several rewards on the same samples.

    Attributes:
        rewards: scores (prompts, samples) by name; NaN where a prompt has fewer samples.
        prompt_ids: of the rows, in ascending order.
        prompts: `keys` and `clusters` of the prompts, for the estimators' arguments of these names. With `keys`,
            results are those of the workflow, whatever the order of the rows.
    """

    rewards: dict[str, np.ndarray]
    prompt_ids: list[str]
    prompts: dict[str, Any]

    def __getitem__(self, name: str) -> np.ndarray:
        """Scores of one reward (prompts, samples)."""
        if name not in self.rewards:
            raise EstimateError(f"there is no reward '{name}'; there are: {', '.join(self.rewards)}")
        return self.rewards[name]

    def __repr__(self) -> str:
        rows, columns = next(iter(self.rewards.values())).shape
        return f"ScoreArrays: {rows} prompts × {columns} samples; rewards: {', '.join(self.rewards)}"


def read_arrays(
    file: str | Path, rewards: Sequence[str] | None = None, *, cluster: str | None = None, standardised: bool = True
) -> ScoreArrays:
    """Scores in a table: one row per sample, with prompt_id, sample_id and a column per reward.

    Args:
        file: Parquet, CSV, TSV, JSONL or JSON.
        rewards: columns; default: all columns of numbers that are not of the sample itself.
        cluster: the column that marks prompts that are not independent; default: `cluster`, if there is one.
        standardised: whether scores are in units of the reward's spread within prompts, with mean 0 in each, as in a
            study; if not, they are as in the file.

    Returns:
        The scores, and what the estimators use of the prompts.

    Raises:
        TableError: the file cannot be used, with the column and the row.
        EstimateError: a reward that is to be standardised is constant.

    Example:
        >>> table = pl.DataFrame({"prompt_id": ["a"] * 2 + ["b"] * 2, "sample_id": [0, 1] * 2, "rm": [1.0, 3, 0, 2]})
        >>> table.write_csv("few.csv")
        >>> read_arrays("few.csv", standardised=False)["rm"]
        array([[1., 3.],
               [0., 2.]])
    """
    path = Path(file)
    given = read_user_table(path)
    names = list(rewards) if rewards is not None else reward_columns(given, [cluster or "cluster"], warnings.warn)
    if not names:
        raise TableError(f"{path} has no column that can be a reward; it has: {', '.join(given.columns)}")
    scores = read_score_table(path, names)
    column = cluster_column(path, cluster, names)
    clusters = None if column is None else read_clusters(path, column)
    if standardised:
        each = {name: scores.select(*KEY, score=pl.col(name)) for name in names}
        try:
            table = standardised_tables(each, clusters)[0]
        except EstimateError as error:
            raise EstimateError(f"{path}: {error}") from error
    else:
        table = with_clusters(scores, clusters)
    prompts = {"keys": prompt_keys(table), "clusters": prompt_clusters(table)}
    return ScoreArrays(reward_arrays(table, names), Grid.of(table).prompt_ids, prompts)


def reward_columns(given: UserTable, known: Sequence[str], said: Callable[[str], object]) -> list[str]:
    """Columns of numbers that may be rewards.

    Args:
        given: the user's table.
        known: columns that are something else.
        said: called with a message about each column that would be one, but for some of its values.
    """
    rest = [n for n in dict.fromkeys(given.columns) if n and n not in (*KEY, *known, *SAMPLE_COLUMNS)]
    problems = {name: numbers(column)[1] for name, column in given.read(rest).items()} if rest else {}
    for first in (found[0] for found in problems.values() if found):
        if first.count < given.height / 2 and (first.rows or "true or false" in first.what):
            said(f"not used as a reward: {first.error(given.name)}")
    return [name for name, found in problems.items() if not found]
