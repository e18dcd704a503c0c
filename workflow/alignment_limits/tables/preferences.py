"""Samples as a target or reward judges them, and a user's own pairs among them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import polars as pl

from alignment_limits.tables.artifacts import KEY, read_table
from alignment_limits.tables.columns import Column, raise_first
from alignment_limits.tables.schemas.limits import STANDARDISED
from alignment_limits.tables.schemas.samples import SAMPLES
from alignment_limits.tables.user_table import read_user_table

_PAIR = ("chosen_id", "rejected_id")


def judged_samples(
    standardised: str, shards: Iterable[str], *, gold: str, reward: str | None, beta: float
) -> pl.DataFrame:
    """Every sample with what preferences go by.

    Args:
        shards: of the samples; none in a study of scores alone, whose log-probabilities are then 0.
        reward: preferences follow it alone; without it, gold's tilt of the base at beta.

    Returns:
        prompt_id, sample_id, logprob, reward, value (log π* up to a prompt's constant, or the reward).
    """
    scores = read_table(standardised, STANDARDISED).select(*KEY, reward=reward or gold)
    samples = [read_table(file, SAMPLES).select(*KEY, "logprob") for file in shards]
    table = scores.join(pl.concat(samples), on=KEY) if samples else scores.with_columns(logprob=pl.lit(0.0))
    tilt = pl.col("reward") if reward else pl.col("logprob") + pl.col("reward") / beta
    return table.with_columns(value=tilt)


def read_preference_table(file: Path, judged: pl.DataFrame, *, gamma: float) -> pl.DataFrame:
    """A user's pairs (prompt_id, chosen_id, rejected_id) with the model's probability of each.

    Raises:
        TableError: not readable, a column is missing or holds no sample ids, a pair is of one sample with itself or
            of samples the study does not have; with the file and the first rows (counted from 1).
    """
    given = read_user_table(file)
    given.require(["prompt_id", *_PAIR], "It needs prompt_id, chosen_id and rejected_id")
    table = pl.DataFrame([given.texts("prompt_id"), *(given.whole_numbers(side) for side in _PAIR)])

    def refuse(bad: pl.Series, what: str) -> None:
        raise_first(Column(bad.name, bad).problems(bad, what, "pair"), given.name)

    refuse(table["chosen_id"] == table["rejected_id"], "a sample is preferred to itself")
    for side in _PAIR:
        own = judged.select("prompt_id", pl.col("sample_id").alias(side), pl.col("value").alias(f"value of {side}"))
        table = table.join(own, on=["prompt_id", side], how="left", maintain_order="left")
        refuse(table[f"value of {side}"].is_null(), f"no sample of the study has this prompt_id and {side}")
    margin = gamma * (pl.col("value of chosen_id") - pl.col("value of rejected_id"))
    return table.select("prompt_id", *_PAIR, probability=1 / (1 + (-margin).exp()))
