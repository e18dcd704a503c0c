"""What a noisy gold reward hides: repeated judgements of the same replies.

A judgement is the noise-free reward of a reply plus noise. Whoever selects by a judgement also selects its noise, so
the same judgement shows too large a gain. Another judgement of the same reply has other noise and shows the right one.

- Noise. Within a prompt, the covariance of two judgements is the variance of the noise-free reward; what a judgement
  varies more is noise. Reliability is the share of the first (Spearman and Brown's for a mean of k judgements).
- Gains. Select by k judgements and evaluate by one that did not select: unbiased for the noise-free gain.
- The limit. The judgements' own limit is too high: noise is something to choose from, too. The gain of a tilt by some
  judgements in another one is a gain of a policy, so no larger than the noise-free limit. Between these bounds: noise
  falls as 1/k in a mean of k judgements, and the square of a Gaussian limit is linear in the variance, so

      limit^2 = (J limit_J^2 - limit_1^2) / (J - 1).

  This is exact for Gaussian rewards, while the noise is the same for good replies and bad ones. For others, cumulants
  say how far it is off: with s = √(2 KL) a law of variance V and cumulants k3 and k4 has

      limit^2 = s^2 [V + k3 s / (3 √V) + (k4 / V - k3^2 / V^2) s^2 / 12 + ...],

  and Gaussian noise changes V alone. So the last terms at the three variances give the error of the formula, which is
  taken off; k3 and k4 of the noise-free reward are means of products of different judgements, in which noise has mean
  0. Half of what is taken off is added to the interval, for the terms that follow. Another correction is exact for
  Gaussian rewards, too: limit_J times the root of the reliability of the mean. Its distance is also added. If the
  noise differs by more than a quarter between the tilt and the base, only the bounds are reliable.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from alignment_limits.ensembles.scores import (
    Array,
    Columns,
    Counts,
    Flags,
    Words,
    centre,
    check_scores,
    sample_counts,
    unit_of,
)
from alignment_limits.errors import EstimateError
from alignment_limits.limits.best_of_n import check_ns, corrected_kl
from alignment_limits.limits.bootstrap import PromptBootstrap, limit_interval, no_shorter_than_students
from alignment_limits.limits.brackets import lower_ends
from alignment_limits.limits.correction import remaining
from alignment_limits.limits.curve import CorrectedCurve, CurvePoints, judge_points
from alignment_limits.limits.means import Mean, interval, judge_means, mean_of, together
from alignment_limits.limits.ranks import best_of_n_means

SAME_NOISE = 1.25  # largest ratio of the noise of the tilt's replies to that of the base's, or the inverse
NO_LIMIT = "not at a KL"
IN_UNITS = (
    *("seen", "gain", "gain_low", "gain_high", "inflation", "inflation_low", "inflation_high"),
    *("limit", "limit_low", "limit_high", "at_least", "at_most", "noise"),
)


@dataclass(frozen=True, repr=False)
class LabelNoiseTable(Columns):
    """One row for each n of best-of-n, then one for each KL of the limit; in units of the judgements.

    Attributes:
        at: "best-of-n" or "kl": which of n and kl was given.
        n: draws of best-of-n, missing at a KL.
        kl: nats; of best-of-n a mean over prompts.
        judgements: how many judgements J every reply has.
        selecting: how many of them, as a mean, select or tilt: J − 1, the last one evaluates.
        seen: gain that the selecting judgements show of their own choice.
        gain: gain that the others show: the noise-free one.
        inflation: seen − gain.
        limit: at a KL, the limit of the noise-free reward.
        at_least, at_most: bounds of that limit, of 95 % each: the gain of the tilt, and the limit of the mean of all
            judgements.
        reliability: share of the variance within prompts that is not noise, of one judgement.
        noise: standard deviation of the noise of one judgement.
        noise_ratio: variance of the noise under the tilt over that of the base's replies.
        reliable, reason: the verdict on gain and inflation, and why they are not reliable ("" if they are).
        limit_reliable, limit_reason: the same of the limit.

    Intervals are `*_low` and `*_high`.
    """

    shown = ("reliability", "inflation")

    at: Words
    n: Counts
    kl: Array
    judgements: Counts
    selecting: Counts
    seen: Array
    gain: Array
    gain_low: Array
    gain_high: Array
    inflation: Array
    inflation_low: Array
    inflation_high: Array
    limit: Array
    limit_low: Array
    limit_high: Array
    at_least: Array
    at_most: Array
    reliability: Array
    reliability_low: Array
    reliability_high: Array
    noise: Array
    noise_ratio: Array
    reliable: Flags
    reason: Words
    limit_reliable: Flags
    limit_reason: Words


def label_noise(
    judgements: Mapping[str, ArrayLike] | Sequence[ArrayLike],
    *,
    ns: ArrayLike = (2, 4, 8, 16),
    kls: ArrayLike = (0.1, 0.25, 0.5, 1.0, 1.5),
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    keys: np.ndarray | None = None,
    clusters: ArrayLike | None = None,
) -> LabelNoiseTable:
    """How reliable a judgement is, and what best-of-n and the limit are without its noise.

    Args:
        judgements: two or more judgements of the same replies, each (prompts, samples), in the same units. NaN marks
            a missing judgement; only replies with all of them are used.
        ns: draws of best-of-n; larger ones than any prompt has replies are left out.
        kls: budgets in nats, means over prompts.
        replicates, seed, level, keys, clusters: as for `frontier`.

    Returns:
        One row for each n, then one for each KL.

    Raises:
        EstimateError: fewer than two judgements, judgements of other replies, or no reply with all of them.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> reward = rng.normal(size=(400, 64))
        >>> table = label_noise([reward + rng.normal(size=reward.shape) for _ in range(2)], ns=[4], kls=[0.5])
        >>> table.reliability.round(1)
        array([0.5, 0.5])
        >>> table.gain[0].round(2), table.seen[0].round(2)  # without noise 1.03 √0.5 = 0.73, with it 1.03 √2
        (np.float64(0.72), np.float64(1.45))
        >>> table.limit[1].round(2)  # without noise it is 1
        np.float64(0.98)

    References:
        docs/tradeoffs.md, "A noisy gold reward".
    """
    arrays = _complete(judgements)
    unit = max(unit_of(array) for array in arrays)
    arrays = [array / unit for array in arrays]
    n = check_ns([each for each in np.atleast_1d(ns) if each <= sample_counts(arrays[0]).max()], arrays[0])
    kappa = np.atleast_1d(np.asarray(kls, dtype=np.float64))
    boot = PromptBootstrap(len(arrays[0]), replicates=replicates, seed=seed, level=level, keys=keys, clusters=clusters)
    known = _reliability(arrays, boot)
    share = float(np.clip(np.nan_to_num(known["reliability"]), 0.0, 1.0))
    parts = [_best_of_n(arrays, n, boot, seed, keys), _limits(arrays, kappa, boot, seed, keys, share)]
    rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    count = len(n) + len(kappa)
    rows |= {name: np.full(count, value) for name, value in known.items()}
    rows["at"] = np.array(["best-of-n"] * len(n) + ["kl"] * len(kappa), dtype=object)
    rows |= {"judgements": np.full(count, len(arrays)), "selecting": np.full(count, max(len(arrays) - 1, 1))}
    none = np.full(count, "", dtype=object)
    if not known["reliability"] > 0:
        constant = np.isnan(known["reliability"])
        none[:] = "the judgements do not differ within any prompt" if constant else "all differences are noise"
    for name in ("reason", "limit_reason"):
        rows[name] = together(none, rows[name])
        rows[name.replace("reason", "reliable")] = rows[name] == ""
    return LabelNoiseTable(**rows | {name: rows[name] * unit for name in IN_UNITS})


def _complete(judgements: Mapping[str, ArrayLike] | Sequence[ArrayLike]) -> list[Array]:
    """The judgements as checked arrays, NaN where a reply lacks one; a prompt without any reply is an error."""
    named = (
        judgements if isinstance(judgements, Mapping) else {f"judgement {k + 1}": a for k, a in enumerate(judgements)}
    )
    if len(named) < 2:
        raise EstimateError(f"Label noise needs two judgements of the same replies or more; got {len(named)}.")
    arrays = {name: check_scores(scores, name) for name, scores in named.items()}
    first, shape = next((name, array.shape) for name, array in arrays.items())
    for name, array in arrays.items():
        if array.shape != shape:
            raise EstimateError(
                f"Judgements '{name}' have shape {array.shape}, '{first}' has {shape}; join them by key."
            )
    present: np.ndarray = ~np.any(np.isnan(np.stack(list(arrays.values()))), axis=0)
    some: np.ndarray = np.any(present, axis=1)
    if not some.all():
        row = int(np.argmin(some))
        named_so = ", ".join(arrays)
        raise EstimateError(f"Row {row} has no reply with all judgements ({named_so}); leave such prompts out.")
    return [np.where(present, array, np.nan) for array in arrays.values()]


def _others(arrays: Sequence[Array], left_out: int) -> Array:
    """The mean of all judgements but one."""
    return np.asarray(np.mean([a for k, a in enumerate(arrays) if k != left_out], axis=0))


def _reliability(arrays: Sequence[Array], boot: PromptBootstrap) -> dict[str, float]:
    """Reliability of one judgement with its interval, and the standard deviation of its noise."""
    away = np.stack([np.nan_to_num(centre(array)) for array in arrays])
    every = np.sum(away.sum(axis=0) ** 2, axis=1)
    own = np.sum(away**2, axis=(0, 2))
    count = len(arrays)
    signal, total = (every - own) / (count * (count - 1)), own / count  # sums over a prompt's replies
    low, high = boot.ratio(signal[:, None], total[:, None])
    freedom = np.maximum(sample_counts(arrays[0]) - 1, 0).sum()
    share = signal.sum() / total.sum() if total.sum() > 0 else np.nan
    noise = np.sqrt(max(float((total - signal).sum()), 0.0) / max(int(freedom), 1))
    return {
        "reliability": float(share), "reliability_low": float(low[0]), "reliability_high": float(min(high[0], 1.0)),
        "noise": float(noise),
    }  # fmt: skip


def _best_of_n(
    arrays: Sequence[Array], n: np.ndarray, boot: PromptBootstrap, seed: int, keys: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Best-of-n by all judgements but one; a mean over which one is left to evaluate."""
    seen, gain = [], []
    for k, judge in enumerate(arrays):
        chosen = _others(arrays, k)
        seen.append(best_of_n_means(chosen, centre(chosen), n))
        gain.append(best_of_n_means(chosen, centre(judge), n))
    own, other = (np.where(n == 1, 0.0, np.mean(each, axis=0)) for each in (seen, gain))
    mean = np.asarray(np.mean(arrays, axis=0))
    rows = np.sum(~np.isnan(mean), axis=1)[:, None] >= n
    kl = np.where(rows, corrected_kl(_others(arrays, 0), n, seed=seed, keys=keys)[0], np.nan)
    out = _means(own, other, mean, n.astype(np.float64), boot)
    nothing = np.full(len(n), np.nan)
    out |= dict.fromkeys(("limit", "limit_low", "limit_high", "at_least", "at_most", "noise_ratio"), nothing)
    no_limit = np.full(len(n), NO_LIMIT, dtype=object)
    return out | {"n": n.astype(np.float64), "kl": mean_of(kl), "limit_reason": no_limit}


def _means(own: Array, other: Array, scored: Array, ratio: Array, boot: PromptBootstrap) -> dict[str, np.ndarray]:
    """Columns of contributions (P, K) to the gain seen, and to the noise-free one."""
    more = own - other
    low, high = no_shorter_than_students(boot, other, *interval(boot, other))
    less, most = no_shorter_than_students(boot, more, *interval(boot, more))
    of_gain = Mean("gain", other, np.zeros_like(other), high - low)
    return {
        "seen": mean_of(own), "gain": mean_of(other), "gain_low": low, "gain_high": high,
        "inflation": mean_of(more), "inflation_low": less, "inflation_high": most,
        "reason": judge_means(of_gain, scored, ratio, np.ones(len(ratio), dtype=bool), boot, own=False),
    }  # fmt: skip


def _limits(
    arrays: Sequence[Array],
    kappa: Array,
    boot: PromptBootstrap,
    seed: int,
    keys: np.ndarray | None,
    reliability: float,
) -> dict[str, np.ndarray]:
    """The limit at KLs (K,): of one judgement, of their mean, and without noise."""
    count = len(arrays)
    single, tilted = [], []
    for k, judge in enumerate(arrays):
        single.append(CorrectedCurve(judge, seed=seed, keys=keys).at(kappa) if count > 2 else None)
        tilted.append(CorrectedCurve(_others(arrays, k), [judge], seed=seed, keys=keys).at(kappa))
    ones: list[CurvePoints] = [a if a is not None else b for a, b in zip(single, tilted, strict=True)]
    mean = np.asarray(np.mean(arrays, axis=0))
    spread = np.asarray(np.var(np.stack(arrays), axis=0, ddof=1))  # of the noise of one judgement
    whole = CorrectedCurve(mean, [spread], seed=seed, keys=keys).at(kappa)
    first, every = np.mean([p.values[..., 0] for p in ones], axis=0), whole.values[..., 0]
    own, other = (np.mean([p.values[..., v] for p in tilted], axis=0) for v in (0, 1))
    one, all_of = first.mean(axis=0), every.mean(axis=0)
    square = (count * all_of**2 - one**2) / (count - 1)
    off, carried = _formulas_error(arrays, kappa, reliability)
    off = np.clip(off, -square / 2, square / 2)
    limit = np.sqrt(np.maximum(square - off, 0.0))
    safe = np.where(limit > 0, limit, np.nan)
    influence = (count * all_of * (every - all_of) - one * (first - one)) / ((count - 1) * safe) - carried / (2 * safe)
    biases = [remaining(p.levels, p.correction.factor, _size(p))[:, 0] for p in (ones[0], whole)]
    left = np.nan_to_num(np.abs(count * all_of * biases[1] - one * biases[0]) / ((count - 1) * safe))
    other_way = all_of * np.sqrt(count * reliability / (1 + (count - 1) * reliability))
    left = np.hypot(np.hypot(left, np.sqrt(np.maximum(square, 0.0)) - other_way), np.nan_to_num(off / (4 * safe)))
    low, high = limit_interval(boot, limit + influence, left)
    out = _means(own, other, mean, np.exp(kappa), boot)
    least = lower_ends(boot, out["gain"], out["gain_low"])
    _, most = limit_interval(boot, every, biases[1])
    base_noise = np.nanmean(spread)
    ratio = 1 + whole.values[..., 1].mean(axis=0) / base_noise if base_noise > 0 else np.ones(len(kappa))
    ends = {"limit": np.maximum(limit, out["gain"]), "limit_low": np.minimum(low, limit), "limit_high": high}
    judged = judge_points(mean, whole, clusters=boot.clusters, widened=True).reason
    out["reason"] = together(judged, out["reason"])
    reliable = together(judged, _noise_differs(ratio))
    return out | ends | {
        "n": np.full(len(kappa), np.nan), "kl": kappa, "at_least": least, "at_most": most, "noise_ratio": ratio,
        "limit_reason": reliable,
    }  # fmt: skip


def _formulas_error(arrays: Sequence[Array], kappa: Array, reliability: float) -> tuple[Array, Array]:
    """What skewness and kurtosis add to the formula for limit^2 at KLs (K,), and contributions (P, K) to it."""
    third, fourth = _cumulants(arrays)
    count, total = len(arrays), float(np.mean([np.nanvar(centre(array)) for array in arrays]))
    signal = reliability * total
    s, zeros = np.sqrt(2 * kappa), np.zeros((len(third), len(kappa)))
    if signal <= 0:
        return np.zeros(len(kappa)), zeros
    share = {1: -1 / (count - 1), count: count / (count - 1)}
    v = np.array([signal, *(signal + (total - signal) / judged for judged in share)])
    sign = np.array([-1.0, *share.values()])
    a, b, c = float(sign @ v**-0.5), float(sign @ v**-1.0), float(sign @ v**-2.0)
    k3, k4 = third.mean(), fourth.mean()
    off = s**3 * (k3 * a / 3 + (k4 * b - k3**2 * c) * s / 12)
    each = s**3 * ((third - k3)[:, None] * (a / 3 - k3 * c * s / 6) + (fourth - k4)[:, None] * b * s / 12)
    return off, each


def _cumulants(arrays: Sequence[Array]) -> tuple[Array, Array]:
    """Unbiased third and fourth cumulants (P,) of the noise-free reward within prompts; the mean for a prompt with
    fewer than 4 replies.

    Kaplan (1952): k-statistics of a, a, b and a, a, a, b for two judgements a and b of a reply.
    """
    n = sample_counts(arrays[0]).astype(np.float64)
    away = [np.nan_to_num(centre(array)) for array in arrays]
    enough = n > 3
    if not enough.any():
        return np.zeros(len(n)), np.zeros(len(n))
    thirds, fourths = [], []
    safe = np.where(enough, n, 4.0)
    below = (safe - 1) * (safe - 2)
    for i, a in enumerate(away):
        for j, b in enumerate(away):
            if i == j:
                continue
            square, cross = np.sum(a * a, axis=1), np.sum(a * b, axis=1)
            thirds.append(safe * np.sum(a * a * b, axis=1) / below)
            both = safe * (safe + 1) * np.sum(a**3 * b, axis=1) - 3 * (safe - 1) * square * cross
            fourths.append(both / (below * (safe - 3)))
    third, fourth = (np.mean(each, axis=0) for each in (thirds, fourths))
    return tuple(np.where(enough, each, each[enough].mean()) for each in (third, fourth))  # type: ignore[return-value]


def _size(points: CurvePoints) -> Array:
    """Median effective sample size of each point (K,)."""
    return np.asarray(np.nanmedian(points.ess, axis=0))


def _noise_differs(ratio: Array) -> np.ndarray:
    text = "the tilt's replies have {:.2f} times the noise of the base's (needs {:.2f} to {:.2f}): read the bounds"
    same = (ratio <= SAME_NOISE) & (ratio >= 1 / SAME_NOISE)
    shown = [text.format(each, 1 / SAME_NOISE, SAME_NOISE) for each in ratio]
    return np.where(same, "", np.array(shown, dtype=object)).astype(object)
