"""Ensembles of rewards on one scale ([L] §ensembles; entropic: arXiv 2606.09073)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from alignment_limits.errors import EstimateError
from alignment_limits.limits.arrays import Array, check_scores

AGGREGATORS = ("mean", "median", "minimum", "mean-variance", "entropic")


def check_members(members: ArrayLike | Sequence[ArrayLike]) -> Array:
    """Return members as (K, P, M); every member must score exactly the same samples."""
    given: list[ArrayLike] = list(members)  # type: ignore[arg-type]
    shapes = {np.shape(scores) for scores in given}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2:
        shown = ", ".join(map(str, sorted(shapes))) or "none"
        raise EstimateError(f"Ensemble members have shapes {shown}; expected (prompts, samples), the same of each.")
    array = np.stack([check_scores(scores, f"member {index}") for index, scores in enumerate(given)])
    for index, scores in enumerate(array):
        differs = np.isnan(scores) != np.isnan(array[0])
        if differs.any():
            row, column = np.argwhere(differs)[0]
            raise EstimateError(
                f"Members 0 and {index} do not cover the same samples: row {row}, sample {column} "
                f"({int(differs.sum())} in all)."
            )
    return array


def aggregate(
    members: ArrayLike | Sequence[ArrayLike],
    aggregator: str,
    *,
    coefficient: float = 1.0,
    temperature: float = 1.0,
) -> Array:
    """One reward (P, M) from members (K, P, M), which must already be standardised to one scale.

    aggregator
        "mean", "median", "minimum" (worst case);
        "mean-variance": mean - coefficient * variance, the variance being that of the K members' scores of
        the same sample (population form, /K), in squared reward units;
        "entropic": -b log mean_k exp(-r_k / b), b = temperature > 0: between the minimum (b -> 0) and the
        mean.
    """
    scores = check_members(members)
    if aggregator == "mean":
        return np.asarray(scores.mean(axis=0))
    if aggregator == "median":
        return np.asarray(np.median(scores, axis=0))
    if aggregator == "minimum":
        return np.asarray(scores.min(axis=0))
    if aggregator == "mean-variance":
        if coefficient < 0:
            raise EstimateError(f"coefficient {coefficient} would reward disagreement; it must be at least 0.")
        return np.asarray(scores.mean(axis=0) - coefficient * scores.var(axis=0))
    if aggregator == "entropic":
        if not temperature > 0:
            raise EstimateError(f"temperature {temperature} of the entropic aggregator must be positive.")
        least = scores.min(axis=0)
        return np.asarray(least - temperature * np.log(np.exp((least - scores) / temperature).mean(axis=0)))
    raise EstimateError(f"Unknown aggregator '{aggregator}': use one of {', '.join(AGGREGATORS)}.")
