"""Reference curves to draw beside a frontier."""

import numpy as np
from numpy.typing import ArrayLike

from alignment_limits.limits.arrays import Array, check_scores, within_prompt_sd


def sub_gaussian_bound(optimized: ArrayLike, kls: ArrayLike) -> Array:
    """sigma sqrt(2 kl), sigma the pooled within-prompt sd of base samples (2406.05883): exact for Gaussian
    rewards.

    With the variance as proxy this is a bound only for rewards no heavier-tailed than Gaussian; (K,).
    """
    kl = np.atleast_1d(np.asarray(kls, dtype=np.float64))
    return np.asarray(within_prompt_sd(check_scores(optimized, "optimized")) * np.sqrt(2.0 * kl))
