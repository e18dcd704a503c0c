"""How many prompts and samples a study needs for given KLs and interval widths, from a pilot study.

Sizes are tried: studies of each size are drawn from the pilot, estimated, and judged by the same verdict as a real
study.
"""

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from alignment_limits.ensembles.scores import Array, Columns, Words, check_scores
from alignment_limits.errors import EstimateError
from alignment_limits.limits.bootstrap import PromptBootstrap, normal_quantile
from alignment_limits.limits.curve import CorrectedCurve, judge_points
from alignment_limits.limits.means import SAMPLES_PER_DRAW
from alignment_limits.limits.ranks import tied
from alignment_limits.limits.reliability import CARRY, FEWEST_PROMPTS, FEWEST_SAMPLES
from alignment_limits.limits.samples import Pool
from alignment_limits.limits.tails import HEAVY_TAIL, tail_ratio

DISCRETE = 0.5  # share of tied samples above which a prompt's law is taken as discrete


@dataclass(frozen=True)
class Pilot:
    """A small study from which larger ones are drawn.

    A prompt's own samples represent its law. If more samples are needed than it has, they are drawn from its levels if
    its scores tie. Otherwise they are drawn from the residuals of all untied prompts, in units of their spread.

    Attributes:
        scores: (P, M); NaN marks a missing sample.
        discrete: prompts with tied scores (P,).
        pool: residuals of the others.
    """

    scores: Array
    discrete: np.ndarray
    pool: Array

    @classmethod
    def of(cls, scores: Array) -> "Pilot":
        """The pilot of checked scores."""
        present = ~np.isnan(scores)
        discrete = tied(scores).sum(axis=1) > DISCRETE * present.sum(axis=1)
        some = scores[~discrete]
        if not len(some):
            return cls(scores, discrete, np.empty(0))
        sd = np.nanstd(some, axis=1, ddof=1, keepdims=True)
        residuals = (some - np.nanmean(some, axis=1, keepdims=True)) / np.where(sd > 0, sd, 1.0)
        return cls(scores, discrete, residuals[~np.isnan(some)])

    def draw(self, prompts: int, samples: int, rng: np.random.Generator) -> tuple[Array, None]:
        """One study of prompts drawn with replacement, (prompts, samples), of the base only."""
        rows = rng.integers(0, len(self.scores), prompts)
        out = np.empty((prompts, samples))
        for row in np.unique(rows):
            which = np.flatnonzero(rows == row)
            own = self.scores[row][~np.isnan(self.scores[row])]
            size = (len(which), samples)
            if samples <= len(own):
                out[which] = rng.permuted(np.broadcast_to(own, (len(which), len(own))), axis=1)[:, :samples]
            elif self.discrete[row] or not len(self.pool):
                out[which] = rng.choice(own, size)
            else:
                out[which] = own.mean() + own.std(ddof=1) * rng.choice(self.pool, size)
        return out, None


@dataclass(frozen=True)
class PooledPilot:
    """A small study with samples of several laws, from which larger ones are drawn.

    Each law's own samples represent it, drawn without replacement as long as there are enough.

    Attributes:
        scores: (P, M); NaN marks a missing sample.
        pool: laws of the samples.
    """

    scores: Array
    pool: Pool

    def draw(self, prompts: int, samples: int, rng: np.random.Generator) -> tuple[Array, Pool]:
        """One study of prompts drawn with replacement and `samples` of each law, (prompts, laws × samples)."""
        rows = rng.integers(0, len(self.scores), prompts)
        law = np.where(np.isnan(self.scores), -1, self.pool.law)[rows]
        places = []
        for k in range(len(self.pool.names)):
            own = law == k
            number = own.sum(axis=1, keepdims=True)
            shuffled = np.argsort(np.where(own, rng.random(own.shape), 2.0), axis=1)  # its own samples first
            again = (rng.random((prompts, samples)) * number).astype(np.int64)
            picked = np.where(samples <= number, np.arange(samples), again)
            places.append(np.take_along_axis(shuffled, picked, axis=1))
        cells = rows[:, None], np.concatenate(places, axis=1)
        ratios = {name: self.pool.log_ratios[k][cells] for k, name in enumerate(self.pool.names) if k > 0}
        laws = np.repeat(np.array(self.pool.names, dtype=object), samples)
        return self.scores[cells], Pool.of(laws, ratios, base=self.pool.names[0])


ROUGH = "a rough figure: each prompt of the pilot has only"
HEAVY = "heavy upper tail: intervals would be too short with any number of prompts"
TRIALS, MOST_REFUSED = 20, 1  # studies drawn of each size, and how many may be refused
GROWTH, MARGIN = 1.25, 1.5  # ratio of sizes tried; ratio of the answer to the first sufficient size
MOST_POOLED = 4.0  # the same of pooled samples, which are drawn again beyond those of the pilot
MOST_GROWTH = 16.0  # times the pilot's samples: the largest size tried
FEW_PROMPTS = 64  # if fewer are enough for the width, twice as many are tried before more samples
MOST_DRAWN = 384  # maximum of prompts in a drawn study; larger studies are represented by so many


@dataclass(frozen=True, repr=False)
class Plan(Columns):
    """What a study needs: one row for each KL, equal 1-D arrays.

    Attributes:
        kl: budget in nats.
        gain: of the pilot at that KL.
        half_width: relative half-width of the pilot's own interval.
        prompts: needed for the given half-width, with the interval `prompts_low` to `prompts_high`.
        samples: per prompt, for a reliable verdict at this KL; of each law where `samples_from` is "pool".
        samples_from: "base", or "pool" where samples of the pilot's laws need fewer replies, or show the KL at all.
        replies: to be sampled in all, the number that is compared.
        accepted: share of studies of this size, drawn from the pilot, that are reliable.
        reason: what determines `samples`, or why there is no answer (then prompts is NaN, and samples a lower bound).
    """

    shown = ("kl", "prompts", "samples")

    kl: Array
    gain: Array
    half_width: Array
    prompts: Array
    prompts_low: Array
    prompts_high: Array
    samples: Array
    samples_from: Words
    replies: Array
    accepted: Array
    reason: Words

    def lines(self) -> list[str]:
        """One line per KL: sizes rounded up to two digits (the precision of pilots), or why there is none."""
        out = []
        for kl, prompts, low, high, samples, laws, why in zip(
            self.kl, self.prompts, self.prompts_low, self.prompts_high, self.samples, self.samples_from, self.reason,
            strict=True,
        ):  # fmt: skip
            need = why
            if prompts > 0:
                ends = f"{_two_digits(low)} to {_two_digits(high)}"
                need = f"{_two_digits(prompts)} prompts ({ends}) × {_two_digits(samples)} samples"
                need += " of the base and of each pooled law" if laws == "pool" else ""
                need += f" ({why[why.index(ROUGH) :]})" if ROUGH in why else ""
            out.append(f"KL {kl:g}: {need}")
        return out


def _two_digits(size: float) -> int:
    """Rounded up to a whole number of two significant digits."""
    step = 10 ** max(len(str(math.ceil(size))) - 2, 0)
    return step * math.ceil(size / step)


def plan(
    pilot: ArrayLike,
    kls: ArrayLike,
    *,
    half_width: float = 0.05,
    most_draws: int = 1,
    budget: str = "average",
    level: float = 0.95,
    seed: int = 0,
    keys: np.ndarray | None = None,
    clusters: ArrayLike | None = None,
    pool: Pool | None = None,
) -> Plan:
    """Prompts and samples per prompt for an interval of ± `half_width` of the limit at each KL.

    The search for samples starts at the largest of 16, 16 n and 4 e^KL (quarters of them must reach the KL). The answer
    is 1.5 times the first number for which 19 of 20 studies drawn from the pilot are reliable. The number of prompts is
    (z sd / (half_width gain))², where sd is the spread of the prompts' contributions at that number of samples.

    Args:
        pilot: scores (prompts, samples) of a small study with similar prompts, at least 16 × 16.
        kls: budgets in nats.
        half_width: relative half-width of the interval.
        most_draws: largest n of best-of-n to compare with the limit (needs 16 n samples).
        budget, level, seed, keys, clusters: as for `frontier`. With clusters, `prompts` is a number of clusters.
        pool: laws of the pilot's samples, if some are of policies. Then a row is from the base or from the pool,
            whichever needs fewer replies.

    Returns:
        One row for each KL.

    Raises:
        EstimateError: the pilot is too small, or a setting is impossible.

    Example:
        >>> pilot = np.random.default_rng(0).normal(size=(64, 64))
        >>> print(*plan(pilot, [0.5], half_width=0.02).lines())
        KL 0.5: 150 prompts (98 to 220) × 38 samples

    References:
        Our choice; docs/theory.md, "Intervals and reliability"; docs/estimators.md.
    """
    scores = check_scores(pilot, "pilot")
    if pool is not None:
        more = (half_width, most_draws, budget, level, seed, keys, clusters)
        return _cheapest(_plan(pool.base_only(scores), kls, None, *more), _plan(scores, kls, pool, *more))
    return _plan(scores, kls, None, half_width, most_draws, budget, level, seed, keys, clusters)


def _plan(
    scores: Array,
    kls: ArrayLike,
    pool: Pool | None,
    half_width: float,
    most_draws: int,
    budget: str,
    level: float,
    seed: int,
    keys: np.ndarray | None,
    clusters: ArrayLike | None,
) -> Plan:
    """From the base's samples, or from those of all laws of a pool."""
    kappa = np.atleast_1d(np.asarray(kls, dtype=np.float64))
    number = 1 if pool is None else len(pool.names)
    base = scores if pool is None else pool.base_only(scores)
    room = int(np.median(np.sum(~np.isnan(base), axis=1)))
    if len(scores) < FEWEST_PROMPTS or room < FEWEST_SAMPLES:
        raise EstimateError(
            f"A pilot of {len(scores)} prompts x {room} samples is too small to plan a study; it needs "
            f"{FEWEST_PROMPTS} x "
            f"{FEWEST_SAMPLES} or more."
        )
    if not half_width > 0:
        raise EstimateError(f"half_width {half_width} must be positive.")
    points = CorrectedCurve(scores, budget=budget, seed=seed, keys=keys, pool=pool).at(kappa)
    values = points.values[..., 0]
    gain = values.mean(axis=0)
    boot = PromptBootstrap(len(scores), replicates=100, seed=seed, keys=keys, clusters=clusters)
    error, doubt = _spread(values, boot)
    z = normal_quantile(level)
    heavy = tail_ratio(base) > HEAVY_TAIL
    order = np.arange(len(scores)) if keys is None else np.argsort(np.asarray(keys), kind="stable")
    pilot = Pilot.of(scores[order]) if pool is None else PooledPilot(scores[order], pool.rows(order))
    most = room * (MOST_GROWTH if pool is None else MOST_POOLED)
    trial = _Trial(pilot, budget, z, half_width, seed, most)
    rows = []
    for j, each in enumerate(kappa):
        floor = {
            f"best-of-{most_draws} against the limit": SAMPLES_PER_DRAW * most_draws,
            "quarters of the samples must reach this KL": 0 if pool else int(np.ceil(4.0 * np.exp(each))),
            "the minimum for any estimate": FEWEST_SAMPLES,
        }
        cause = max(floor, key=lambda name: floor[name])
        shown = not heavy and points.reached[j] == 3 and np.isfinite(gain[j]) and gain[j] > 0
        if not shown:
            why = HEAVY if heavy else f"the pilot's {room} samples do not reach this KL"
            rows.append((np.nan, np.nan, np.nan, float(floor[cause]), np.nan, why))
            continue
        design = float(error[j] ** 2 * len(scores) / max(values[:, j].var(ddof=1), 1e-300)) if boot.clusters else 1.0
        needed, samples, accepted, why = trial.sizes(float(each), floor[cause], design)
        if pool is not None:  # a pilot's own prompts decide more of its weights, so plans from pools have a margin
            needed, samples = np.ceil(needed * np.exp(doubt[j])), np.ceil(samples * MARGIN)
        off = np.exp(z * doubt[j])
        ends = max(needed / off, FEWEST_PROMPTS), max(needed * off, FEWEST_PROMPTS)
        because = f"{why or cause}; {ROUGH} {room}" if np.isfinite(needed) and samples > room else why or cause
        rows.append((needed, *(ends if np.isfinite(needed) else (np.nan, np.nan)), samples, accepted, because))
    prompts, low, high, samples_, accepted_, reason = zip(*rows, strict=True)
    per_prompt = _rising(kappa, np.array(samples_, dtype=np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        reached = z * error / gain
    return Plan(
        kl=kappa,
        gain=gain,
        half_width=reached,
        prompts=np.array(prompts),
        prompts_low=np.array(low),
        prompts_high=np.array(high),
        samples=per_prompt,
        samples_from=np.full(len(kappa), "base" if pool is None else "pool", dtype=object),
        replies=number * np.array(prompts) * per_prompt,
        accepted=np.array(accepted_),
        reason=np.array(reason, dtype=object),
    )


def _cheapest(base: Plan, pooled: Plan) -> Plan:
    """At each KL the plan that needs fewer replies; the base's where neither has an answer."""
    better = np.where(np.isnan(base.replies), np.isfinite(pooled.replies), pooled.replies < base.replies)
    return Plan(**{name: np.where(better, getattr(pooled, name), getattr(base, name)) for name in Plan.names()})


def _rising(kappa: Array, samples: Array) -> Array:
    """No fewer samples at a larger KL than at a smaller one; each is uncertain by one or two steps of the grid."""
    order = np.argsort(kappa, kind="stable")
    out = np.empty_like(samples)
    out[order] = np.maximum.accumulate(samples[order])
    return out


def _spread(values: Array, boot: PromptBootstrap) -> tuple[Array, Array]:
    """Standard error of the mean of values (P, K), and that of log(variance / mean²): (K,) each."""
    mean = values.mean(axis=0)
    away = boot.sums(values - mean)
    units = len(away)
    variance = (away**2).sum(axis=0) / max(units - 1, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        influence = away**2 / np.where(variance > 0, variance, 1.0) - 1.0 - 2.0 * away * units / len(values) / mean
        doubt = np.sqrt((influence**2).sum(axis=0)) / units
    return np.sqrt(variance * units) / len(values), doubt


@dataclass(frozen=True)
class _Trial:
    """Tries sizes on studies drawn from the pilot, up to `most` samples."""

    pilot: Pilot | PooledPilot
    budget: str
    z: float
    half_width: float
    seed: int
    most: float

    def sizes(self, kappa: float, fewest: int, design: float) -> tuple[float, float, float, str]:
        """Prompts, samples, share accepted, and why samples are above the minimum; NaN prompts if no size will do."""
        refused = ""
        needed = self._prompts(kappa, fewest, design)  # falls a little with more samples; computed again at the end
        grid = list(self._grid(fewest))
        sizes = [(needed * fewest, 0, 1)]  # replies, place in the grid, times as many prompts: the cheapest comes first
        seen = set(sizes)
        while sizes:
            _, place, times = heapq.heappop(sizes)
            samples = grid[place]
            accepted, why = self._accepted(kappa, times * needed, samples)
            if why == "":
                # A margin: 20 studies give the share of refusals only to 5 %, so the first size that passes may pass by
                # luck.
                wider = MARGIN if times > 1 and refused.startswith(CARRY) else 1.0
                more = int(np.ceil(samples * MARGIN)) if refused and wider == 1.0 else samples
                prompts = np.ceil(wider * times * self._prompts(kappa, more, design))
                return float(prompts), float(more), accepted, refused and f"with fewer: {refused}"
            refused = why
            further = [(place + 1, times)] if place + 1 < len(grid) else []
            # If few prompts carry the estimate, more prompts help more than samples do.
            carry = why.startswith(CARRY) and times * needed < MOST_DRAWN
            further += [(place, 2 * times)] if carry or (times == 1 and needed < FEW_PROMPTS) else []
            for each in ((needed * t * grid[p], p, t) for p, t in further):
                if each not in seen:
                    seen.add(each)
                    heapq.heappush(sizes, each)
        return np.nan, float(grid[-1]), np.nan, f"no number of samples up to {grid[-1]} is enough: {refused}"

    def _grid(self, fewest: int) -> Iterator[int]:
        samples = fewest
        while True:
            yield samples
            if samples * GROWTH > max(self.most, fewest):
                return
            samples = int(np.ceil(samples * GROWTH))

    def _points(self, kappa: float, prompts: int, samples: int, trial: int) -> tuple[Array, str]:
        """Contributions (prompts,) of one drawn study, and why it would not be reliable."""
        rng = np.random.default_rng((self.seed, samples, trial))
        drawn, laws = self.pilot.draw(min(prompts, MOST_DRAWN), samples, rng)
        points = CorrectedCurve(drawn, budget=self.budget, seed=self.seed, pool=laws).at(np.array([kappa]))
        values = points.values[:, 0, 0]
        width = 2 * self.z * values.std(ddof=1) / np.sqrt(prompts)
        return values, str(judge_points(drawn, points, np.array([width]), pool=laws).reason[0])

    def _prompts(self, kappa: float, samples: int, design: float) -> int:
        """Prompts for the width, from the spread over many drawn prompts."""
        values, _ = self._points(kappa, MOST_DRAWN, samples, TRIALS)
        gain, variance = values.mean(), values.var(ddof=1)
        if not np.isfinite(gain) or gain <= 0:
            return FEWEST_PROMPTS
        return max(int(np.ceil(design * variance * (self.z / (self.half_width * gain)) ** 2)), FEWEST_PROMPTS)

    def _accepted(self, kappa: float, prompts: int, samples: int) -> tuple[float, str]:
        """Share of reliable studies, and the last reason if too many are not reliable."""
        refusals = 0
        for trial in range(TRIALS):
            why = self._points(kappa, prompts, samples, trial)[1]
            refusals += why != ""
            if refusals > MOST_REFUSED:
                return np.nan, why
        return 1 - refusals / TRIALS, ""
