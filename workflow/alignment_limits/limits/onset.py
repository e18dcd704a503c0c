"""Where more optimisation starts to hurt: the interior maximum of gold reward along a path, or none.

The path is the proxy's tilt at growing KL (hacking onset) or best-of-n at growing n (HedgeTune's stopping
point, arXiv 2506.19248). Both are means of per-prompt contributions, so the maximum is found again in every
bootstrap replicate.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from alignment_limits.errors import EstimateError
from alignment_limits.limits.arrays import Array, centre, check_evaluated, check_scores
from alignment_limits.limits.bestofn import check_ns
from alignment_limits.limits.bootstrap import PromptBootstrap
from alignment_limits.limits.curve import CorrectedCurve, judge_points
from alignment_limits.limits.diagnostics import prompt_ceilings
from alignment_limits.limits.ranks import best_of_n_means

# The correction takes gold's bias to fall as the optimized reward's; a gold that bends where that one is straight is
# left with some, which at 64 samples moves the peak by a third of its error (benchmarks/gaps_coverage.py).
FEWEST_SAMPLES = 256


@dataclass(frozen=True)
class Onset:
    """found : gold has a significant interior maximum on the part of the path that is reliable, and its place is told.

    at, low, high : its place (nats for hacking_onset, n for stopping_point) and interval, NaN when not found.
    gain : gold gain there. drop, drop_low, drop_high : how much gold falls from it to the end of the path.
    end : where the path ends (largest reliable KL, or n; NaN where it cannot be judged). reason : "" when found.
    """

    found: bool
    at: float
    low: float
    high: float
    gain: float
    drop: float
    drop_low: float
    drop_high: float
    end: float
    reason: str


@dataclass(frozen=True)
class Path:
    """Gold along growing optimisation by another reward: at (K,) increasing, in `unit`; gold (P, K) per prompt.

    end, reason : how far it is reliable; NaN and why where it is nowhere (K = 0). biased : why the place of a peak
    cannot be told although gold may be seen to fall, "" where it can.
    """

    at: Array
    gold: Array
    unit: str
    end: float
    reason: str
    biased: str = ""


def tilt_path(
    proxy: Array,
    gold: Array,
    *,
    kls: ArrayLike | None = None,
    budget: str = "average",
    seed: int = 0,
    keys: np.ndarray | None = None,
) -> Path:
    """Gold under the tilt by `proxy` (both checked) at growing KL, as far as it is reliable."""
    top = float(prompt_ceilings(proxy).mean())
    grid = np.linspace(0, np.sqrt(top), 61)[1:] ** 2 if kls is None else np.sort(np.asarray(kls, dtype=np.float64))
    points = CorrectedCurve(proxy, [gold], budget=budget, seed=seed, keys=keys).at(grid)
    verdict = judge_points(proxy, points)
    # The path ends at the first budget that is not reliable.
    usable = len(grid) if verdict.reliable.all() else int(np.argmin(verdict.reliable))
    if usable < 3:
        return Path(grid[:0], points.values[:, :0, 1], "nats", np.nan, f"no reliable path: {verdict.reason[usable]}")
    samples = int(np.median(np.sum(~np.isnan(proxy), axis=1)))
    few = f"only {samples} samples per prompt: where gold bends is biased (needs {FEWEST_SAMPLES})"
    end, biased = float(grid[usable - 1]), few if samples < FEWEST_SAMPLES else ""
    return Path(grid[:usable], points.values[:, :usable, 1], "nats", end, "", biased)


def best_of_n_path(proxy: Array, gold: Array, *, ns: ArrayLike | None = None) -> Path:
    """Gold of best-of-n by `proxy` (both checked) at growing n."""
    most = int(np.sum(~np.isnan(proxy), axis=1).min())
    if most < 3:
        raise EstimateError(f"A stopping point needs 3 samples per prompt or more; a prompt has {most}.")
    n = check_ns(np.unique(np.round(np.geomspace(1, most, 40))) if ns is None else np.sort(np.asarray(ns)), proxy)
    gains = best_of_n_means(proxy, centre(gold), n)
    return Path(n.astype(np.float64), gains, "draws", float(n[-1]), "")


def hacking_onset(
    optimized: ArrayLike,
    gold: ArrayLike,
    *,
    kls: ArrayLike | None = None,
    budget: str = "average",
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    keys: np.ndarray | None = None,
) -> Onset:
    """KL at which gold reward peaks when tilting by `optimized`, (P, M) each; found only within the reliable
    range.

    kls : grid of budgets (default: 60 up to the samples' ceiling, even in sqrt(KL)). keys : as for `frontier`.
    """
    proxy = check_scores(optimized, "optimized")
    truth = check_evaluated(proxy, {"gold": gold})["gold"]
    path = tilt_path(proxy, truth, kls=kls, budget=budget, seed=seed, keys=keys)
    return peak_of(path, PromptBootstrap(len(proxy), replicates=replicates, seed=seed, level=level))


def stopping_point(
    optimized: ArrayLike,
    gold: ArrayLike,
    *,
    ns: ArrayLike | None = None,
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Onset:
    """The n at which gold reward of best-of-n by `optimized` peaks (HedgeTune); unbiased for every n <= M.

    ns : grid (default: about 40 whole numbers, even in log n, up to the samples of the shortest prompt).
    """
    proxy = check_scores(optimized, "optimized")
    truth = check_evaluated(proxy, {"gold": gold})["gold"]
    path = best_of_n_path(proxy, truth, ns=ns)
    return peak_of(path, PromptBootstrap(len(proxy), replicates=replicates, seed=seed, level=level))


def peak_of(path: Path, boot: PromptBootstrap) -> Onset:
    """Where gold peaks on a path, or why that cannot be said."""
    if len(path.at) < 3:
        return _none(path.end, path.reason)
    onset = interior_maximum(path.at, path.gold, boot, unit=path.unit)
    if not (onset.found and path.biased):
        return onset
    return replace(onset, found=False, at=np.nan, low=np.nan, high=np.nan, reason=f"gold falls, but {path.biased}")


def interior_maximum(path: Array, values: Array, boot: PromptBootstrap, *, unit: str = "nats") -> Onset:
    """The maximum of mean values (P, K) along an increasing path (K,), if gold falls significantly after it.

    Found when the interval of the drop from the best point to the end of the path excludes 0. The place is where the
    slope crosses 0; its interval reaches as far as the slope's own interval holds 0, so it covers as that one does
    (quantiles of the place over replicates do not: the place is skewed). Slopes are per sqrt(nat) or per log draw.
    """
    mean = values.mean(axis=0)
    best = int(np.argmax(mean))
    end = float(path[-1])
    if boot.prompts < 2:
        return _none(np.nan, "one prompt only: no interval")
    if best == len(path) - 1:
        return _none(end, f"gold still rises at the end of the path ({end:.3g} {unit})")
    drops = values[:, best] - values[:, -1]
    drop_low, drop_high = boot.interval(drops[:, None])
    found = bool(drop_low[0] > 0)
    reason = "" if found else f"the fall of gold by {end:.3g} {unit} is within its interval"
    at, low, high = _crossing(path, values, best, boot, unit) if found else (np.nan, np.nan, np.nan)
    return Onset(
        found=found,
        at=at,
        low=low,
        high=high,
        gain=float(mean[best]),
        drop=float(drops.mean()),
        drop_low=float(drop_low[0]),
        drop_high=float(drop_high[0]),
        end=end,
        reason=reason,
    )


def _crossing(path: Array, values: Array, best: int, boot: PromptBootstrap, unit: str) -> tuple[float, float, float]:
    """Where the slope crosses 0 around point `best`, from where on it may, and up to where; the path's ends at most."""
    there, back = (np.sqrt, np.square) if unit == "nats" else (np.log, np.exp)
    u = there(path)
    middle = (u[:-1] + u[1:]) / 2
    slopes = np.diff(values, axis=1) / np.diff(u)
    low, high = boot.interval(slopes)
    rising, falling = np.flatnonzero(low[:best] > 0), best + np.flatnonzero(high[best:] < 0)
    at = _zero(middle, slopes.mean(axis=0), best - 1) if best else u[0]
    first = _zero(middle, low, int(rising[-1])) if len(rising) else u[0]
    last = _zero(middle, high, int(falling[0]) - 1) if len(falling) and falling[0] else u[-1]
    return float(back(at)), float(back(min(first, at))), float(back(max(last, at)))


def _zero(x: Array, y: Array, i: int) -> float:
    """Where y falls through 0 between x[i] and x[i + 1]."""
    return float(x[i] + y[i] / (y[i] - y[i + 1]) * (x[i + 1] - x[i]))


def _none(end: float, reason: str) -> Onset:
    return Onset(False, np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, end, reason)
