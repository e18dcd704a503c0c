"""The verdict on each estimate: whether it is reliable, and if not, why."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from alignment_limits.ensembles.scores import (
    FEWEST_SAMPLES,
    Array,
    centre,
    check_scores,
    enough_samples,
    sample_counts,
    within_prompt_sd,
)
from alignment_limits.limits.correction import smallest_ess
from alignment_limits.limits.samples import Pool
from alignment_limits.limits.tails import MARGIN, constant_quarters, heavy_tail
from alignment_limits.limits.tilt import pareto_k

# Chosen where 95% intervals stop covering in benchmarks/limits_coverage.py (Gaussian, uniform, Bernoulli,
# exponential rewards).
SMALLEST_ESS = 10.0
LARGEST_K = 1.0  # PSIS recommends 0.7 for one integral; a corrected mean over many prompts also covers above it
FEWEST_PROMPTS = 16
CARRY = "few prompts carry this estimate"
MOST_LEFT_OUT = 0.25  # maximum share of prompts with too few samples
MOST_CAPPED = 0.25  # pass rates Beta(.3, .7), 64 samples: 0.22 at 1.5 nats, where intervals cover
MOST_CONSTANT = 0.2  # 64 samples of 0/1 rewards: pass rate .1 0.15 (covers), .05 0.36 (12 to 19 % too high, does not)
LARGEST_RATIO = 2.6  # of the correction's decrements; a bias of 1/M gives 2
SMALLEST_AT_BETA = 1.8  # effective sample size of a tilt at a fixed beta, a mean in which the smallest count most
FURTHEST_AT_BETA = 0.75  # of log M: a KL at a fixed beta beyond it is too low, with an interval that ends too early
HALVES_ESS = 5.0  # for intervals that include the remaining bias, where quarters do not reach a KL (ties for the best)
FEW = 48  # with fewer prompts it is unclear how much their spreads differ
K_PROMPTS = 128  # the median k-hat over this many prompts is known to 0.03


@dataclass(frozen=True)
class Carriers:
    """The effective number of prompts that must carry an estimate; with fewer, spreads that were not drawn matter.

    Of 64 prompts with lognormal spreads, a log-sd of 0.3 gives 0.86 ± 0.05 of all, 0.6 gives 0.6 ± 0.12; of 16 prompts
    0.90 ± 0.06 and 0.71 ± 0.13.

    Attributes:
        fewest: this number is enough.
        alike, of_sixteen: so is this share of all prompts: `alike` with 64 prompts or more, rising to `of_sixteen`
            with 16.
        freed: share needed if there are fewer than FEW prompts, after the noise of their own samples is removed
            (`freed_of_noise`).
    """

    fewest: float
    alike: float
    of_sixteen: float
    freed: float

    def of(self, units: float) -> float:
        """The effective number needed, out of this number of independent prompts."""
        few = min(max(8 / math.sqrt(units) - 1, 0.0), 1.0)
        return min(self.fewest, (self.alike + (self.of_sixteen - self.alike) * few) * units)

    def missing(self, share: Array, units: float, noise: Array | None = None) -> str:
        """Why too few of the prompts carry an estimate; "" if enough do.

        Args:
            share: (P,) their shares.
            units: how many of them are independent.
            noise: (P,) variance of each share due to its own samples, over its square (default: not judged).
        """
        judged = [(share, self.of(units))]
        if noise is not None and units < FEW:
            judged.append((freed_of_noise(share, noise), self.freed * units))
        for part, needed in judged:
            carry = effective_number(part) * units / len(part)
            if carry < needed:
                return f"{CARRY}: effectively {carry:.1f} (needs {needed:.3g})"
        return ""


# A limit under the average budget. A few prompts may look similar although spreads differ much. With a log-sd of 0.3,
# 16 clusters and 32 prompts cover in 94 and 91 % of studies, but only in 90 and 88 % of those that look more alike than
# others. So few prompts must be alike except for their noise.
AVERAGE = Carriers(fewest=100, alike=0.77, of_sixteen=0.9, freed=0.97)
PER_PROMPT = Carriers(fewest=FEWEST_PROMPTS, alike=0.77, of_sixteen=0.77, freed=0.77)
# Best-of-n's share of the average limit is mean(s) / sqrt(mean(s^2)) if spreads s differ. With a log-sd of 0.3 it
# covers in 82 % of studies with 16 prompts, and in 88 % with 64.
AVERAGE_SHARE = Carriers(fewest=64, alike=0.97, of_sixteen=0.97, freed=0.97)


@dataclass(frozen=True)
class Verdict:
    """Whether K points are reliable.

    Attributes:
        ess, pareto_k: medians over prompts, weighted by the share of each (K,).
        effective_prompts: number of prompts (or clusters) that carry the points (K,).
        reliable, reason: the verdict, and why not ("" if reliable), (K,).
    """

    ess: Array
    pareto_k: Array
    effective_prompts: Array
    reliable: np.ndarray
    reason: np.ndarray


def too_few(count: int, what: str = "prompt{}") -> str:
    """That there are fewer prompts than any estimate over them needs.

    Example:
        >>> too_few(1), too_few(2, "cluster{} of prompts")
        ('only 1 prompt (needs 16)', 'only 2 clusters of prompts (needs 16)')
    """
    return f"only {count} {what.format('' if count == 1 else 's')} (needs {FEWEST_PROMPTS})"


def tie_rate(scores: ArrayLike) -> Array:
    """Share of each prompt's samples that have the same score as another one, (P,)."""
    ordered = np.sort(check_scores(scores), axis=1)
    same = ordered[:, 1:] == ordered[:, :-1]
    edge = np.zeros((len(ordered), 1), dtype=bool)
    tied = np.concatenate([edge, same], axis=1) | np.concatenate([same, edge], axis=1)
    return np.asarray(tied.sum(axis=1) / np.sum(~np.isnan(ordered), axis=1))


def prompt_ceilings(scores: ArrayLike) -> Array:
    """Largest KL that the samples of each prompt can reach, log(m / samples tied at the best score), (P,) nats."""
    array = check_scores(scores)
    best = np.sum(array == np.nanmax(array, axis=1, keepdims=True), axis=1)
    return np.asarray(np.log(np.sum(~np.isnan(array), axis=1) / best))


def log_m_ceiling(scores: ArrayLike) -> float:
    """Mean of `prompt_ceilings`: the largest KL of a frontier from these samples (log M without ties)."""
    return float(prompt_ceilings(scores).mean())


def effective_number(share: Array) -> float:
    """How many rows carry a sum of values (P,) >= 0: P if all are alike, few if few have most of it.

    (sum v)^2 / sum v^2, with values below the mean raised to it. So rows with 0 do not matter, but a row with a large
    share does, as similar rows may not have been drawn.
    """
    largest = float(np.max(share))
    part = np.maximum(share, share.mean()) / largest if largest > 0 else np.ones(len(share))
    return float(part.sum() ** 2 / (part**2).sum())


def freed_of_noise(share: Array, noise: Array) -> Array:
    """Shares (P,) shrunk to their mean, to remove the variance of their noise: noise (P,) times share^2."""
    largest = float(share.max())
    unit = share / largest if largest > 0 else share
    variance = unit.var()
    kept = np.sqrt(max(1 - (noise * unit**2).mean() / variance, 0.0)) if variance > 0 else 0.0
    return np.asarray(share.mean() + kept * (share - share.mean()))


def _noise_of_variances(scores: Array) -> Array:
    """Variance of each prompt's variance of scores (P, M), over its square, (P,)."""
    away = centre(scores)
    largest = np.nanmax(np.abs(away), axis=1, keepdims=True)
    square = (away / np.where(largest > 0, largest, 1.0)) ** 2
    second, fourth = np.nanmean(square, axis=1), np.nanmean(square**2, axis=1)
    return np.asarray((fourth / np.where(second > 0, second, 1.0) ** 2 - 1).clip(0.0) / sample_counts(scores))


def weighted_k(scores: Array, inverse: Array, share: Array | None = None, pool: Pool | None = None) -> Array:
    """Median over (at most 128) prompts of k-hat at each lambda (L,) or (P, L), weighted by each prompt's share (P,);
    NaN without a tail.
    """
    rows = np.unique(np.linspace(0, len(scores) - 1, min(len(scores), K_PROMPTS)).astype(int))
    lam = inverse if np.ndim(inverse) == 1 else inverse[rows]
    valid = np.isfinite(lam)
    weights = None if pool is None else pool.log_weights(~np.isnan(scores))[rows]
    k = pareto_k(scores[rows], np.where(valid, lam, 0.0), weights)
    k = np.where(valid, k, np.nan)
    return weighted_median(k, np.ones(len(rows)) if share is None else share[rows])


def weighted_median(values: Array, weights: Array) -> Array:
    """Median of each column of (P, K) under weights (P,), without NaN: the middle of the two values at which the sum of
    weights reaches a half. With equal weights it is NumPy's median.
    """
    out = np.full(values.shape[1], np.nan)
    for j, column in enumerate(values.T):
        use = np.isfinite(column) & (weights > 0)
        if use.any():
            order = np.argsort(column[use], kind="stable")
            x, below = column[use][order], np.cumsum(weights[use][order])
            half = below[-1] / 2
            low, high = (int(np.searchsorted(below, half * (1 + side))) for side in (-1e-9, 1e-9))
            out[j] = (x[low] + x[min(high, len(x) - 1)]) / 2
    return out


def judge(
    scores: Array,
    inverse: Array,
    ess: Array,
    ratio: Array | None = None,
    ratio_error: Array | None = None,
    *,
    share: Array | None = None,
    carriers: Carriers = AVERAGE,
    reached: np.ndarray | None = None,
    capped: Array | None = None,
    at_beta: Array | None = None,
    prompts: int | None = None,
    left_out: int = 0,
    clusters: int | None = None,
    pool: Pool | None = None,
    widened: bool = False,
) -> Verdict:
    """The verdict on K points of a curve tilted by `scores` (P, M); the first reason that applies is given.

    Args:
        scores: (P, M) of the selecting or tilting reward.
        inverse: lambda = 1/beta, (K,) or (P, K).
        ess: (P, K), NaN for excluded prompts.
        ratio: of the correction's decrements (correction.py; default: that of a bias in 1/M).
        ratio_error: its standard error (default: none).
        share: (P,) each prompt's share of the KL or gain (default: equal), the weight of diagnostics.
        carriers: the number of prompts that must carry the estimate.
        reached: 3 if all samples, their halves and their quarters reach this KL (default: everywhere).
        capped: share of quarters that end at their own ceiling although all samples do not (default: none).
        at_beta: of points at a fixed beta their KL (K,), 0 if it is not known. There no KL is given that the samples
            may not reach, so this and their effective sample size must show it.
        prompts, left_out: number of prompts in the estimates, and number with too few samples, if `scores` has only a
            part of them.
        clusters: number of independent clusters of prompts (default: every prompt is independent).
        pool: laws of the samples, if not all are from the base. The tail is judged on the base's samples, the weights
            on all.
        widened: whether the interval includes a bound of the remaining bias and of prompts that were not drawn
            (`bootstrap.limit_interval`). Then neither the effective sample size nor the number of prompts that carry
            the estimate is a reason: both are correlated with the estimate, so that such a rule keeps the studies that
            missed the wide prompts. With 64 prompts and spreads of log-sd 1, 91 % of all intervals covered at 1 nat,
            but 71 % of those with an effective sample size of 2.5 or more. Pools keep the check of the effective sample
            size, which shows whether their policies are near the tilt.
    """
    count = ess.shape[1]
    every = len(scores) + left_out if prompts is None else prompts + left_out
    pooled, scores = scores, scores if pool is None else pool.base_only(scores)
    enough = enough_samples(scores)
    if not enough.all():
        scores, ess = scores[enough], ess[enough]
        inverse = inverse if np.ndim(inverse) == 1 else inverse[enough]
        share = None if share is None else share[enough]
        pooled, pool = pooled[enough], None if pool is None else pool.rows(enough)
    prompts = len(scores) if prompts is None else prompts
    counts = sample_counts(scores)
    most = int(counts.max())
    share = np.ones(len(scores)) if share is None else share
    ratio = np.full(count, 2.0) if ratio is None else ratio
    ratio_error = np.zeros(count) if ratio_error is None else np.nan_to_num(ratio_error)
    reached = np.full(count, 3) if reached is None else reached
    capped = np.zeros(count) if capped is None else capped
    size, k = weighted_median(ess, share), weighted_k(pooled, inverse, share, pool)
    smallest = smallest_ess(ess, share)
    constant = within_prompt_sd(scores) == 0
    misfit = "" if pool is None else pool.misfit(~np.isnan(pooled))
    heavy = heavy_tail(scores, share)
    # Each cluster counts as one prompt, as its prompts may be alike.
    units = prompts if clusters is None else clusters * prompts / every
    # Under the average budget other prompts use what such a prompt does not.
    sparse = constant_quarters(scores, share) if carriers is PER_PROMPT else 0.0
    noise = _noise_of_variances(scores) if carriers is AVERAGE else None
    few = "" if widened else carriers.missing(share, units, noise)
    reasons = []
    for j in range(count):
        e, shape = size[j], k[j]
        if constant:
            reason = "constant reward: nothing to gain"
        elif misfit:
            reason = misfit
        elif reached[j] == 0:
            most_shown = f" ({log_m_ceiling(scores):.2f} nats)" if pool is None else ""
            reason = f"beyond the largest KL these samples can show{most_shown}"
        elif prompts < FEWEST_PROMPTS:
            reason = too_few(prompts)
        elif clusters is not None and clusters < FEWEST_PROMPTS:
            reason = too_few(clusters, "independent cluster{} of prompts")
        elif most < FEWEST_SAMPLES:
            reason = f"only {most} samples per prompt (needs {FEWEST_SAMPLES})"
        elif every - prompts > MOST_LEFT_OUT * every:
            reason = f"only {prompts} of {every} prompts have {FEWEST_SAMPLES} samples or more"
        elif reached[j] < (2 if widened and e >= HALVES_ESS else 3):
            part = "half" if widened and e >= HALVES_ESS else "a quarter"
            reason = f"too near the ceiling to correct: {part} of the samples does not reach this KL"
        elif few:
            reason = few
        elif capped[j] > MOST_CAPPED and not widened:
            reason = f"{100 * capped[j]:.0f}% of quarters of the samples end below this KL, at ties for the best score"
        elif sparse > MOST_CONSTANT and widened:
            reason = f"{100 * sparse:.0f}% of quarters of the samples are constant: the reward is too rare to correct"
        elif e < SMALLEST_ESS and (pool is not None or not widened):  # a pooled policy may be far from the tilt
            reason = f"effective sample size {e:.1f} (needs {SMALLEST_ESS:g})"
        elif heavy:
            reason = heavy
        elif at_beta is not None and pool is None and at_beta[j] > FURTHEST_AT_BETA * np.log(most):
            reason = f"a KL of {at_beta[j]:.1f} nats at this temperature is too far for {most} samples of a prompt"
        elif at_beta is not None and smallest[j] < SMALLEST_AT_BETA:
            reason = f"effective sample size {smallest[j]:.1f} at this temperature (needs {SMALLEST_AT_BETA:g})"
        elif widened:
            reason = ""
        elif shape > LARGEST_K:
            reason = f"Pareto k {shape:.2f} (needs at most {LARGEST_K})"
        elif ratio[j] + MARGIN * ratio_error[j] > LARGEST_RATIO:
            reason = (
                f"quarters of the samples are too few to correct (ratio {ratio[j]:.2f} ± {ratio_error[j]:.2f}, needs "
                f"at most {LARGEST_RATIO} with {MARGIN:g} standard error)"
            )
        else:
            reason = ""
        reasons.append(reason)
    text = np.array(reasons, dtype=object)
    carry = effective_number(share) * units / len(share) if share.size else 0.0
    return Verdict(size, k, np.full(count, carry), text == "", text)
