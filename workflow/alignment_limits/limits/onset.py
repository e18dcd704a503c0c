"""Where more optimisation starts to lower gold: the interior maximum of the gold reward along a path, if any.

The path is the proxy's tilt with increasing KL (hacking onset) or best-of-n with increasing n (HedgeTune's stopping
point, arXiv 2506.19248). Both are means of per-prompt contributions, so a bootstrap over prompts gives intervals.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from alignment_limits.ensembles.scores import Array, centre, check_evaluated, check_scores
from alignment_limits.limits.best_of_n import check_ns
from alignment_limits.limits.bootstrap import PromptBootstrap
from alignment_limits.limits.curve import CorrectedCurve, judge_points
from alignment_limits.limits.means import effective_samples, enough_prompts, interval, mean_of, picks_behind, samples_of
from alignment_limits.limits.ranks import best_of_n_means
from alignment_limits.limits.reliability import SMALLEST_ESS, prompt_ceilings

OVER, OPPOSED, NEITHER, UNJUDGED = "over-optimisation", "opposed to gold", "neither", "not judged"


# The correction assumes that gold's bias falls like the optimized reward's. If only gold's curve bends, some bias
# remains; at 64 samples it moves the peak by a third of its error (benchmarks/gaps_coverage.py).
FEWEST_SAMPLES = 256
PATH_PICKS = (
    20.0  # independent picks, given gold's kurtosis, along best-of-n's path, so that a fall is not a lack of hits
)


ROUNDING = 1e-12  # of the largest value: rounding error of a sum


@dataclass(frozen=True)
class Onset:
    """How gold changes along a path that starts at the base law, where its gain is 0.

    Attributes:
        finding: "over-optimisation" if gold rises significantly and then falls significantly; "opposed to gold" if it
            ends significantly below the base without a significant rise; "neither"; or "not judged".
        found: whether the place of over-optimisation is known.
        at, low, high: that place (nats along the tilt, else draws) and its interval; NaN if not found.
        gain, gain_low, gain_high: gold gain at the best point.
        drop, drop_low, drop_high: how much gold falls from it to the end of the path.
        change, change_low, change_high: gold at the end minus gold at the base.
        end: the end of the path (largest reliable KL, or n; NaN if it cannot be judged).
        prompts: number of prompts of the path.
        reason: why no place was found, "" if one was.
    """

    finding: str
    found: bool
    at: float
    low: float
    high: float
    gain: float
    gain_low: float
    gain_high: float
    drop: float
    drop_low: float
    drop_high: float
    change: float
    change_low: float
    change_high: float
    end: float
    prompts: int
    reason: str


@dataclass(frozen=True)
class Path:
    """Gold along increasing optimisation of another reward.

    Attributes:
        at: (K,), increasing, in `unit`.
        gold: (P, K); NaN for prompts with too few samples.
        unit: "nats" or "draws".
        end, reason: the largest reliable value; NaN and the reason if there is none (K = 0).
        biased: why the place of a peak is unknown even if gold falls, "" if it is known.
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
    boot: PromptBootstrap,
    *,
    kls: ArrayLike | None = None,
    budget: str = "average",
    seed: int = 0,
    keys: np.ndarray | None = None,
) -> Path:
    """Gold under the tilt by `proxy` (both checked) with increasing KL, as far as it is reliable."""
    top = float(prompt_ceilings(proxy).mean())
    grid = np.linspace(0, np.sqrt(top), 61)[1:] ** 2 if kls is None else np.sort(np.asarray(kls, dtype=np.float64))
    points = CorrectedCurve(proxy, [gold], budget=budget, seed=seed, keys=keys).at(grid)
    verdict = judge_points(proxy, points, clusters=boot.clusters)
    # The path ends at the first budget that is not reliable.
    usable = len(grid) if verdict.reliable.all() else int(np.argmin(verdict.reliable))
    if usable < 3:
        return Path(grid[:0], points.values[:, :0, 1], "nats", np.nan, f"no reliable path: {verdict.reason[usable]}")
    samples = int(np.median(np.sum(~np.isnan(proxy), axis=1)))
    few = f"only {samples} samples per prompt, so the place of the peak is biased (needs {FEWEST_SAMPLES})"
    end, biased = float(grid[usable - 1]), few if samples < FEWEST_SAMPLES else ""
    return Path(grid[:usable], points.values[:, :usable, 1], "nats", end, "", biased)


def best_of_n_path(proxy: Array, gold: Array, boot: PromptBootstrap, *, ns: ArrayLike | None = None) -> Path:
    """Gold of best-of-n by `proxy` (both checked) with increasing n, as far as it is reliable.

    Uses the prompts with at least half of the median number of samples. Gains are unbiased up to n = M, but there every
    prompt has only one pick. The path ends where the effective number of samples of a prompt is below 10, or the
    number of independent picks, given gold's kurtosis, is below 20.
    """
    return reliable_draws(proxy, gold, *draws_path(proxy, gold, ns=ns), boot)


def reliable_draws(proxy: Array, gold: Array, n: Array, gains: Array, boot: PromptBootstrap) -> Path:
    """The reliable part of gains (P, K) at n (K,), of `draws_path`."""
    known = np.isfinite(gains)
    samples = samples_of(proxy, known)
    ess = effective_samples(samples, n)
    picks = picks_behind(gold, known, n)
    why = enough_prompts(gains, boot)
    for j in np.flatnonzero(why == ""):
        if ess[j] < SMALLEST_ESS:
            why[j] = (
                f"effective sample size {ess[j]:.1f} at n = {n[j]:g} of {samples[j]} samples (needs {SMALLEST_ESS:.0f})"
            )
        elif picks[j] < PATH_PICKS:
            why[j] = f"only {picks[j]:.1f} independent picks at n = {n[j]:g} (needs {PATH_PICKS:.0f})"
    usable = len(n) if np.all(why == "") else int(np.argmax(why != ""))
    if usable < 3:
        reason = why[usable] if usable < len(n) else f"only {usable} values of n"
        return Path(n[:0], gains[:, :0], "draws", np.nan, f"no reliable path: {reason}")
    return Path(n[:usable], gains[:, :usable], "draws", float(n[usable - 1]), "")


def draws_path(proxy: Array, gold: Array, *, ns: ArrayLike | None = None) -> tuple[Array, Array]:
    """Values of n (K,) up to the samples of every included prompt, and gold's gains (P, K); NaN for other prompts."""
    counts = np.sum(~np.isnan(proxy), axis=1)
    part = counts >= max(np.median(counts) / 2, 1)
    most = int(counts[part].min())
    wanted = np.unique(np.round(np.geomspace(1, most, 40))) if ns is None else np.sort(np.asarray(ns))
    n = check_ns(wanted, proxy)
    gains = np.full((len(proxy), len(n)), np.nan)
    gains[part] = best_of_n_means(proxy[part], centre(gold[part]), n)
    return n.astype(np.float64), gains


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
    clusters: ArrayLike | None = None,
) -> Onset:
    """The KL at which gold peaks when a policy is tilted by `optimized`.

    Args:
        optimized, gold: scores (prompts, samples); NaN marks a missing sample.
        kls: grid of budgets in nats; default: 60 up to the largest that the samples reach, evenly spaced in √KL.
        budget, replicates, seed, level, keys, clusters: as for `frontier`.

    Returns:
        The place of the peak and its interval in nats, within the reliable range; further numbers about gold.

    Raises:
        EstimateError: scores that cannot be used.

    Example:
        >>> proxy = np.random.default_rng(0).normal(size=(300, 256))
        >>> gold = proxy - (proxy**2 - 1) / 2  # peaks at 0.5 nats
        >>> onset = hacking_onset(proxy, gold, replicates=200)
        >>> onset.finding, onset.low < 0.5 < onset.high
        ('over-optimisation', True)

    References:
        HedgeTune, arXiv 2506.19248; docs/theory.md, "Over-optimisation".
    """
    proxy = check_scores(optimized, "optimized")
    truth = check_evaluated(proxy, {"gold": gold})["gold"]
    boot = PromptBootstrap(len(proxy), replicates=replicates, seed=seed, level=level, keys=keys, clusters=clusters)
    return peak_of(tilt_path(proxy, truth, boot, kls=kls, budget=budget, seed=seed, keys=keys), boot)


def stopping_point(
    optimized: ArrayLike,
    gold: ArrayLike,
    *,
    ns: ArrayLike | None = None,
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    keys: np.ndarray | None = None,
    clusters: ArrayLike | None = None,
) -> Onset:
    """The n at which gold peaks for best-of-n by `optimized` (HedgeTune), within the reliable range of n.

    Args:
        optimized, gold: scores (prompts, samples); NaN marks a missing sample.
        ns: grid of whole numbers; default: about 40, evenly spaced in log n.
        replicates, seed, level, keys, clusters: as for `frontier`.

    Returns:
        As `hacking_onset`, the place in draws.

    Raises:
        EstimateError: scores that cannot be used.

    Example:
        >>> proxy = np.random.default_rng(0).normal(size=(300, 256))
        >>> round(stopping_point(proxy, proxy - (proxy**2 - 1) / 2, replicates=200).at)
        5

    References:
        HedgeTune, arXiv 2506.19248; docs/theory.md, "Over-optimisation".
    """
    proxy = check_scores(optimized, "optimized")
    truth = check_evaluated(proxy, {"gold": gold})["gold"]
    boot = PromptBootstrap(len(proxy), replicates=replicates, seed=seed, level=level, keys=keys, clusters=clusters)
    return peak_of(best_of_n_path(proxy, truth, boot, ns=ns), boot)


def peak_of(path: Path, boot: PromptBootstrap) -> Onset:
    """Where gold peaks on a path, or why that is unknown."""
    if len(path.at) < 3:
        return _unjudged(path.end, path.reason)
    onset = interior_maximum(path.at, path.gold, boot, unit=path.unit)
    if not (onset.found and path.biased):
        return onset
    return replace(onset, found=False, at=np.nan, low=np.nan, high=np.nan, reason=f"gold falls, but {path.biased}")


def interior_maximum(path: Array, values: Array, boot: PromptBootstrap, *, unit: str = "nats") -> Onset:
    """The maximum of mean values (P, K) along an increasing path (K,), if gold rises to it and falls after it.

    It is found if the intervals of two changes exclude 0: the rise from the base to the best point, and the drop from
    there to the end of the path. The place is where the slope crosses 0. Its interval contains all points where the
    slope's interval contains 0, so it covers as often. Quantiles of the place over replicates do not cover, as the
    place is skewed. Slopes are per sqrt(nat) or per log draw.
    """
    mean, prompts = mean_of(values), int(np.isfinite(values[:, -1]).sum())
    best = int(np.argmax(mean))
    end = float(path[-1])
    if prompts < 2:
        return _unjudged(np.nan, "only one prompt: no interval")
    three = np.stack([values[:, best], values[:, best] - values[:, -1], values[:, -1]], axis=1)
    (gain, drop, change), (low, high) = mean_of(three), interval(boot, three)
    rounding = ROUNDING * float(np.nanmax(np.abs(values)))  # best of 1 is the base law, so its gain is 0 up to rounding
    rises, falls, below = low[0] > rounding, low[1] > rounding, high[2] < -rounding
    where = f"by {end:.3g} {unit}"
    if rises and falls:
        finding, reason = OVER, ""
    elif below and not rises:
        finding, reason = OPPOSED, f"opposed to gold: gold falls from the start, and is below the base {where}"
    elif best == len(path) - 1:
        finding, reason = NEITHER, f"gold still rises at the end of the path ({end:.3g} {unit})"
    elif falls:
        finding, reason = NEITHER, f"gold falls {where}, but its rise before that is not significant"
    else:
        finding, reason = NEITHER, f"the fall of gold {where} is not significant"
    found = finding == OVER
    at, first, last = _crossing(path, values, best, boot, unit) if found else (np.nan, np.nan, np.nan)
    return Onset(
        finding=finding,
        found=found,
        at=at,
        low=first,
        high=last,
        gain=float(gain),
        gain_low=float(low[0]),
        gain_high=float(high[0]),
        drop=float(drop),
        drop_low=float(low[1]),
        drop_high=float(high[1]),
        change=float(change),
        change_low=float(low[2]),
        change_high=float(high[2]),
        end=end,
        prompts=prompts,
        reason=reason,
    )


def _crossing(path: Array, values: Array, best: int, boot: PromptBootstrap, unit: str) -> tuple[float, float, float]:
    """Where the slope crosses 0 around point `best`, and the interval of this place, at most to the path's ends."""
    there, back = (np.sqrt, np.square) if unit == "nats" else (np.log, np.exp)
    u = there(path)
    middle = (u[:-1] + u[1:]) / 2
    slopes = np.diff(values, axis=1) / np.diff(u)
    low, high = interval(boot, slopes)
    rising, falling = np.flatnonzero(low[:best] > 0), best + np.flatnonzero(high[best:] < 0)
    at = _zero(middle, mean_of(slopes), best - 1) if best else u[0]
    first = _zero(middle, low, int(rising[-1])) if len(rising) else u[0]
    last = _zero(middle, high, int(falling[0]) - 1) if len(falling) and falling[0] else u[-1]
    return float(back(at)), float(back(min(first, at))), float(back(max(last, at)))


def _zero(x: Array, y: Array, i: int) -> float:
    """Where y falls through 0 between x[i] and x[i + 1]."""
    return float(x[i] + y[i] / (y[i] - y[i + 1]) * (x[i + 1] - x[i]))


def _unjudged(end: float, reason: str) -> Onset:
    nan = float("nan")
    return Onset(UNJUDGED, False, nan, nan, nan, nan, nan, nan, nan, nan, nan, nan, nan, nan, end, 0, reason)
