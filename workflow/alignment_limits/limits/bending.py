"""A bound of the bias that is left in the gain of a reward that does not tilt, if it bends where the tilting one grows.

The correction of a limit is extrapolated at the rate at which the bias of the optimized reward r falls. Another reward
v that is linear in r, plus noise, has that rate, too. Powers of r have slower ones: their tilted means depend more on
the tail. So if v bends, such as gold that falls where a proxy is optimised too far, its bias falls more slowly than the
correction assumes. Halves and quarters do not show it, as the parts of v may cancel.

The bound: v is approximated by a polynomial of the third degree in r, by least squares within prompts. The gain of each
power is corrected twice, at its own rate and at that of r. The bound is the sum of the distances, each times the size
of its coefficient. As a power's own rate is noisy, its distance is at least 1.5 times the difference between all
samples and halves for the second power, and 3 times for the third (our choice).
"""

from collections.abc import Sequence

import numpy as np

from alignment_limits.ensembles.scores import Array, check_keys, enough_samples, prompt_means, within_prompt_sd
from alignment_limits.limits.bootstrap import PromptBootstrap, limit_interval
from alignment_limits.limits.correction import decrements, remaining
from alignment_limits.limits.curve import CorrectedCurve, CurvePoints, judge_points

DEGREES = (2, 3)
SLOWER = 1.5  # least distance of two corrections, for each degree above the first, in differences F - H
MOST_PROMPTS = 256  # prompts that show the rates


def bend_bound(
    optimized: Array,
    evaluated: Sequence[Array],
    kappa: Array,
    *,
    budget: str = "average",
    seed: int = 0,
    keys: np.ndarray | None = None,
) -> Array:
    """A bound of what bending adds to the bias of corrected gains at given KLs.

    Where gold is a polynomial, a step or a hyperbolic tangent of a Gaussian proxy, plus noise, it is above the mean
    bias at KLs up to half of log M. Where gold is linear it is almost 0 (docs/coverage.md, "Gold under proxies").

    Args:
        optimized: scores (P, M) of the reward that tilts; NaN marks a missing sample.
        evaluated: other rewards of the same samples (P, M).
        kappa: budgets in nats (K,).
        budget: "average" or "per-prompt".
        seed, keys: of the splits, as for `frontier`.

    Returns:
        Bounds (K, V) in units of each evaluated reward; NaN at a KL that halves of the samples do not reach.

    Example:
        >>> z, noise = np.random.default_rng(0).normal(size=(2, 64, 64))
        >>> bend_bound(z, [z + noise, z - 0.3 * z**2], np.array([2.0])).round(2)  # the second is no straight line
        array([[0.01, 0.15]])
    """
    rows = np.flatnonzero(enough_samples(optimized))
    if not len(rows) or within_prompt_sd(optimized[rows]) == 0:
        return np.zeros((len(kappa), len(evaluated)))
    names = check_keys(keys, len(optimized))
    rows = rows[np.argsort(names[rows], kind="stable")]
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST_PROMPTS)).astype(int))]
    scores = optimized[rows]
    unit = within_prompt_sd(scores)
    away = (scores - prompt_means(scores)[:, None]) / unit
    powers = [away**degree for degree in (1, *DEGREES)]
    centred = np.stack([np.nan_to_num(each - prompt_means(each)[:, None]).ravel() for each in powers], axis=1)
    points = CorrectedCurve(away, powers[1:], budget=budget, seed=seed, keys=names[rows]).at(kappa)
    first, second = points.levels[0] - points.levels[1], points.levels[1] - points.levels[2]
    bound = np.zeros((len(kappa), len(evaluated)))
    for i, other in enumerate(evaluated):
        own = np.nan_to_num(other[rows] - prompt_means(other[rows])[:, None]).ravel()
        size = float(np.abs(own).max()) or 1.0
        coefficients = size * np.linalg.lstsq(centred, own / size, rcond=None)[0]
        for power, coefficient in enumerate(coefficients[1:], start=1):
            factor = decrements(first[:, power], second[:, power], points.levels[0][:, power])[2]
            apart = np.nan_to_num(np.abs(factor - points.correction.factor))
            bound[:, i] += np.abs(coefficient * first[:, power]) * np.maximum(apart, SLOWER * power)
    return bound


def left_of_others(
    curve: CorrectedCurve, points: CurvePoints, optimized: Array, evaluated: Sequence[Array], ess: Array
) -> Array:
    """Bounds (K, 1 + V) of the bias that remains at given KLs, of the optimized reward and of each evaluated one.

    Args:
        curve: of the optimized reward, with the evaluated ones.
        points: read off it.
        optimized, evaluated: scores (P, M).
        ess: effective sample size at each KL (K,), of the verdict.
    """
    left = remaining(points.levels, points.correction.factor, ess)
    others = np.flatnonzero(curve.columns > 0)
    if others.size:
        bending = [evaluated[i - 1] for i in others]
        kappa = points.kappa
        further = bend_bound(optimized, bending, kappa, budget=curve.budget, seed=curve.seed, keys=curve.keys)
        left[:, others] = np.hypot(left[:, others], np.nan_to_num(further))
    return left


def gold_at_kl(
    proxy: Array, gold: Array, curve: CorrectedCurve, kl: float, boot: PromptBootstrap
) -> tuple[Array, float, float, str]:
    """Gold's gain under the tilt by `proxy` at one KL, as in `frontier`: contributions (P,), low, high, and why it is
    not reliable ("" if it is). `curve` is that of the proxy with gold.
    """
    points = curve.at(np.array([kl]))
    verdict = judge_points(proxy, points, clusters=boot.clusters, widened=True)
    left = left_of_others(curve, points, proxy, [gold], verdict.ess)[:, 1]
    values = points.values[:, :, 1]
    low, high = limit_interval(boot, values, left)
    return values[:, 0], float(low[0]), float(high[0]), str(verdict.reason[0])
