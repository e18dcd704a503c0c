"""The upper tail of rewards: how heavy it is, and whether a quarter of the samples shows any of it."""

import numpy as np
import scipy
from numpy.typing import ArrayLike

from alignment_limits.ensembles.scores import FEWEST_SAMPLES, Array, check_scores, sample_counts

HEAVY_TAIL = 0.84  # mean-excess ratio: with 64 x 64 scores Gaussian 0.73 +- 0.04, exponential 0.98 +- 0.05
TAIL_ERROR = 0.65  # its standard error, times the root of the number of scores in the top sixteenth
HEAVY_KURTOSIS = 1.1  # `upper_kurtosis` of 64 x 64 scores: Gaussian 0.97 +- 0.03, Student's t (10) 1.19 +- 0.07
MARGIN = 1.0  # standard errors that a statistic must be below its bound, so that few studies pass by luck


def tail_ratio(scores: ArrayLike) -> float:
    """Mean excess above the top 1/16 quantile over that above the top 1/4, averaged over prompts.

    Exponential tails give 1, Gaussian 0.73, uniform 0.25, heavier tails more than 1. NaN where no prompt has 16
    samples and any spread. Excesses are in units of each prompt's sd, so differences in scale do not count as a tail.
    """
    array = check_scores(scores)
    counts = sample_counts(array)
    wide: list[Array] = []
    far: list[Array] = []
    for m in np.unique(counts[counts >= FEWEST_SAMPLES]):
        top = np.sort(array[counts == m], axis=1)[:, :m][:, ::-1]
        # If the scores between the two cuts are tied, they are atoms, not a tail.
        top = top[top[:, m // 16] > top[:, m // 4]]
        sd = _row_sd(top)
        for share, into in ((4, wide), (16, far)):
            into.append((top[:, : m // share].mean(axis=1) - top[:, m // share]) / sd)
    whole = np.concatenate(wide).sum() if wide else 0.0
    return float(np.concatenate(far).sum() / whole) if whole > 0 else float("nan")


def _row_sd(rows: Array) -> Array:
    """Standard deviation of each row, (P,), without overflow."""
    unit = np.maximum(np.abs(rows[:, :1] - rows[:, -1:]), np.finfo(np.float64).tiny)
    return np.asarray(unit[:, 0] * ((rows - rows[:, :1]) / unit).std(axis=1))


def upper_kurtosis(scores: ArrayLike, share: Array | None = None) -> tuple[float, float]:
    """Kurtosis of the upper half of the scores relative to a Gaussian's, and its standard error.

    With z = (r - mean) / sd of each prompt, E z+^4 / (6 (E z+^2)^2): Gaussian scores give 1 (0.97 from 64 samples),
    uniform 0.6, exponential 2.7 (2.0). It separates a heavier tail from a Gaussian one more clearly than `tail_ratio`,
    which uses only the top sixteenth.

    Args:
        scores: (P, M), NaN = no such sample.
        share: (P,) weight of each prompt (default: all alike).

    Returns:
        Ratio and standard error over prompts; NaN if no prompt has a tail. A tail needs 16 samples, a single best one,
        and different scores in more than half of all samples and of the top quarter (marks on a scale are not a tail).
    """
    array = check_scores(scores)
    share = np.ones(len(array)) if share is None else share
    fourth, second, weight = [], [], []
    counts = sample_counts(array)
    for m in np.unique(counts[counts >= FEWEST_SAMPLES]):
        rows = np.flatnonzero(counts == m)
        top = np.sort(array[rows], axis=1)[:, :m][:, ::-1]
        apart = top[:, 1:] < top[:, :-1]
        different, near = 1 + apart.sum(axis=1), 1 + apart[:, : m // 4 - 1].sum(axis=1)
        tail = apart[:, 0] & (different > m / 2) & (near > m // 4 / 2)
        top, rows = top[tail], rows[tail]
        z = np.maximum((top - top.mean(axis=1, keepdims=True)) / _row_sd(top)[:, None], 0.0) ** 2
        second.append(z.mean(axis=1))
        fourth.append((z * z).mean(axis=1))
        weight.append(share[rows])
    w = np.concatenate(weight) if weight else np.empty(0)
    if not w.sum() > 0:
        return float("nan"), float("nan")
    w = w / w.sum()
    a, b = np.concatenate(fourth), np.concatenate(second)
    mean, square = (w * a).sum(), (w * b).sum()
    ratio = mean / (6 * square**2)
    influence = w * ((a - mean) / mean - 2 * (b - square) / square)
    return float(ratio), float(ratio * np.sqrt((influence**2).sum()))


def heavy_tail(scores: Array, share: Array) -> str:
    """Why the upper tail is too heavy for a limit, "" if it is not.

    The kurtosis decides where it is defined, once with every prompt's weight held to the mean weight, with a margin
    against luck, and once with the weights themselves, whose error is larger: there the tail must be significantly
    heavy. Elsewhere the mean-excess ratio decides.

    Args:
        scores: (P, M), NaN = no such sample.
        share: (P,) weight of each prompt.
    """
    held = np.minimum(share, share.mean())
    (ratio, error), (own, own_error) = (upper_kurtosis(scores, weight) for weight in (held, share))
    if ratio + MARGIN * error > HEAVY_KURTOSIS:
        return (
            f"heavy upper tail (kurtosis {ratio:.2f} ± {error:.2f} relative to a Gaussian's, needs at most "
            f"{HEAVY_KURTOSIS} with {MARGIN:g} standard error): intervals are too short"
        )
    if own - MARGIN * own_error > HEAVY_KURTOSIS:
        return (
            f"heavy upper tail of the prompts that carry the estimate (kurtosis {own:.2f} ± {own_error:.2f} relative "
            f"to a Gaussian's, needs at most {HEAVY_KURTOSIS}): intervals are too short"
        )
    excess = tail_ratio(scores)
    if excess - TAIL_ERROR / np.sqrt(max(sample_counts(scores).sum() / 16, 1.0)) > HEAVY_TAIL:
        return f"heavy upper tail (mean-excess ratio {excess:.3f}, needs at most {HEAVY_TAIL}): intervals are too short"
    return ""


def constant_quarters(scores: ArrayLike, share: Array | None = None) -> float:
    """Share of random quarters of the samples that are constant although their prompt is not, from the ties.

    Such a quarter shows no gain at any KL, so it does not show how the bias falls with more samples. A quarter has
    the same score throughout with probability C(c, q) / C(m, q), where c of the m samples have that score.

    Args:
        scores: (P, M), NaN = no such sample.
        share: (P,) weight of each prompt, 0 where it is constant (default: its standard deviation).

    Example:
        >>> constant_quarters(np.repeat([[0.0] * 7 + [1.0]], 3, axis=0))  # 2 of 8 samples: C(7, 2) / C(8, 2)
        0.75
    """
    array = check_scores(scores)
    counts = sample_counts(array)
    share = np.nanstd(array, axis=1) if share is None else share
    if not share.sum() > 0:
        return 0.0
    gammaln, quarter = scipy.special.gammaln, counts // 4
    chance = np.zeros(len(array))
    for end in (np.nanmin(array, axis=1), np.nanmax(array, axis=1)):
        tied = np.sum(array == end[:, None], axis=1)
        other = np.maximum(tied - quarter, 0)
        ways = gammaln(tied + 1) - gammaln(other + 1) + gammaln(counts - quarter + 1) - gammaln(counts + 1)
        chance += np.where(tied >= quarter, np.exp(ways), 0.0)
    return float(round((np.minimum(chance, 1.0) * share).sum() / share.sum(), 12))
