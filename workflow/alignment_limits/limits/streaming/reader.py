"""The frontier from partial sums: the estimates of `frontier`, with jackknife intervals over groups of prompts."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from alignment_limits.ensembles.scores import FEWEST_SAMPLES, Array, sample_counts, unit_of
from alignment_limits.errors import EstimateError
from alignment_limits.limits.bootstrap import PromptBootstrap, limit_interval, no_shorter, student_quantile, widened
from alignment_limits.limits.brackets import ERROR, Dual, at_least, bernstein, largest_mean, lower_end, upper_mean
from alignment_limits.limits.correction import (
    LEVELS,
    extrapolate,
    extrapolate_at_beta,
    interpolate,
    left_at_beta,
    remaining,
    slowness,
    solve,
)
from alignment_limits.limits.curve import CorrectedCurve
from alignment_limits.limits.frontier import FrontierTable, verdicts_at_beta, verdicts_at_kl
from alignment_limits.limits.reliability import FEWEST_PROMPTS, Verdict, judge, log_m_ceiling
from alignment_limits.limits.streaming.sums import FrontierSums
from alignment_limits.limits.streaming.terms import value
from alignment_limits.limits.tilt import check_betas, tilt

Columns = dict[str, np.ndarray]
LOWER_ENDS = ("interval:plugin", "interval:net")  # of plug-in values, which are too low already
REPLICATES = 400  # of the specimens
FEW = 2000  # with fewer prompts, 256 groups of them give narrower upper bounds than the prompts themselves


def read_frontier(
    sums: FrontierSums, kls: ArrayLike = (), *, betas: ArrayLike = (), level: float = 0.95
) -> dict[str, FrontierTable]:
    """The frontier at budgets (average convention) and at betas of the grid.

    Estimates equal those of `frontier` with one split: at betas up to rounding, at KLs up to interpolation between
    nodes (1e-6, tested). Intervals leave out one of 256 groups of prompts at a time and repeat the estimate, with
    Student's t (delete-a-group jackknife with unequal groups). The verdict is the same as in `frontier`. It uses all
    prompts for budgets, ratio and interval widths, and the specimens for ESS, Pareto k, ties and tails.

    Args:
        sums: of all shards.
        kls: budgets in nats.
        betas: of the sums' grid.
        level: of the intervals.

    Returns:
        One table for each reward of the sums. Rows that the grid does not reach are NaN and not reliable.

    Raises:
        EstimateError: nothing to estimate, or sums of no prompts.

    Example:
        >>> from alignment_limits.limits.streaming import octaves, sum_shard
        >>> sums = sum_shard(np.random.default_rng(0).normal(size=(200, 64)), betas=octaves(low=-1, high=2, steps=4))
        >>> read_frontier(sums, kls=[0.5])["optimized"].gain.round(2)
        array([0.99])

    References:
        Busing et al. (1999); docs/theory.md, "Intervals and reliability"; docs/streaming.md.
    """
    beta = check_betas(betas) if np.size(betas) else np.empty(0)
    kappa = np.atleast_1d(np.asarray(kls, dtype=np.float64))
    if not np.all(np.isfinite(kappa) & (kappa >= 0)):
        raise EstimateError(f"KL budgets must be finite and at least 0 nats; got {kls!r}.")
    if not beta.size + kappa.size:
        raise EstimateError("Nothing to estimate: give kls or betas.")
    if not sums.prompts.sum():
        none = (
            f"none of {sums.left_out} prompts has {FEWEST_SAMPLES} samples" if sums.left_out else "there are no prompts"
        )
        raise EstimateError(f"These sums are empty: {none}.")
    parts = []
    if beta.size:
        parts.append(_rows_at_beta(sums, beta, level))
    if kappa.size:
        parts.append(_rows_at_kl(sums, kappa, level))
    return {
        name: FrontierTable(**{k: np.concatenate([_of(p[k], v) for p in parts]) for k in parts[0]}, own=v == 0)
        for v, name in enumerate(sums.names)
    }


def _of(column: np.ndarray, index: int) -> np.ndarray:
    return column[:, index] if column.ndim == 2 else column


class _Means:
    """Means over prompts: kl (L, 3), gains and slopes (L, V, 3)."""

    def __init__(self, inverse: Array, total: Array, prompts: float) -> None:
        mean = total / prompts
        pairs = mean[:, 3:].reshape(len(mean), -1, 2, LEVELS)
        self.inverse, self.kl, self.gains, self.slopes = inverse, mean[:, :LEVELS], pairs[:, :, 0], pairs[:, :, 1]


def _jackknife(
    sums: FrontierSums, estimate: Callable[[_Means], Columns], level: float
) -> tuple[Columns, dict[str, tuple[Array, Array]]]:
    """Estimates from all prompts, and intervals of those named "interval:name"."""
    totals, counts = sums.totals, sums.prompts
    everything, n = sums.total, counts.sum()
    whole = estimate(_Means(sums.inverse, everything, n))
    wanted = [name for name in whole if name.startswith("interval:")]
    full = [g for g in range(len(counts)) if 0 < counts[g] < n]
    left = [estimate(_Means(sums.inverse, everything - totals[g], n - counts[g])) for g in full]
    intervals = {}
    for name in wanted:
        value = whole[name]
        if not full:
            intervals[name.removeprefix("interval:")] = np.full_like(value, np.nan), np.full_like(value, np.nan)
            continue
        without = np.stack([part[name] for part in left])
        h = (n / counts[full]).reshape(-1, *[1] * value.ndim)
        centre = len(full) * value - np.sum((1 - 1 / h) * without, axis=0)
        error = np.sqrt(np.mean((h * value - (h - 1) * without - centre) ** 2 / (h - 1), axis=0))
        width = student_quantile(level, len(full) - 1) * error
        low, high = value - width, value + width
        if name not in LOWER_ENDS:
            moved = (value - without) * (1 - counts[full] / n).reshape(h.shape)  # what each group adds to the estimate
            flat = value.ravel(), low.ravel(), high.ravel(), (moved - moved.mean(axis=0)).reshape(len(full), -1)
            low, high = (end.reshape(value.shape) for end in no_shorter(level, *flat))
        intervals[name.removeprefix("interval:")] = low, high
    return whole, intervals


def _rows_at_kl(sums: FrontierSums, kappa: Array, level: float) -> Columns:
    def estimate(m: _Means) -> Columns:
        rate = m.inverse[:, None] * m.slopes[:, 0]
        at = np.stack(
            [solve(m.inverse, m.kl[:, i], rate[:, i], kappa, start=float(m.slopes[0, 0, i])) for i in range(LEVELS)]
        )
        at[2, np.isnan(at[1])] = np.nan
        # KL(pi_0||pi_beta) has slope E_w r - E r in lambda; so lambda = (KL + reverse) / gain is as precise.
        reverse = m.inverse[:, None] * m.gains[:, 0] - m.kl
        values = np.concatenate([m.gains, reverse[:, None]], axis=1).transpose(1, 2, 0)
        slopes = np.concatenate([m.slopes, m.gains[:, :1]], axis=1).transpose(1, 2, 0)
        read = interpolate(m.kl.T[None], rate.T[None], values[None], slopes[None], kappa[None])[0].transpose(1, 2, 0)
        flat = not m.kl.any()  # constant rewards: nothing to gain at any budget
        read = np.where(np.isnan(at)[..., None] & (not flat), np.nan, read)  # (3, K, V + 1)
        gains, reverse = read[..., :-1], read[..., -1]
        with np.errstate(divide="ignore", invalid="ignore"):
            at = np.where(gains[..., 0] > 0, (kappa + reverse) / gains[..., 0], at)
        values, shared = extrapolate(gains[:, None])
        with np.errstate(divide="ignore", invalid="ignore"):
            beta = np.where((kappa > 0) & (not flat), shared.apply(1.0 / at), np.inf)
        return {
            "interval:gain": values[0],
            "interval:plugin": gains[0][:, 0],
            "plugin": gains[0],
            "at": at,
            "ratio": shared.ratio,
            "beta": beta,
            "reverse": shared.apply(reverse),
            "ends": m.kl[[0, -1], 0],
            "levels": gains,
            "factor": shared.factor,
        }

    e, intervals = _jackknife(sums, estimate, level)
    # With very many prompts an interval becomes narrower than the remaining bias, which is added.
    (gain_low, gain_high), gain = intervals["gain"], e["interval:gain"]
    found = np.isfinite(e["at"])
    reached = np.where(found[0], 1 + found[1] + (found[1] & found[2]), 0)
    lam = e["at"][0]
    verdict = _judge(sums, lam, e["ratio"], reached=reached, widened=True)
    left = remaining(e["levels"], e["factor"], verdict.ess)
    # Sums do not show whether another reward bends. So it gets the bound of rewards at a fixed beta.
    left[:, 1:] = np.maximum(left, _of_others(e["levels"], _slowness(sums, lam)))[:, 1:]
    gain_low, gain_high = widened(gain, gain_low, gain_high, left)
    low, high = e["ends"]
    beyond = (kappa > high) & (kappa < log_m_ceiling(sums.specimens.scores))
    within = (kappa > 0) & (kappa < low)
    reasons = (
        (beyond, f"above the KL of the grid's smallest beta ({high:.2f} nats); sum again with smaller betas"),
        (within, f"below the KL of the grid's largest beta ({low:.3f} nats); sum again with larger betas"),
    )
    for rows, which in reasons:
        verdict.reason[rows] = which
    return {
        "at": np.full(len(kappa), "kl", dtype=object),
        "budget": np.full(len(kappa), "average", dtype=object),
        "beta": e["beta"],
        "kl": kappa,
        "kl_low": kappa,
        "kl_high": kappa,
        "kl_reverse": e["reverse"],
        "gain": gain,
        "gain_low": gain_low,
        "gain_high": gain_high,
        "gain_plugin": e["plugin"],
        "kl_plugin": kappa,
        **_brackets(sums, at_least(kappa, e["plugin"][:, 0], intervals["plugin"][0]), lambda dual: dual.at(kappa)),
    } | verdicts_at_kl(verdict)


def _rows_at_beta(sums: FrontierSums, beta: Array, level: float) -> Columns:
    node = np.abs(sums.inverse[None, :] * beta[:, None] - 1.0)
    place = node.argmin(axis=1)
    off = node.min(axis=1) > 1e-12
    if off.any():
        raise EstimateError(
            f"The sums were not taken at beta {', '.join(f'{b:g}' for b in beta[off])}; sum again with these betas, "
            f"or choose from: {', '.join(f'{1 / i:g}' for i in sums.inverse[::-1])}."
        )

    def estimate(m: _Means) -> Columns:
        kl, gains = m.kl[place], m.gains[place]
        reverse = m.inverse[place, None] * gains[:, 0] - kl
        stacked = np.moveaxis(np.concatenate([gains, kl[:, None], reverse[:, None]], axis=1), -1, 0)  # (3, K, V + 2)
        values = extrapolate_at_beta(stacked)
        return {
            "interval:gain": values[:, :-2],
            "interval:kl": values[:, -2],
            "interval:net": gains[:, 0, 0] - beta * kl[:, 0],
            "reverse": values[:, -1],
            "plugin": gains[..., 0],
            "kl_plugin": kl[:, 0],
            "levels": stacked,
        }

    e, intervals = _jackknife(sums, estimate, level)
    (gain_low, gain_high), (kl_low, kl_high) = intervals["gain"], intervals["kl"]
    own, of_kl = _left_at_beta(sums, 1.0 / beta, level)
    more = _of_others(e["levels"][..., :-2], _slowness(sums, 1.0 / beta))
    gain_low, gain_high = widened(e["interval:gain"], gain_low, gain_high, more)
    gain_low[:, 0], gain_high[:, 0] = intervals["gain"][0][:, 0], intervals["gain"][1][:, 0] + own
    kl_high = kl_high + of_kl
    verdict = _judge(sums, 1.0 / beta, at_beta=e["interval:kl"], widened=True)
    least = lower_end(e["interval:net"], intervals["net"][0])
    return {
        "at": np.full(len(beta), "beta", dtype=object),
        "budget": np.full(len(beta), "average", dtype=object),
        "beta": beta,
        "kl": e["interval:kl"],
        "kl_low": kl_low,
        "kl_high": kl_high,
        "kl_reverse": e["reverse"],
        "gain": e["interval:gain"],
        "gain_low": gain_low,
        "gain_high": gain_high,
        "gain_plugin": e["plugin"],
        "kl_plugin": e["kl_plugin"],
        **_brackets(sums, least, lambda dual: dual.at_beta(beta, least)),
    } | verdicts_at_beta(verdict)


def _brackets(sums: FrontierSums, least: Array, most: Callable[[Dual], Array]) -> Columns:
    """Lower and upper bounds (K, V) from those of the optimized reward; NaN for the others."""
    lower, upper = np.full((2, len(least), len(sums.names)), np.nan)
    if sums.prompts.sum() >= FEWEST_PROMPTS:
        lower[:, 0] = least
    if dual := _dual(sums):
        upper[:, 0] = most(dual)
    return {"at_least": lower, "at_most": upper}


def _dual(sums: FrontierSums) -> Dual | None:
    """Upper bounds of the optimized reward's limit; None without bounds of its scores."""
    if sums.bounds is None:
        return None
    ranges, count = sums.inverse[sums.nodes] * sums.span, int(sums.prompts.sum())
    top, error = np.append(largest_mean(ranges), 1.0), ERROR / (len(ranges) + 1)
    if sums.clustered or count < FEW:  # groups of clusters, or of prompts, are independent
        used = sums.prompts > 0
        values = value(sums.ends)[used, : len(top)]
        means = upper_mean(values, sums.prompts[used].astype(np.float64), np.ones(len(top)), error)
    else:
        mean, square = value(sums.ends.sum(axis=0)).reshape(2, -1) / count
        means = bernstein(mean, square, count, error)
    return Dual.from_means(ranges * (1 - 1 / sums.fewest), sums.span, top * means)


def _of_others(levels: Array, slow: Array) -> Array:
    """A bound (K, V) of the bias of rewards that do not tilt, from means (3, K, V)."""
    first, second = np.nan_to_num(np.abs(np.diff(levels, axis=0)))
    return np.asarray(slow[:, None] * np.maximum(first, second))


def _ess(sums: FrontierSums, lam: Array) -> Array:
    """Effective sample sizes of the specimens at lambdas (K,)."""
    scores, known = sums.specimens.scores, np.isfinite(lam) & (lam > 0)
    return tilt(scores, {"own": scores}, 1.0 / np.where(known, lam, sums.inverse[0]))["own"].ess


def _left_at_beta(sums: FrontierSums, lam: Array, level: float) -> tuple[Array, Array]:
    """Bounds (K,) of what the correction at lambdas leaves of gain and KL, from the levels of the specimens."""
    scores = sums.specimens.scores
    m = CorrectedCurve(scores).moments(lam)
    levels = np.moveaxis(np.stack([m.mean, m.kl], axis=2), -1, 0)
    left = left_at_beta(levels, m.ess, sample_counts(scores))
    boot = PromptBootstrap(len(scores), replicates=REPLICATES, level=level)
    return tuple(np.moveaxis(limit_interval(boot, left, np.zeros(left.shape[1:]))[1], -1, 0))


def _slowness(sums: FrontierSums, lam: Array) -> Array:
    """Mean over specimens of how much of a reward's bias the correction leaves at lambdas (K,)."""
    scores = sums.specimens.scores
    slow, share = slowness(_ess(sums, lam), sample_counts(scores)), np.nanvar(scores / unit_of(scores), axis=1)
    return np.asarray(share @ slow / (share.sum() or 1.0))


def _judge(sums: FrontierSums, lam: Array, ratio: Array | None = None, **where: Any) -> Verdict:
    """The verdict at lambdas (K,), from the specimens."""
    scores = sums.specimens.scores
    return judge(
        scores,
        lam,
        _ess(sums, lam),
        ratio,
        share=np.nanvar(scores / unit_of(scores), axis=1),
        prompts=int(sums.prompts.sum()),
        left_out=sums.left_out,
        clusters=int(np.count_nonzero(sums.prompts)) if sums.clustered else None,
        **where,
    )
