"""Rewards on one scale, and ensembles of them (docs/theory.md, "Ensembles").

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
    """Scores on the common scale, with the numbers that put other samples on it.

    Attributes:
        scores: (P, M), mean 0 per prompt and pooled standard deviation 1.
        centre: (P,), mean of each prompt, in units of the scores given.
        scale: pooled within-prompt standard deviation of the scores given.
    """

    scores: Array
    centre: Array
    scale: float


def standardise(scores: ArrayLike, *, name: str = "reward") -> Standardised:
    """Centre scores per prompt, and divide them by their pooled within-prompt standard deviation √(SS / Σ(m − 1)).

    Args:
        scores: of base samples (prompts, samples); NaN marks a missing sample.
        name: of the reward, for messages.

    Returns:
        Scores on the new scale, the centre of each prompt, and the scale.

    Raises:
        EstimateError: the reward is constant within every prompt, or its spread is rounding error.

    Example:
        >>> standardise([[0.0, 2.0], [5.0, 7.0]]).scores.round(3).tolist()
        [[-0.707, 0.707], [-0.707, 0.707]]

    References:
        docs/theory.md, "Ensembles".
    """
    array = check_scores(scores, name)
    scale = within_prompt_sd(array)
    if scale <= 1e-13 * float(np.nanmax(np.abs(array))):
        raise EstimateError(
            f"Reward '{name}' is constant within every prompt, so it cannot be standardised and ranks no reply. "
            "Check what made its scores, or leave it out."
        )
    return Standardised(centre(array) / scale, prompt_means(array), scale)


def apply_standardisation(scores: ArrayLike, centre: ArrayLike, scale: float, *, name: str = "reward") -> Array:
    """Put other samples of the same prompts on the scale of the base samples.

    Args:
        scores: (prompts, other samples); NaN marks a missing sample.
        centre: (prompts,), of the base samples.
        scale: of the base samples.
        name: of the reward, for messages.

    Returns:
        Scores on that scale, (prompts, other samples).

    Raises:
        EstimateError: other prompts, or a scale that is not positive.

    Example:
        >>> apply_standardisation([[3.0], [8.0]], centre=[1.0, 6.0], scale=2.0).tolist()
        [[1.0], [1.0]]
    """
    array = check_scores(scores, name)
    middle = np.asarray(centre, dtype=np.float64)
    if middle.shape != (len(array),):
        raise EstimateError(f"'{name}': {len(array)} prompts but centres of shape {middle.shape}.")
    if not scale > 0:
        raise EstimateError(f"'{name}': scale {scale} must be positive.")
    return (array - middle[:, None]) / scale


AGGREGATORS = ("mean", "median", "minimum", "mean-variance", "entropic")


def check_members(members: ArrayLike | Sequence[ArrayLike]) -> Array:
    """Members of an ensemble as one array.

    Args:
        members: scores (prompts, samples) of each member; NaN marks a missing sample.

    Returns:
        Scores (members, prompts, samples).

    Raises:
        EstimateError: members do not score exactly the same samples.

    Example:
        >>> check_members([[[0.0, 1.0]], [[2.0, 1.0]]]).shape
        (2, 1, 2)
    """
    given: list[ArrayLike] = list(members)  # type: ignore[arg-type]
    shapes = {np.shape(scores) for scores in given}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2:
        shown = ", ".join(map(str, sorted(shapes))) or "none"
        raise EstimateError(f"Ensemble members have shapes {shown}; all must have the same shape (prompts, samples).")
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
    """One reward from members that are already on one scale.

    Args:
        members: scores (members, prompts, samples).
        aggregator: "mean", "median" or "minimum" (worst case); "mean-variance": mean − coefficient · variance of the
            members' scores of a sample (population form), in squared reward units; "entropic": −b log mean e^{−r/b}
            with b the temperature, between the minimum (b → 0) and the mean (b → ∞).
        coefficient: of "mean-variance", at least 0.
        temperature: of "entropic", positive, in units of the reward.

    Returns:
        Scores (prompts, samples).

    Raises:
        EstimateError: members with other samples, an unknown aggregator, or a setting that is impossible.

    Example:
        >>> aggregate([[[0.0, 1.0]], [[2.0, 1.0]]], "mean-variance").tolist()
        [[0.0, 1.0]]

    References:
        "Theoretical Limits of Language Model Alignment", arXiv 2605.07105;
        entropic: arXiv 2606.09073; docs/theory.md, "Ensembles".
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
