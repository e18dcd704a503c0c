"""How many prompts, and samples of each, a study needs: from a pilot, for given KLs and interval width.

Sizes are tried, not derived: studies of a size are drawn from the pilot, estimated, and judged by the very verdict that
the study will meet.
"""

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
from alignment_limits.limits.reliability import FEWEST_PROMPTS, FEWEST_SAMPLES, HEAVY_TAIL, tail_ratio

DISCRETE = 0.5  # share of tied samples from which on a prompt's law is taken to be its levels


@dataclass(frozen=True)
class Pilot:
    """A small study from which larger ones are drawn.

    A prompt's law is stood in for by its own samples. Where more are wanted than it has: by its levels, if its scores
    tie; else by the residuals of all untied prompts in units of their spread, as its own end at its largest.

    Attributes:
        scores: (P, M); NaN marks a missing sample.
        discrete: which prompts have tied scores (P,).
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

    def draw(self, prompts: int, samples: int, rng: np.random.Generator) -> Array:
        """One study of prompts drawn with replacement, (prompts, samples)."""
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
        return out


HEAVY = "heavy upper tail: intervals fall short with any number of prompts"
TRIALS, MOST_REFUSED = 20, 1  # studies drawn of each size; a size is taken if at most so many are refused
GROWTH, MARGIN = 1.25, 1.5  # from one number of samples to the next; from the first that does to the answer
MOST_GROWTH = 16.0  # times the pilot's samples: nothing is said beyond
FEW_PROMPTS = 64  # where fewer would do for the width, twice as many are tried before more samples
MOST_DRAWN = 384  # prompts of a study that is drawn, which stand for more: a verdict is steadier with more of them


@dataclass(frozen=True, repr=False)
class Plan(Columns):
    """What a study needs: one row for each KL, equal 1-D arrays.

    Attributes:
        kl: budget in nats.
        gain: of the pilot at that KL.
        half_width: relative half-width of the interval that the pilot itself reaches.
        prompts: needed for the half-width asked for; `prompts_low` and `prompts_high` say how well the pilot knows it.
        samples: per prompt, for a reliable verdict at this KL.
        accepted: share of the studies of this size, drawn from the pilot, that the verdict accepts.
        reason: what sets `samples`, or why there is no answer (then prompts is NaN, and samples a lower bound).
    """

    shown = ("kl", "prompts", "samples")

    kl: Array
    gain: Array
    half_width: Array
    prompts: Array
    prompts_low: Array
    prompts_high: Array
    samples: Array
    accepted: Array
    reason: Words

    def lines(self) -> list[str]:
        """One line per KL: sizes rounded up to two digits (pilots know no more of them), or why there are none."""
        out = []
        for kl, prompts, low, high, samples, why in zip(
            self.kl, self.prompts, self.prompts_low, self.prompts_high, self.samples, self.reason, strict=True
        ):
            need = why
            if prompts > 0:
                ends = f"{_two_digits(low)} to {_two_digits(high)}"
                need = f"{_two_digits(prompts)} prompts ({ends}) × {_two_digits(samples)} samples"
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
) -> Plan:
    """Prompts and samples per prompt for an interval of ± `half_width` of the limit at each KL.

    Samples go from 16, 16 n and 4 e^KL (quarters of them must show the KL) upwards, to half as many again as the
    first number with which 19 of 20 studies drawn from the pilot are reliable. Prompts are
    (z sd / (half_width gain))², sd the spread of the prompts' contributions at that number of samples.

    Args:
        pilot: scores (prompts, samples) of a small study of such prompts, at least 16 × 16.
        kls: budgets in nats.
        half_width: relative half-width of the interval.
        most_draws: largest n of best-of-n to be compared with the limit (needs 16 n samples).
        budget, level, seed, keys, clusters: as for `frontier`. With clusters, `prompts` is a number of clusters.

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
    kappa = np.atleast_1d(np.asarray(kls, dtype=np.float64))
    room = int(np.median(np.sum(~np.isnan(scores), axis=1)))
    if len(scores) < FEWEST_PROMPTS or room < FEWEST_SAMPLES:
        raise EstimateError(
            f"A pilot of {len(scores)} prompts x {room} samples cannot plan a study; it needs {FEWEST_PROMPTS} x "
            f"{FEWEST_SAMPLES} or more."
        )
    if not half_width > 0:
        raise EstimateError(f"half_width {half_width} must be positive.")
    points = CorrectedCurve(scores, budget=budget, seed=seed, keys=keys).at(kappa)
    values = points.values[..., 0]
    gain = values.mean(axis=0)
    boot = PromptBootstrap(len(scores), replicates=100, seed=seed, keys=keys, clusters=clusters)
    error, doubt = _spread(values, boot)
    z = normal_quantile(level)
    heavy = tail_ratio(scores) > HEAVY_TAIL
    order = np.arange(len(scores)) if keys is None else np.argsort(np.asarray(keys), kind="stable")
    trial = _Trial(Pilot.of(scores[order]), budget, z, half_width, seed, room)
    rows = []
    for j, each in enumerate(kappa):
        floor = {
            f"best-of-{most_draws} against the limit": SAMPLES_PER_DRAW * most_draws,
            "quarters of the samples must show this KL": int(np.ceil(4.0 * np.exp(each))),
            "the fewest any estimate needs": FEWEST_SAMPLES,
        }
        cause = max(floor, key=lambda name: floor[name])
        shown = not heavy and points.reached[j] == 3 and np.isfinite(gain[j]) and gain[j] > 0
        if not shown:
            why = HEAVY if heavy else f"the pilot's {room} samples cannot show this KL"
            rows.append((np.nan, np.nan, np.nan, float(floor[cause]), np.nan, why))
            continue
        design = float(error[j] ** 2 * len(scores) / max(values[:, j].var(ddof=1), 1e-300)) if boot.clusters else 1.0
        needed, samples, accepted, why = trial.sizes(float(each), floor[cause], design)
        off = np.exp(z * doubt[j])
        ends = max(needed / off, FEWEST_PROMPTS), max(needed * off, FEWEST_PROMPTS)
        rows.append((needed, *(ends if np.isfinite(needed) else (np.nan, np.nan)), samples, accepted, why or cause))
    prompts, low, high, samples_, accepted_, reason = zip(*rows, strict=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        reached = z * error / gain
    return Plan(
        kl=kappa,
        gain=gain,
        half_width=reached,
        prompts=np.array(prompts),
        prompts_low=np.array(low),
        prompts_high=np.array(high),
        samples=_rising(kappa, np.array(samples_, dtype=np.float64)),
        accepted=np.array(accepted_),
        reason=np.array(reason, dtype=object),
    )


def _rising(kappa: Array, samples: Array) -> Array:
    """No fewer samples at a larger KL than at a smaller one: each is known to a step or two of the grid."""
    order = np.argsort(kappa, kind="stable")
    out = np.empty_like(samples)
    out[order] = np.maximum.accumulate(samples[order])
    return out


def _spread(values: Array, boot: PromptBootstrap) -> tuple[Array, Array]:
    """Standard error of the mean of values (P, K), and that of the log of its square by the mean's: (K,) each."""
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
    """Sizes tried on studies drawn from the pilot, whose prompts have `room` samples."""

    pilot: Pilot
    budget: str
    z: float
    half_width: float
    seed: int
    room: int

    def sizes(self, kappa: float, fewest: int, design: float) -> tuple[float, float, float, str]:
        """Prompts, samples, share accepted, and why it is not the fewest samples; NaN prompts where no size will do."""
        refused = ""
        needed = self._prompts(kappa, fewest, design)  # falls a little with more samples; learnt again at the end
        for samples in self._grid(fewest):
            for times in (1, 2) if needed < FEW_PROMPTS else (1,):
                accepted, why = self._accepted(kappa, times * needed, samples)
                if why == "":
                    # More than just enough: 20 studies know their share of refusals to 5 % only, and the first size
                    # of several that does is a lucky one.
                    more = int(np.ceil(samples * MARGIN)) if refused else samples
                    prompts = times * self._prompts(kappa, more, design)
                    return float(prompts), float(more), accepted, refused and f"with fewer samples: {refused}"
                refused = why
        return np.nan, float(samples), np.nan, f"no number of samples up to {samples} will do: {refused}"

    def _grid(self, fewest: int) -> Iterator[int]:
        samples = fewest
        while True:
            yield samples
            if samples * GROWTH > max(MOST_GROWTH * self.room, fewest):
                return
            samples = int(np.ceil(samples * GROWTH))

    def _points(self, kappa: float, prompts: int, samples: int, trial: int) -> tuple[Array, str]:
        """Contributions (prompts,) of one study drawn, and why it would be refused."""
        drawn = self.pilot.draw(min(prompts, MOST_DRAWN), samples, np.random.default_rng((self.seed, samples, trial)))
        points = CorrectedCurve(drawn, budget=self.budget, seed=self.seed).at(np.array([kappa]))
        values = points.values[:, 0, 0]
        width = 2 * self.z * values.std(ddof=1) / np.sqrt(prompts)
        return values, str(judge_points(drawn, points, np.array([width])).reason[0])

    def _prompts(self, kappa: float, samples: int, design: float) -> int:
        """For the width, from the spread over many prompts drawn."""
        values, _ = self._points(kappa, MOST_DRAWN, samples, TRIALS)
        gain, variance = values.mean(), values.var(ddof=1)
        if not np.isfinite(gain) or gain <= 0:
            return FEWEST_PROMPTS
        return max(int(np.ceil(design * variance * (self.z / (self.half_width * gain)) ** 2)), FEWEST_PROMPTS)

    def _accepted(self, kappa: float, prompts: int, samples: int) -> tuple[float, str]:
        """Share of studies that the verdict accepts, and the last refusal where too many are refused."""
        refusals = 0
        for trial in range(TRIALS):
            why = self._points(kappa, prompts, samples, trial)[1]
            refusals += why != ""
            if refusals > MOST_REFUSED:
                return np.nan, why
        return 1 - refusals / TRIALS, ""
