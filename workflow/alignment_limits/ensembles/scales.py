"""Rewards on one scale, and ensembles of them ([L] §ensembles, arXiv 2605.07105; entropic: arXiv 2606.09073).

A reward is centred per prompt and divided by the pooled within-prompt spread of base samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from alignment_limits.ensembles.scores import Array, centre, check_scores, prompt_means, within_prompt_sd
from alignment_limits.errors import EstimateError


@dataclass(frozen=True)
class Standardised:
    """scores (P, M), mean 0 per prompt and pooled sd 1; centre (P,) and scale, to do the same elsewhere."""

    scores: Array
    centre: Array
    scale: float


def standardise(scores: ArrayLike, *, name: str = "reward") -> Standardised:
    """Centre per prompt and scale by the pooled within-prompt sd, sqrt(SS / sum(m - 1)), of base samples
    (P, M).

    Raises EstimateError, naming the reward, if it is constant within every prompt (or its spread is
    rounding error).
    """
    array = check_scores(scores, name)
    scale = within_prompt_sd(array)
    if scale <= 1e-13 * float(np.nanmax(np.abs(array))):
        raise EstimateError(
            f"Reward '{name}' is constant within every prompt: it cannot be standardised and ranks nothing. "
            "Check its model, or leave it out."
        )
    return Standardised(centre(array) / scale, prompt_means(array), scale)


def apply_standardisation(scores: ArrayLike, centre: ArrayLike, scale: float, *, name: str = "reward") -> Array:
    """Standardise other samples (P, M') of the same prompts as the base samples were."""
    array = check_scores(scores, name)
    middle = np.asarray(centre, dtype=np.float64)
    if middle.shape != (len(array),):
        raise EstimateError(f"'{name}': {len(array)} prompts but centres of shape {middle.shape}.")
    if not scale > 0:
        raise EstimateError(f"'{name}': scale {scale} must be positive.")
    return (array - middle[:, None]) / scale


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
