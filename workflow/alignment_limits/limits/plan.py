"""How many prompts and samples a study needs for given KLs and interval widths, from a pilot study.

Sizes are tried: studies of each size are drawn from the pilot, estimated, and judged by the same verdict as a real
study.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from alignment_limits.ensembles.scores import Array, Columns, Words, check_scores
from alignment_limits.errors import EstimateError
from alignment_limits.limits.bootstrap import PromptBootstrap, normal_quantile
from alignment_limits.limits.curve import CorrectedCurve
from alignment_limits.limits.means import SAMPLES_PER_DRAW
from alignment_limits.limits.pilots import MARGIN, REPLICATES, Pilot, PooledPilot, Trial
from alignment_limits.limits.reliability import FEWEST_PROMPTS, FEWEST_SAMPLES
from alignment_limits.limits.samples import Pool
from alignment_limits.limits.sequential import BEYOND, next_step
from alignment_limits.limits.tails import HEAVY_TAIL, tail_ratio

ROUGH = "a rough figure: each prompt of the pilot has only"
HEAVY = "heavy upper tail: intervals would be too short with any number of prompts"
WHAT = {"pool": "samples of the base and of each pooled law", "tempered": "particles of tempered sampling"}
BASE_REPLIES, MOVES, SHARE = 64, 4, 0.9  # of tempered sampling: replies of the base, and the defaults of its levels
REDRAWN = 0.55  # of a reply's tokens, by one move
MOST_POOLED = 4.0  # the same of pooled samples, which are drawn again beyond those of the pilot
MOST_GROWTH = 16.0  # times the pilot's samples: the largest size tried


@dataclass(frozen=True, repr=False)
class Plan(Columns):
    """What a study needs: one row for each KL, equal 1-D arrays.

    Attributes:
        kl: budget in nats.
        gain: of the pilot at that KL.
        half_width: relative half-width of the pilot's own interval.
        prompts: needed for the given half-width, with the interval `prompts_low` to `prompts_high`.
        samples: per prompt, for a reliable verdict at this KL; of each law where `samples_from` is "pool"; particles of
            tempered sampling where it is "tempered".
        samples_from: "base", or "pool" or "tempered" where these need fewer replies, or show the KL at all.
        replies: to be sampled in all, the number that is compared; new ends of replies are counted by their tokens.
        accepted: share of studies of this size, drawn from the pilot, that are reliable; NaN for tempered sampling, of
            which no study can be drawn from a pilot.
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
                what = WHAT.get(laws, "samples")
                need = f"{_two_digits(prompts)} prompts ({ends}) × {_two_digits(samples)} {what}"
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
    particles: int = 0,
) -> Plan:
    """Prompts and samples per prompt for an interval of ± `half_width` of the limit at each KL.

    The search for samples starts at the largest of 16, 16 n and 4 e^KL (quarters of them must reach the KL). The answer
    is 1.5 times the first number for which 19 of 20 studies drawn from the pilot are reliable, and for which the bound
    of the remaining bias leaves room for the width. The number of prompts is that with which nearly all
    of these studies have the width.

    Args:
        pilot: scores (prompts, samples) of a small study with similar prompts, at least 16 × 16.
        kls: budgets in nats.
        half_width: relative half-width of the interval.
        most_draws: largest n of best-of-n to compare with the limit (needs 16 n samples).
        budget, level, seed, keys, clusters: as for `frontier`. With clusters, `prompts` is a number of clusters.
        pool: laws of the pilot's samples, if some are of policies. Then a row is from the base or from the pool,
            whichever needs fewer replies.
        particles: of tempered sampling, which then is proposed where it needs fewer replies; 0: it is not possible, as
            the base model cannot be sampled.

    Returns:
        One row for each KL.

    Raises:
        EstimateError: the pilot is too small, or a setting is impossible.

    Example:
        >>> pilot = np.random.default_rng(0).normal(size=(64, 64))
        >>> print(*plan(pilot, [0.5], half_width=0.02).lines())
        KL 0.5: 190 prompts (130 to 290) × 36 samples

    References:
        Our choice; docs/theory.md, "Intervals and reliability"; docs/estimators.md.
    """
    scores = check_scores(pilot, "pilot")
    base = scores if pool is None else pool.base_only(scores)
    more = (half_width, most_draws, budget, level, seed, keys, clusters)
    found = _plan(base, kls, None, *more)
    if pool is not None:
        found = cheapest(found, _plan(scores, kls, pool, *more))
    if particles and budget == "average":
        boot = PromptBootstrap(len(base), replicates=REPLICATES, seed=seed, level=level, keys=keys, clusters=clusters)
        found = cheapest(
            found, _tempered(found, CorrectedCurve(base, seed=seed, keys=keys), base, boot, half_width, particles)
        )
    return found


def _tempered(
    known: Plan, curve: CorrectedCurve, base: Array, boot: PromptBootstrap, half_width: float, particles: int
) -> Plan:
    """The same KLs by tempered sampling.

    The relative spread of the prompts is that at the largest KL up to half of log M. There are as many levels as steps
    lead to the λ of the KL, which grows with its root.
    """
    room = float(np.median(np.sum(~np.isnan(base), axis=1)))
    shown = np.minimum(known.kl, np.log(room) / 2)
    points = curve.at(shown)
    step = next_step(_of_equal_counts(base[curve.enough]), SHARE)
    values = points.values[..., 0]
    gain, z = values.mean(axis=0), normal_quantile(boot.level)
    error, doubt = _spread(values, boot)
    with np.errstate(divide="ignore", invalid="ignore"):
        prompts = len(base) * (z * error / (half_width * gain)) ** 2
        levels = np.ceil(np.sqrt(BEYOND * known.kl / shown) / points.beta / step)
    possible = (points.reached == 3) & np.isfinite(levels) & (levels > 0) & (gain > 0)
    prompts = np.where(possible, np.maximum(np.ceil(prompts), 2 * FEWEST_PROMPTS), np.nan)
    off = np.exp(z * doubt)
    each = BASE_REPLIES + 1.5 * particles * levels * MOVES * REDRAWN  # the second run has half the particles
    return Plan(
        kl=known.kl,
        gain=known.gain,
        half_width=known.half_width,
        prompts=prompts,
        prompts_low=np.maximum(prompts / off, FEWEST_PROMPTS),
        prompts_high=np.maximum(prompts * off, FEWEST_PROMPTS),
        samples=np.full(len(prompts), float(particles)),
        samples_from=np.full(len(prompts), "tempered", dtype=object),
        replies=prompts * each,
        accepted=np.full(len(prompts), np.nan),
        reason=np.array([f"about {n:.0f} levels" for n in levels], dtype=object),
    )


def _of_equal_counts(scores: Array) -> Array:
    """The first samples of each prompt, as many as all prompts have."""
    missing = np.isnan(scores)
    first = np.take_along_axis(scores, np.argsort(missing, axis=1, kind="stable"), axis=1)
    return first[:, : int((~missing).sum(axis=1).min(initial=scores.shape[1]))]


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
    trial = Trial(pilot, budget, level, half_width, seed, most)
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
    per_prompt = np.array(samples_, dtype=np.float64)
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


def cheapest(one: Plan, other: Plan) -> Plan:
    """At each KL the plan that needs fewer replies; the first where neither has an answer."""
    better = np.where(np.isnan(one.replies), np.isfinite(other.replies), other.replies < one.replies)
    return Plan(**{name: np.where(better, getattr(other, name), getattr(one, name)) for name in Plan.names()})


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
