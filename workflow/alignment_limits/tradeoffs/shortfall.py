"""What of best-of-n's shortfall from the limit is "not the tilt", and what is "the same n for all prompts".

Best-of-n spends the same KL on every prompt, up to ties. Three gains, in rising order:

    best-of-n  <=  the tilt at each prompt's own KL of best-of-n  <=  the limit at the mean KL.

The first step is what best-of-n loses because it is not the tilt (0 where its law is the tilt, as for 0/1 rewards). The
second is what every method loses that spends the same KL on all prompts, although some of them gain more from it. The
steps add up to the shortfall.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from alignment_limits.ensembles.scores import Array, Columns, Counts, Flags, Words, centre, check_scores
from alignment_limits.limits.best_of_n import check_ns, corrected_kl
from alignment_limits.limits.bootstrap import PromptBootstrap
from alignment_limits.limits.means import (
    Mean,
    Part,
    interval_of_limit,
    judge_kl,
    judge_limits,
    judge_means,
    judge_shares,
    limits_of,
    mean_of,
    read_curves,
    together,
    too_few_for_limit,
)
from alignment_limits.limits.ranks import best_of_n_means

TWO_VALUES = "a reward with two values: best-of-n is the tilt on each prompt, so the first part is 0"


@dataclass(frozen=True, repr=False)
class ShortfallTable(Columns):
    """One row for each n, in units of the reward.

    Attributes:
        n: draws.
        prompts: number of prompts with n samples or more; all columns are means over them.
        kl: of best-of-n, nats.
        gain: of best-of-n.
        limit_per_prompt: of the tilt, if each prompt has the KL that best-of-n has there.
        limit: of the tilt, if the mean KL is that of best-of-n.
        not_tilt: limit_per_prompt − gain.
        same_n: limit − limit_per_prompt.
        reliable, reason: the verdict on the row, and why not ("" if reliable).

    Intervals are `*_low` and `*_high`.
    """

    shown = ("n", "not_tilt", "same_n")

    n: Counts
    prompts: Counts
    kl: Array
    gain: Array
    limit_per_prompt: Array
    limit: Array
    not_tilt: Array
    not_tilt_low: Array
    not_tilt_high: Array
    same_n: Array
    same_n_low: Array
    same_n_high: Array
    reliable: Flags
    reason: Words


def shortfall(
    optimized: ArrayLike,
    *,
    ns: ArrayLike,
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    keys: np.ndarray | None = None,
    clusters: ArrayLike | None = None,
) -> ShortfallTable:
    """Split the distance of best-of-n from the limit at its KL into two parts that add up to it.

    Args:
        optimized: scores (prompts, samples) that select and are evaluated; NaN marks a missing sample.
        ns: whole numbers of draws.
        replicates, seed, level, keys, clusters: as for `frontier`; the three gains are resampled together.

    Returns:
        One row for each n. It needs 16 samples for each draw and, if spreads of prompts differ, 64 prompts or more that
        carry the limit.

    Raises:
        EstimateError: scores that cannot be used, or an n that no prompt has.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> spread = rng.lognormal(sigma=0.3, size=(400, 1))
        >>> table = shortfall(spread * rng.normal(size=(400, 64)), ns=[4])
        >>> (table.not_tilt + table.same_n).round(3) == (table.limit - table.gain).round(3)
        array([ True])

    References:
        docs/tradeoffs.md, "What a reward costs"; docs/theory.md, "Two budgets".
    """
    scores = check_scores(optimized, "optimized")
    n = check_ns(ns, scores)
    boot = PromptBootstrap(len(scores), replicates=replicates, seed=seed, level=level, keys=keys, clusters=clusters)
    rows = np.sum(~np.isnan(scores), axis=1)[:, None] >= n
    kl, left = (np.where(rows, each, np.nan) for each in corrected_kl(scores, n, seed=seed, keys=keys))
    gain = np.where(n == 1, np.where(rows, 0.0, np.nan), best_of_n_means(scores, centre(scores), n))
    limits, reasons, bias = {}, [], {}
    off = mean_of(np.abs(left))  # what may remain of the correction of the KL
    for budget in ("per-prompt", "average"):
        read = read_curves(scores, [], kl, budget=budget, seed=seed, keys=keys)
        limits[budget] = limits_of(read, kl, budget)
        reason, remains = judge_limits(read, scores, len(n), boot.clusters)
        bias[budget] = remains + off * _slopes(read, len(n))
        reasons.append(reason)
    if two_valued(scores):
        reasons.append(np.full(len(n), TWO_VALUES, dtype=object))
    # With few prompts of different spreads the second part is too small where the wide ones were not drawn.
    reasons.append(judge_shares(read, scores, len(n), boot.clusters))
    steps = {"not_tilt": limits["per-prompt"] - gain, "same_n": limits["average"] - limits["per-prompt"]}
    doubt = {"not_tilt": bias["per-prompt"], "same_n": np.hypot(bias["average"], bias["per-prompt"])}
    columns: dict[str, Array] = {}
    wrong = []
    ratio, unbiased = n.astype(np.float64), np.ones(len(n), dtype=bool)
    for name, values in steps.items():
        mean = mean_of(values)
        low, high = interval_of_limit(boot, values, doubt[name])
        columns |= {name: mean, f"{name}_low": low, f"{name}_high": high}
        judged = Mean("shortfall", values, np.zeros_like(values), high - low)
        wrong.append(judge_means(judged, scores, ratio, unbiased, boot, own=True))
    of_kl, _ = judge_kl(Mean("KL", kl, left, np.zeros(len(n))), scores, ratio, unbiased, boot)
    few = too_few_for_limit(scores, rows, ratio, ratio)
    reason = np.where(n == 1, "", together(*reasons, of_kl, few, *wrong)).astype(object)
    return ShortfallTable(
        n=n.astype(np.int32), prompts=rows.sum(axis=0).astype(np.int32), kl=mean_of(kl), gain=mean_of(gain),
        limit_per_prompt=mean_of(limits["per-prompt"]), limit=mean_of(limits["average"]),
        reliable=reason == "", reason=reason, **columns,
    )  # fmt: skip


def two_valued(scores: Array) -> bool:
    """Whether no prompt has more than two different scores (P, M).

    Example:
        >>> two_valued(np.array([[0.0, 1.0, 1.0], [5.0, 5.0, np.nan]])), two_valued(np.array([[0.0, 1.0, 2.0]]))
        (True, False)
    """
    steps = np.diff(np.sort(scores, axis=1), axis=1)
    return bool(np.all(np.sum(steps > 0, axis=1) <= 1))


def _slopes(read: Sequence[Part], settings: int) -> Array:
    """Gain for one more nat at each setting (N,)."""
    out = np.zeros(settings)
    for part in read:
        out[part.columns] = part.points.slope[:, 0]
    return out
