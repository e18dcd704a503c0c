"""One verdict per estimate: may it be relied on, and if not, why."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from alignment_limits.limits.arrays import QUARTERS, Array, check_scores, within_prompt_sd
from alignment_limits.limits.pareto import pareto_k

# Set where 95% intervals stop covering in benchmarks/limits_coverage.py (Gaussian, uniform, Bernoulli,
# exponential).
SMALLEST_ESS = 10.0
LARGEST_K = 1.0  # PSIS says 0.7 for one integral; a corrected mean over many prompts covers beyond it
HEAVY_TAIL = 0.84  # mean-excess ratio: with 64 x 64 scores Gaussian 0.73 +- 0.04, exponential 0.98 +- 0.05
FEWEST_PROMPTS = 16
FEWEST_SAMPLES = 16
MOST_CAPPED = 0.05
LARGEST_RATIO = 2.6  # of the correction's decrements; 2 is a bias of 1/M
K_PROMPTS = 128  # the median k-hat over this many prompts is known to 0.03


@dataclass(frozen=True)
class Reach:
    """How far a correction by a series in 1/M goes, as at a fixed beta.

    pareto_k : its first term needs weights of finite variance, k < 1/2 (k-hat's prior pulls it towards 1/2). variance :
    the relative variance of a quarter's mean weight, in which log Z is expanded, has to be small.
    """

    pareto_k: float
    variance: float


AT_BETA = Reach(pareto_k=0.4, variance=1 / 7)
# Gaps are small differences of such rows. k-hat goes up and down with them (with the number of a prompt's hits, say):
# a verdict by it would choose the low ones. The effective size of the quarters is known better.
GAPS = Reach(pareto_k=LARGEST_K, variance=1 / 24)


@dataclass(frozen=True)
class Verdict:
    """Per point, all (K,): medians over prompts of ess and Pareto k; reliable, or the reason why not."""

    ess: Array
    pareto_k: Array
    reliable: np.ndarray
    reason: np.ndarray


def tie_rate(scores: ArrayLike) -> Array:
    """Share of each prompt's samples whose score another sample of that prompt also has, (P,)."""
    ordered = np.sort(check_scores(scores), axis=1)
    same = ordered[:, 1:] == ordered[:, :-1]
    edge = np.zeros((len(ordered), 1), dtype=bool)
    tied = np.concatenate([edge, same], axis=1) | np.concatenate([same, edge], axis=1)
    return np.asarray(tied.sum(axis=1) / np.sum(~np.isnan(ordered), axis=1))


def prompt_ceilings(scores: ArrayLike) -> Array:
    """Largest KL the samples of each prompt can show, log(m / samples tied at the best score), (P,) nats."""
    array = check_scores(scores)
    best = np.sum(array == np.nanmax(array, axis=1, keepdims=True), axis=1)
    return np.asarray(np.log(np.sum(~np.isnan(array), axis=1) / best))


def log_m_ceiling(scores: ArrayLike) -> float:
    """Mean of `prompt_ceilings`: right edge of any frontier these samples can show (log M untied)."""
    return float(prompt_ceilings(scores).mean())


def tail_ratio(scores: ArrayLike) -> float:
    """Mean excess over the top 1/16 quantile by that over the top 1/4, averaged over prompts.

    Exponential tails give 1, Gaussian 0.73, uniform 0.25, heavier tails more than 1. NaN where no prompt has 16
    samples and any spread. Excesses are in units of each prompt's sd, so a difference in scale is no tail.
    """
    array = check_scores(scores)
    counts = np.sum(~np.isnan(array), axis=1)
    wide: list[Array] = []
    far: list[Array] = []
    for m in np.unique(counts[counts >= FEWEST_SAMPLES]):
        top = np.sort(array[counts == m], axis=1)[:, :m][:, ::-1]
        # Where the scores between the two cuts are tied there are atoms, not a tail.
        top = top[top[:, m // 16] > top[:, m // 4]]
        sd = top.std(axis=1)
        for share, into in ((4, wide), (16, far)):
            into.append((top[:, : m // share].mean(axis=1) - top[:, m // share]) / sd)
    whole = np.concatenate(wide).sum() if wide else 0.0
    return float(np.concatenate(far).sum() / whole) if whole > 0 else float("nan")


def median_k(scores: Array, inverse: Array) -> Array:
    """Median over (at most 128) prompts of k-hat at each lambda (L,) or (P, L); NaN without a tail."""
    rows = np.unique(np.linspace(0, len(scores) - 1, min(len(scores), K_PROMPTS)).astype(int))
    lam = inverse if np.ndim(inverse) == 1 else inverse[rows]
    valid = np.isfinite(lam)
    k = pareto_k(scores[rows], np.where(valid, lam, 0.0))
    k = np.where(valid, k, np.nan)
    out = np.full(k.shape[1], np.nan)
    some = ~np.isnan(k).all(axis=0)
    if some.any():
        out[some] = np.nanmedian(k[:, some], axis=0)
    return out


def judge(
    scores: Array,
    inverse: Array,
    ess: Array,
    ratio: Array | None = None,
    *,
    reached: np.ndarray | None = None,
    capped: Array | None = None,
    doubtful: np.ndarray | None = None,
    reach: Reach | None = None,
    prompts: int | None = None,
    clusters: int | None = None,
) -> Verdict:
    """The verdict on K points of a curve tilted by `scores` (P, M); the first reason that applies is given.

    inverse : lambda = 1/beta, (K,) or (P, K). ess : (P, K). ratio : of the correction's decrements
    (levels.py; default: as 1/M has it).
    reached : 3 where all samples, their halves and their quarters can show this KL (default: everywhere).
    capped : share of quarters at their own ceiling (default: none). doubtful : where what the correction may miss is
    not small beside the interval (default: nowhere). reach : of a correction at a fixed beta, whose bias has to fall
    as 1/M (default: of one at a fixed KL, which has no such need). prompts : behind the estimates, if `scores` are a
    part of them. clusters : how many clusters of prompts are independent (default: every prompt is).
    """
    count = ess.shape[1]
    ratio = np.full(count, 2.0) if ratio is None else ratio
    reached = np.full(count, 3) if reached is None else reached
    capped = np.zeros(count) if capped is None else capped
    doubtful = np.zeros(count, dtype=bool) if doubtful is None else doubtful
    size, k = np.median(ess, axis=0), median_k(scores, inverse)
    prompts, samples = prompts or len(scores), int(np.median(np.sum(~np.isnan(scores), axis=1)))
    constant = within_prompt_sd(scores) == 0
    tail = tail_ratio(scores)
    reasons = []
    for e, shape, rho, level, share, doubt in zip(size, k, ratio, reached, capped, doubtful, strict=True):
        if constant:
            reason = "constant reward: nothing to gain"
        elif level == 0:
            reason = f"beyond the largest KL these samples can show ({log_m_ceiling(scores):.2f} nats)"
        elif prompts < FEWEST_PROMPTS:
            reason = f"only {prompts} prompts (needs {FEWEST_PROMPTS})"
        elif clusters is not None and clusters < FEWEST_PROMPTS:
            reason = f"only {clusters} independent clusters of prompts (needs {FEWEST_PROMPTS})"
        elif samples < FEWEST_SAMPLES:
            reason = f"only {samples} samples per prompt (needs {FEWEST_SAMPLES})"
        elif level < 3:
            reason = "too near the ceiling to correct: a quarter of the samples cannot show this KL"
        elif share > MOST_CAPPED:
            reason = f"{100 * share:.0f}% of quarters of a prompt's samples stop below this KL, at ties for their best"
        elif e < SMALLEST_ESS:
            reason = f"effective sample size {e:.1f} (needs {SMALLEST_ESS:.0f})"
        elif tail > HEAVY_TAIL:
            reason = f"heavy upper tail (mean-excess ratio {tail:.3f}, at most {HEAVY_TAIL}): intervals fall short"
        elif shape > LARGEST_K:
            reason = f"Pareto k {shape:.2f} (needs {LARGEST_K})"
        elif rho > LARGEST_RATIO:
            reason = f"quarters of the samples are too few to correct (ratio {rho:.1f}, needs {LARGEST_RATIO})"
        elif reach and shape > reach.pareto_k:
            reason = f"Pareto k {shape:.2f} (needs {reach.pareto_k} at a fixed beta); read the curve at fixed KL"
        elif reach and QUARTERS * (1 / e - 1 / samples) > reach.variance:
            reason = f"effective sample size {e:.1f}: quarters are too few at a fixed beta; read the curve at fixed KL"
        elif doubt:
            reason = "the correction is too uncertain beside so narrow an interval" + (
                "; read the curve at fixed KL" if reach else ": more samples per prompt would help, not more prompts"
            )
        else:
            reason = ""
        reasons.append(reason)
    text = np.array(reasons, dtype=object)
    return Verdict(size, k, text == "", text)
