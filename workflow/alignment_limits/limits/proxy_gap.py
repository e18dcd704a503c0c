"""The cost of optimising a wrong reward: a proxy r^ = r + delta in place of the gold reward r.

Loss in the regularised objective J(pi) = E r - beta KL(pi || pi_0), with pi^_beta the proxy's tilt:

    J(pi_beta) - J(pi^_beta) = beta KL(pi^_beta || pi_beta)      exactly, in sample too,
                            <= eps^2 / (2 beta)                   eps = half the range of delta within a
                            prompt, ~= Var_{pi_beta}(delta) / (2 beta)    for small delta.

Only the error centred within each prompt matters. Both rewards must be on one scale (`ensembles.scales.standardise`).
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from alignment_limits.ensembles.scores import (
    Array,
    Columns,
    Flags,
    Words,
    centre,
    check_evaluated,
    check_scores,
    sample_counts,
    unit_of,
    within_prompt_sd,
)
from alignment_limits.limits.bootstrap import PromptBootstrap, interval_at_beta
from alignment_limits.limits.correction import extrapolate_at_beta, left_at_beta, sum_of_splits, together
from alignment_limits.limits.curve import CorrectedCurve
from alignment_limits.limits.reliability import judge
from alignment_limits.limits.tilt import block_weights, by_level, check_betas, moments_of


@dataclass(frozen=True, repr=False)
class ProxyGapTable(Columns):
    """One row for each temperature, equal 1-D arrays; rewards in their units, KL in nats, means over prompts.

    Attributes:
        beta: temperature.
        error_variance: pooled within-prompt variance of the error under the base.
        gap: regularised objective of gold's tilt minus that of the proxy's, corrected for finite samples.
        gap_plugin: the same without correction.
        gap_bound: mean ε²/(2β), ε half of the range of the error over the samples.
        gap_variance: mean variance of the error under the tilt, over 2β.
        kl: of the proxy's tilt.
        gold_gain: of gold under it.
        ideal_gain: the limit of gold at the same KL. Do not compare at fixed β: a noisy proxy has less KL there.
        ideal_gain_at_beta: of gold under its own tilt at this β.
        reliable, reason: the verdict, and why not.

    Intervals are `*_low` and `*_high`.
    """

    shown = ("beta", "gap")

    beta: Array
    error_variance: Array
    gap: Array
    gap_low: Array
    gap_high: Array
    gap_plugin: Array
    gap_bound: Array
    gap_variance: Array
    kl: Array
    gold_gain: Array
    gold_gain_low: Array
    gold_gain_high: Array
    ideal_gain: Array
    ideal_gain_at_beta: Array
    reliable: Flags
    reason: Words


@dataclass(frozen=True)
class GapContributions:
    """Contributions of each prompt (P, L), corrected except `plugin` and `variance`.

    Attributes:
        gap, plugin: the regularised gap, corrected and not.
        variance: of the proxy's error under gold's tilt, over 2β.
        kl, gold_gain: KL of the proxy's tilt, and its gain in gold.
        ideal_gain_at_beta: gain of gold's own tilt.
        ess, ess_gold: effective samples under the two tilts.
        share, share_gold: (P,), each prompt's share of the KL of the proxy's and of gold's tilt.
        left_gap, left_gold: possible remaining bias of `gap` and `gold_gain` (`correction.left_at_beta`).
    """

    gap: Array
    plugin: Array
    variance: Array
    kl: Array
    gold_gain: Array
    ideal_gain_at_beta: Array
    ess: Array
    ess_gold: Array
    share: Array
    share_gold: Array
    left_gap: Array
    left_gold: Array


def gap_contributions(proxy: Array, gold: Array, beta: Array, curve: CorrectedCurve) -> GapContributions:
    """Regularised gap of each prompt at each beta, from checked (P, M) scores and the proxy's curve with gold.

    Prompts with too few samples are excluded (`CorrectedCurve.every`).
    """
    if not curve.enough.all():
        proxy, gold = proxy[curve.enough], gold[curve.enough]
    error = proxy - gold
    square = centre(error) ** 2
    variance = np.nanmean(square, axis=1)[:, None, None]
    total: list[Array] = []
    # The proxy's tilt carries gold; the gold's tilt carries the error and its square.
    both = together(curve.splits), together(curve.deal.quarters(gold, [error, square]))
    for (count, ours), (_, theirs) in zip(*both, strict=True):
        weights = block_weights(ours.sizes)
        p, g = moments_of(ours, 1.0 / beta), moments_of(theirs, 1.0 / beta)
        carried = curve.columns[1]  # 0 where the proxy is gold itself
        gold_mean = p.gain[:, :, carried - 1] if carried else p.reward
        gap = beta[None, :, None] * (g.log_mean_exp + p.kl) - gold_mean
        last = slice(-len(gold), None)
        spread = (g.gain[:, :, 1] - g.gain[:, :, 0] ** 2)[last] + variance
        ess, ess_gold = p.ess[last], g.ess[last]
        layers = [sum_of_splits(by_level(a, weights), count) for a in (gap, p.kl, gold_mean, g.reward)]
        total = layers if not total else [a + b for a, b in zip(total, layers, strict=True)]
    mean = np.stack([a / len(curve.splits) for a in total])  # (4, P, L, 3)
    levels = np.moveaxis(mean, (3, 0), (0, 3))  # (3, P, L, 4)
    gap, kl, gold_gain, ideal = np.moveaxis(curve.every(extrapolate_at_beta(levels)), -1, 0)
    left = curve.every(left_at_beta(levels[..., [0, 2]], np.minimum(ess, ess_gold), sample_counts(gold)))
    return GapContributions(
        gap=gap,
        plugin=curve.every(mean[0][..., 0]),
        variance=curve.every(np.maximum(spread[..., 0], 0.0) / (2.0 * beta)),
        kl=kl,
        gold_gain=gold_gain,
        ideal_gain_at_beta=ideal,
        ess=curve.padded(ess, np.nan),
        ess_gold=curve.padded(ess_gold, np.nan),
        share=curve.padded(np.nanvar(proxy, axis=1), 0.0),
        share_gold=curve.padded(np.nanvar(gold, axis=1), 0.0),
        left_gap=left[..., 0],
        left_gold=left[..., 1],
    )


def judge_gaps(proxy: Array, gold: Array, beta: Array, parts: GapContributions, boot: PromptBootstrap) -> np.ndarray:
    """Why the gap of `proxy` (P, M) at each beta is not reliable, (L,) texts; "" if it is.

    The samples must show both tilts. Intervals include the remaining bias (`GapContributions.left_gap`, `left_gold`).
    """
    judged = partial(judge, clusters=boot.clusters, widened=True)
    ours = judged(proxy, 1.0 / beta, parts.ess, share=parts.share, at_beta=parts.kl.mean(axis=0))
    theirs = judged(gold, 1.0 / beta, parts.ess_gold, share=parts.share_gold, at_beta=np.zeros(len(beta)))
    return np.array([a or (b and f"gold: {b}") for a, b in zip(ours.reason, theirs.reason, strict=True)], dtype=object)


def proxy_gap(
    optimized: ArrayLike,
    gold: ArrayLike,
    *,
    betas: ArrayLike,
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    keys: np.ndarray | None = None,
    clusters: ArrayLike | None = None,
) -> ProxyGapTable:
    """The cost of tilting by `optimized` instead of `gold`, at each temperature.

    Args:
        optimized, gold: scores (prompts, samples) on one scale; NaN marks a missing sample.
        betas: positive temperatures.
        replicates, seed, level, keys, clusters: as for `frontier`.

    Returns:
        One row for each temperature.

    Raises:
        EstimateError: scores or temperatures that cannot be used.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> gold = rng.normal(size=(200, 64))
        >>> proxy_gap(gold + 0.5 * rng.normal(size=gold.shape), gold, betas=[2.0])
        ProxyGapTable: 1 row, 1 reliable
          beta 2 to 2, gap 0.0616 to 0.0616

    References:
        "Theoretical Limits of Language Model Alignment", arXiv 2605.07105; docs/theory.md, "A proxy in place of gold".
    """
    proxy = check_scores(optimized, "optimized")
    truth = check_evaluated(proxy, {"gold": gold})["gold"]
    unit = max(unit_of(proxy), unit_of(truth))
    proxy, truth, beta = proxy / unit, truth / unit, check_betas(betas) / unit
    boot = PromptBootstrap(len(proxy), replicates=replicates, seed=seed, level=level, keys=keys, clusters=clusters)
    parts = gap_contributions(proxy, truth, beta, CorrectedCurve(proxy, [truth], seed=seed, keys=keys))
    error = proxy - truth
    half_range = (np.nanmax(error, axis=1) - np.nanmin(error, axis=1)) / 2.0
    kl = parts.kl.mean(axis=0)
    ideal = CorrectedCurve(truth, seed=seed, keys=keys).at(np.maximum(kl, 0.0))
    gap_low, gap_high = interval_at_beta(boot, parts.gap, parts.left_gap)
    gold_low, gold_high = interval_at_beta(boot, parts.gold_gain, parts.left_gold)
    reason = judge_gaps(proxy, truth, beta, parts, boot)
    with np.errstate(over="ignore", under="ignore"):  # a variance of scores of 1e200 is infinite
        variance = (unit * within_prompt_sd(error)) ** 2
    return ProxyGapTable(
        beta=unit * beta,
        error_variance=np.full(len(beta), variance),
        gap=unit * parts.gap.mean(axis=0),
        gap_low=unit * gap_low,
        gap_high=unit * gap_high,
        gap_plugin=unit * parts.plugin.mean(axis=0),
        gap_bound=unit * np.mean(half_range**2) / (2.0 * beta),
        gap_variance=unit * parts.variance.mean(axis=0),
        kl=kl,
        gold_gain=unit * parts.gold_gain.mean(axis=0),
        gold_gain_low=unit * gold_low,
        gold_gain_high=unit * gold_high,
        ideal_gain=unit * ideal.values[..., 0].mean(axis=0),
        ideal_gain_at_beta=unit * parts.ideal_gain_at_beta.mean(axis=0),
        reliable=reason == "",
        reason=reason,
    )
