"""Bias correction at a fixed KL: extrapolate from all samples, halves and quarters to infinitely many.

With M samples per prompt the estimated limit is low by about c M^-a: a = 1 for light tails, less for heavy
ones. Computed from all samples (F), from disjoint halves (H) and quarters (Q) of each prompt, the
decrements d1 = F - H and d2 = H - Q show both c and a: their ratio rho = d2/d1 is 2^a. The corrected value
is F + g(rho) d1 with

    g = 1/(rho - 1)      for rho < 2   (Aitken: the geometric sum d1/rho + d1/rho^2 + ...),
    g = (5 - rho)/3      for rho >= 2  (Richardson in 1/M and 1/M^2: 8/3 F - 2 H + 1/3 Q; both agree at rho
    = 2).

rho comes from the optimized reward and serves every evaluated one: how fast the tilt's tail fills in is a
matter of the reward that tilts. The correction is linearised, so that each prompt contributes its share
including the uncertainty of rho. Our choice: [L]'s own correction is unknown to us.
benchmarks/limits_coverage.py measures it against the plug-in, 2F - H and the jackknife.
"""

from dataclasses import dataclass

import numpy as np

from alignment_limits.limits.arrays import Array

LEVELS = 3
RATIO_FLOOR = 1.25  # a = 0.32: below this the samples do not show where the sum ends
RATIO_CEILING = 5.0  # beyond it the quarters are too small to say anything; g = 0 there
MOST_MISSED = 0.2  # size of the 1/M^2 term, as a share of an interval's width
MOST_LEFT = 0.75  # the bound `missed` at a fixed KL, as a share of an interval's width; the error is a fifth of it


@dataclass(frozen=True)
class Correction:
    """ratio rho, its standard error over prompts, the factor g and dg/drho, each (K,)."""

    ratio: Array
    ratio_error: Array
    factor: Array
    slope: Array

    def apply(self, levels: Array) -> Array:
        """Extrapolate anything (3, ..., K) by the same factor: F + g (F - H), or F where H is missing."""
        step = levels[0] - levels[1]
        return levels[0] + np.where(np.isnan(step), 0.0, self.factor * step)


def _step(first: Array, second: Array, scale: Array) -> tuple[np.ndarray, Array, Array, Array]:
    """usable, ratio, g and dg/dratio for mean decrements (K,); rho = 2 where there is nothing to see."""
    usable = np.isfinite(first) & np.isfinite(second) & (first > 1e-9 * np.abs(scale))
    ratio = np.where(usable, second / np.where(usable, first, 1.0), 2.0)
    held = np.clip(ratio, RATIO_FLOOR, RATIO_CEILING)
    factor = np.where(held < 2.0, 1.0 / (held - 1.0), (5.0 - held) / 3.0)
    slope = np.where(held < 2.0, -1.0 / (held - 1.0) ** 2, -1.0 / 3.0)
    return usable, ratio, factor, np.where(usable & (held == ratio), slope, 0.0)


def extrapolate_at_beta(levels: Array) -> tuple[Array, Array]:
    """Correct quantities (3, P, K, V) at a fixed beta by Richardson in 1/M and 1/M^2: 8/3 F - 2 H + 1/3 Q.

    The coefficients are fixed, so identities between KL, reverse KL and gain survive and the verdict does not hang on
    a noisy ratio; where the bias falls more slowly than 1/M (heavy weights) the row is refused (diagnostics.py).
    Returns values (P, K, V) and the size of the 1/M^2 term (K, V), a measure of what the terms left out may be.
    """
    full, halves, quarters = levels
    first, second = full - halves, halves - quarters
    return full + (5.0 * first - second) / 3.0, np.abs((2.0 * first - second).mean(axis=0)) / 3.0


def extrapolate(levels: Array) -> tuple[Array, Correction]:
    """Corrected per-prompt contributions from (3, P, K, V) or (3, P, K); reward 0 sets the ratio.

    Where quarters are missing (NaN) the factor is 1 (2F - H); where halves are missing it is 0 (plug-in).
    """
    full, halves, quarters = levels if levels.ndim == 4 else levels[..., None]
    prompts = len(full)
    first, second = full - halves, halves - quarters
    d1, d2 = first[..., 0].mean(axis=0), second[..., 0].mean(axis=0)
    usable, ratio, factor, slope = _step(d1, d2, full[..., 0].mean(axis=0))
    safe = np.where(usable, d1, 1.0)
    factor = np.where(np.isnan(d1), 0.0, factor)
    # Influence of each prompt on rho, summing to 0.
    influence = np.where(usable, (second[..., 0] - ratio * first[..., 0]) / safe, 0.0)
    with np.errstate(invalid="ignore"):
        error = influence.std(axis=0) / np.sqrt(prompts)
        step = first.mean(axis=0)  # (K, V)
    gained = np.where(np.isnan(first), 0.0, factor[:, None] * first)
    gained += np.where(np.isnan(step), 0.0, step) * (slope * influence)[..., None]
    values = full + gained
    return (values if levels.ndim == 4 else values[..., 0]), Correction(ratio, error, factor, slope)


def missed(levels: Array, factor: Array) -> Array:
    """A bound on what a correction F + g (F - H) leaves, from levels (3, ...); 0 where a level is missing.

    Its distance from Richardson's for biases in 1/M and 1/M^2, F + (5 (F - H) - (H - Q)) / 3, or the second-order term
    of that, |2 (F - H) - (H - Q)| / 3, where this is more: above the error on the worlds of known truth where reliable.
    """
    first, second = levels[0] - levels[1], levels[1] - levels[2]
    apart = np.abs(factor * first - (5.0 * first - second) / 3.0)
    return np.asarray(np.nan_to_num(np.maximum(apart, np.abs(2.0 * first - second) / 3.0)))
