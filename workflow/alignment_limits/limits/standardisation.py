"""Put rewards on one scale: centred per prompt, over the pooled within-prompt spread of base samples."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from alignment_limits.errors import EstimateError
from alignment_limits.limits.arrays import Array, centre, check_scores, prompt_means, within_prompt_sd


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
