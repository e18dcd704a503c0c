"""Pilot studies: studies of other sizes are drawn from them, estimated, and judged as a real study is."""

import functools
import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from alignment_limits.ensembles.scores import Array, centre, sample_counts
from alignment_limits.limits.bootstrap import PromptBootstrap, limit_interval
from alignment_limits.limits.correction import remaining
from alignment_limits.limits.curve import CorrectedCurve, judge_points
from alignment_limits.limits.ranks import tied
from alignment_limits.limits.reliability import CARRY, FEWEST_PROMPTS
from alignment_limits.limits.samples import Pool

BANDWIDTH = 0.45  # of the smoothed bootstrap of spreads, in units of their own log-sd
DISCRETE = 0.5  # share of tied samples above which a prompt's law is taken as discrete


@dataclass(frozen=True)
class Pilot:
    """A small study from which larger ones are drawn.

    A prompt's own samples represent its law. If more samples are needed than it has, they are drawn from its levels if
    its scores tie. Otherwise they are drawn from the residuals of all untied prompts, in units of their spread.

    A larger study has prompts with wider spreads than any of the pilot. So the spread of each drawn prompt is varied
    (a smoothed bootstrap): prompts then differ by 1 + `BANDWIDTH`² times the variance that they have in the pilot.

    Attributes:
        scores: (P, M); NaN marks a missing sample.
        discrete: prompts with tied scores (P,).
        pool: residuals of the others.
        varied: log-sd by which the spread of a drawn prompt is varied.
    """

    scores: Array
    discrete: np.ndarray
    pool: Array
    varied: float = 0.0

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
        return cls(scores, discrete, residuals[~np.isnan(some)], BANDWIDTH * log_spread(some))

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
        if self.varied > 0:
            factor = np.where(self.discrete[rows], 1.0, np.exp(self.varied * rng.standard_normal(prompts)))
            middle = out.mean(axis=1, keepdims=True)
            out = middle + factor[:, None] * (out - middle)
        return out, None


def log_spread(scores: Array) -> float:
    """How much prompts (P, M) differ in the logarithm of their spread: its standard deviation, without its noise."""
    away = centre(scores)
    number, second = sample_counts(scores), np.nanmean(away**2, axis=1)
    some = second > 0
    if some.sum() < 2:
        return 0.0
    kurtosis = np.nanmean(away[some] ** 4, axis=1) / second[some] ** 2
    noise = ((kurtosis - 1).clip(0.0) / (4 * number[some])).mean()
    return math.sqrt(max(float((np.log(second[some]) / 2).var(ddof=1) - noise), 0.0))


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


TRIALS, MOST_REFUSED = 20, 1  # studies drawn of each size, and how many may be refused
MOST_WIDTHS, TOLERANCE, MOST_ROUNDS = 0.95, 1.1, 5  # share of studies with this width, to 10 %; rounds of more prompts
REPLICATES = 200  # of the bootstrap of a drawn study
GROWTH, MARGIN = 1.5, 1.5  # ratio of sizes tried; ratio of the answer to the first sufficient size
FURTHER = 2  # sizes tried after a sufficient one, as larger ones may need fewer replies
FEW_PROMPTS = 64  # if fewer are enough for the width, twice as many are tried before more samples
MOST_DRAWN = 384  # maximum of prompts in a drawn study; in larger ones, each contributes several times


@dataclass(frozen=True)
class Try:
    """One size, tried on studies drawn from the pilot.

    Attributes:
        prompts: that the width needs, inf if the bound of the bias alone is wider.
        accepted: share of reliable studies.
        why: why the size will not do, "" if it will.
    """

    prompts: float
    accepted: float
    why: str


@dataclass(frozen=True)
class Trial:
    """Tries sizes on studies drawn from the pilot.

    Attributes:
        pilot: to draw from.
        budget, level, seed: of the estimates.
        half_width: relative half-width of the interval asked for.
        most: samples per prompt to try at most.

    Example:
        >>> pilot = Pilot.of(np.random.default_rng(0).normal(size=(64, 64)))
        >>> prompts, samples, accepted, _ = Trial(pilot, "average", 0.95, 0.1, 0, 64).sizes(0.5, 16, 1.0)
        >>> prompts >= 16, samples >= 16, accepted >= 0.95
        (True, True, True)
    """

    pilot: Pilot | PooledPilot
    budget: str
    level: float
    half_width: float
    seed: int
    most: float

    def sizes(self, kappa: float, fewest: int, design: float) -> tuple[float, float, float, str]:
        """Prompts, samples, share accepted, and why samples are above the minimum; NaN prompts if no size will do."""
        refused, further_tries = "", FURTHER
        best: tuple[float, int, float, str] | None = None
        grid = list(self._grid(fewest))
        prompts_at = functools.cache(lambda place: self._prompts(kappa, grid[place], design))
        # Replies (a rough number, from one study), place in the grid, times as many prompts.
        sizes = [(prompts_at(0) * fewest, 0, 1)]
        seen = set(sizes)
        while sizes and further_tries:
            _, place, times = heapq.heappop(sizes)
            further_tries -= best is not None
            samples, needed = grid[place], prompts_at(place)
            found = self._try(kappa, times * needed, samples)
            if found.why == "":
                # A margin: 20 studies give the share of refusals only to 5 %, so the first size that passes may pass by
                # luck.
                more = int(np.ceil(samples * MARGIN)) if refused and times == 1 else samples
                wider = MARGIN if times > 1 and refused.startswith(CARRY) else 1.0
                least = wider * times * needed if times > 1 else FEWEST_PROMPTS
                prompts = float(np.ceil(max(least, design * found.prompts)))
                if best is None or prompts * more < best[0] * best[1]:
                    best = prompts, more, found.accepted, refused and f"with fewer: {refused}"
            else:
                refused = found.why
            further = [(place + 1, times)] if place + 1 < len(grid) else []
            # If few prompts carry the estimate, more prompts help more than samples do.
            carry = found.why.startswith(CARRY) and times * needed < MOST_DRAWN
            further += [(place, 2 * times)] if carry or (found.why and times == 1 and needed < FEW_PROMPTS) else []
            for each in ((prompts_at(p) * t * grid[p], p, t) for p, t in further):
                if each not in seen:
                    seen.add(each)
                    heapq.heappush(sizes, each)
        if best is None:
            return np.nan, float(grid[-1]), np.nan, f"no number of samples up to {grid[-1]} is enough: {refused}"
        prompts, more, accepted, why = best
        if isinstance(self.pilot, PooledPilot):  # plans from pools have a margin (plan.py)
            return prompts, float(more), accepted, why
        return self._wide_enough(kappa, prompts, more, design), float(more), accepted, why

    def _wide_enough(self, kappa: float, prompts: float, samples: int, design: float) -> float:
        """More prompts, until the width is that of nearly all studies, not only that of the mean one."""
        for _ in range(MOST_ROUNDS):
            units = int(np.ceil(prompts / design))
            gains, halves, lefts, _ = zip(*(self._study(kappa, units, samples, t) for t in range(TRIALS)), strict=True)
            width = np.hypot(np.quantile(halves, MOST_WIDTHS) / math.sqrt(units), np.mean(lefts)) / np.mean(gains)
            if width <= TOLERANCE * self.half_width:
                break
            prompts = np.ceil(prompts * min(max((width / self.half_width) ** 2, 1.2), 2.0))
        return float(prompts)

    def _grid(self, fewest: int) -> Iterator[int]:
        samples = fewest
        while True:
            yield samples
            if samples * GROWTH > max(self.most, fewest):
                return
            samples = int(np.ceil(samples * GROWTH))

    def _study(self, kappa: float, prompts: int, samples: int, trial: int) -> tuple[float, float, float, str]:
        """Gain of one drawn study, half-width of its interval as for one prompt, bound of the bias, and the verdict."""
        rng = np.random.default_rng((self.seed, samples, trial))
        drawn, laws = self.pilot.draw(min(prompts, MOST_DRAWN), samples, rng)
        points = CorrectedCurve(drawn, budget=self.budget, seed=self.seed, pool=laws).at(np.array([kappa]))
        values = points.values[..., :1]
        if prompts > len(drawn) and isinstance(self.pilot, Pilot):
            # Skewness adds less to the intervals of larger studies, which have further prompts with wider spreads.
            power = self.pilot.varied * (2 if self.budget == "average" else 1)  # gains grow with the variance
            values = values[rng.integers(0, len(values), prompts)]
            values = values * np.exp(power * rng.standard_normal(prompts))[:, None, None]
        boot = PromptBootstrap(len(values), replicates=REPLICATES, seed=self.seed, level=self.level)
        verdict = judge_points(drawn, points, pool=laws, widened=True)
        left = remaining(points.levels, points.correction.factor, verdict.ess)[:, :1]
        low, high = limit_interval(boot, values, 0 * left)
        half = float((high - low).ravel()[0]) / 2
        return float(values.mean()), half * math.sqrt(len(values)), float(left[0, 0]), str(verdict.reason[0])

    def _prompts(self, kappa: float, samples: int, design: float) -> int:
        """Prompts for the width, from one study of many drawn prompts, without the bound of the bias."""
        gain, half, _, _ = self._study(kappa, MOST_DRAWN, samples, TRIALS)
        if not np.isfinite(gain) or gain <= 0:
            return FEWEST_PROMPTS
        return max(int(np.ceil(design * (half / (self.half_width * gain)) ** 2)), FEWEST_PROMPTS)

    def _try(self, kappa: float, prompts: int, samples: int) -> Try:
        """Whether enough studies of this size are reliable, and the prompts that the width needs."""
        studies: list[tuple[float, float, float, str]] = []
        for trial in range(TRIALS):
            studies.append(self._study(kappa, prompts, samples, trial))
            if sum(why != "" for *_, why in studies) > MOST_REFUSED:
                return Try(np.nan, np.nan, studies[-1][-1])
        gain, left = (float(np.mean([s[i] for s in studies])) for i in (0, 2))
        half = float(np.mean([s[1] for s in studies]))
        room = (self.half_width * gain) ** 2 - left**2
        if not room > (self.half_width * gain) ** 2 / 4:
            return Try(np.inf, np.nan, f"the bound of the remaining bias, ±{left / gain:.1%}, is too wide")
        return Try(half**2 / room, np.mean([why == "" for *_, why in studies]).item(), "")
