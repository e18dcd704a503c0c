"""Training data as arrays: features and gold labels joined by key, held out from the study's prompts."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from alignment_limits.artifacts import KEY
from alignment_limits.errors import ArtifactError


def held_out(training: pl.DataFrame, evaluation: pl.DataFrame) -> pl.DataFrame:
    """The training prompts (prompt_id, text) whose text is none of the evaluation prompts'.

    Raises:
        ArtifactError: a prompt_id is among both, or none is left.
    """
    both = training.join(evaluation, on="prompt_id", how="semi")
    if both.height:
        raise ArtifactError(f"{both.height} prompts are trained and evaluated on, the first is {both['prompt_id'][0]}")
    left = training.join(evaluation.select("text"), on="text", how="anti")
    if not left.height:
        raise ArtifactError("every training prompt's text is also an evaluation prompt's: nothing to train on")
    return left


def training_arrays(
    features: pl.DataFrame, scores: pl.DataFrame, prompts: pl.DataFrame
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]]:
    """Features [n, d], gold [n] and prompt number [n] of the samples of `prompts`, in key order.

    Raises:
        ArtifactError: a sample has features and no gold score, or the other way round.
    """
    ours, theirs = (t.join(prompts, on="prompt_id", how="semi").sort(KEY) for t in (features, scores))
    if not ours.select(KEY).equals(theirs.select(KEY)):
        raise ArtifactError("features and gold labels are not of the same samples; delete both and run again")
    _, number = np.unique(ours["prompt_id"].to_numpy().astype(str), return_inverse=True)
    return np.array(ours["features"].to_list(), dtype=np.float64), theirs["score"].to_numpy(), number
