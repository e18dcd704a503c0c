"""The limit of a reward under a constraint on others, and the limit of the worst of several rewards.

With h(z) the largest gain of the weighted reward z·r within a KL budget (a limit like any other, with the tilt by z·r),

    max g_r  such that g_f ≤ c       = min over μ ≥ 0 of μ c + h(r − μ f),
    max over policies of min_i g_i   = min over weights w, which sum to 1, of h(w).

Both hold because h is convex in z, and its slope in z is the gains of the tilt. At the minimum, g_f = c or μ = 0, and
all golds of weight above 0 gain equally. A small error of the minimum changes the value by its square only. So the
value is the corrected limit of one reward, and has its interval and its verdict. See docs/theory.md, "Several golds".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize

from alignment_limits.ensembles.scores import Array, Columns, Flags, Words, prompt_means, within_prompt_sd
from alignment_limits.errors import EstimateError
from alignment_limits.limits.bootstrap import PromptBootstrap, limit_interval
from alignment_limits.limits.correction import remaining
from alignment_limits.limits.curve import CorrectedCurve, CurvePoints, judge_points
from alignment_limits.limits.samples import Deal
from alignment_limits.tradeoffs.several_golds import check_golds, weighted

WORST = "worst of all"
ABOVE = "this gold gains more than the worst: its interval lacks the error of the weights"
LARGEST = 1e3  # multiplier of a constraint, in units of spread: beyond it no policy keeps the constraint
ROUNDS = 2  # of minimisation, each with the bias correction of the one before
SLACK = 1e-6  # of a multiplier or weight, in units of spread: below it, it is 0


@dataclass(frozen=True, repr=False)
class CompromiseTable(Columns):
    """Limits under a constraint, or of the worst of several golds, as equal 1-D arrays.

    Attributes:
        kind: "constraint" or "worst".
        budget: "average" or "per-prompt".
        kl: nats per sequence, mean over prompts.
        at_most: the largest change of the constrained reward that is allowed; NaN without a constraint, and for the
            optimized reward if there are several.
        evaluated: the reward, or "worst of all".
        weight: in the reward that the best policy tilts by: of a gold its weight, of a constrained reward −μ. The
            limit rises by μ for each unit that `at_most` rises.
        gain: E_π v − E_{π₀} v of the best policy, in units of the reward.
        alone: the largest gain of this reward at this KL without constraint or other golds.
        price: alone − gain.
        reliable, reason: the verdict on the gain, and why it is not reliable ("" if it is).

    Intervals are `*_low` and `*_high`. The gain of a constrained reward at its bound is given, not estimated. A gold of
    weight 0 gains more than the worst; its interval covers in 90 % of studies, so it is not reliable.
    """

    shown = ("kl", "gain")

    kind: Words
    budget: Words
    kl: Array
    at_most: Array
    evaluated: Words
    weight: Array
    gain: Array
    gain_low: Array
    gain_high: Array
    alone: Array
    price: Array
    price_low: Array
    price_high: Array
    reliable: Flags
    reason: Words


class Support:
    """The largest gain of z·r within a KL budget, for any z, with all rewards' gains. One deal of the samples is used.

    Args:
        rewards: checked scores by name, each (prompts, samples).
        budget, seed, keys: as for `CorrectedCurve`.
    """

    def __init__(self, rewards: Mapping[str, Array], *, budget: str, seed: int, keys: np.ndarray | None) -> None:
        self.rewards, self.budget, self.seed, self.keys = rewards, budget, seed, keys
        self.spread = np.array([within_prompt_sd(each) or 1.0 for each in rewards.values()])
        self.dealt: Deal | None = None

    def at(self, z: Array, kappa: ArrayLike, *, fast: bool = False) -> tuple[Array, CurvePoints]:
        """The scores z·r (P, M), and the curve's points at `kappa`; reward i + 1 of the points is reward i.

        `fast`: with one random split for the correction, which is enough to find z.
        """
        combined = weighted(self.rewards, z)
        rewards = list(self.rewards.values())
        more: dict[str, Any] = {"budget": self.budget, "seed": self.seed, "keys": self.keys}
        dealt = replace(self.dealt, splits=1) if fast and self.dealt else self.dealt
        curve = CorrectedCurve(combined, rewards, dealt=dealt, **more)
        self.dealt = self.dealt or curve.deal
        return combined, curve.at(np.atleast_1d(np.asarray(kappa, dtype=np.float64)))

    def gains(self, z: Array, kappa: float, factor: float | None) -> tuple[Array, float]:
        """Corrected gains of all rewards (R,) with a given factor of the correction, or with its own; and the factor.

        With one factor they are exactly the slope of z · gains in z.
        """
        points = self.at(z, kappa, fast=True)[1]
        full, half = points.levels[0, 0, 1:], points.levels[1, 0, 1:]
        own = float(points.correction.factor[0]) if factor is None else factor
        return full + np.where(np.isnan(half), 0.0, own * (full - half)), own


def constrained_limit(
    optimized: Mapping[str, ArrayLike],
    constrained: Mapping[str, ArrayLike],
    at_most: Mapping[str, float],
    kls: ArrayLike,
    *,
    budget: str = "average",
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    keys: np.ndarray | None = None,
    clusters: ArrayLike | None = None,
) -> CompromiseTable:
    """The largest gain at each KL of policies that change other rewards by at most a given amount.

    Args:
        optimized: the reward by its name: {name: scores (prompts, samples)}.
        constrained: the rewards to keep low, by name; for one to keep high, give its negative.
        at_most: the largest change from the base of each, E_π f − E_{π₀} f, in its units; 0: no more than the base has.
            It is a mean over prompts.
        kls: budgets in nats.
        budget, replicates, seed, level, keys, clusters: as for `frontier`.

    Returns:
        For each KL a row of the optimized reward and one of each constrained reward.

    Raises:
        EstimateError: scores that cannot be used, or a bound of a reward that is not there.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> helpful, noise = rng.normal(size=(2, 200, 64))
        >>> harm = 0.6 * helpful + 0.8 * noise
        >>> table = constrained_limit({"helpful": helpful}, {"harm": harm}, {"harm": 0.0}, [0.5])
        >>> [(row["evaluated"], round(row["gain"], 1)) for row in table]  # 0.8 of the unconstrained limit, which is 1
        [('helpful', 0.8), ('harm', 0.0)]

    References:
        docs/theory.md, "Several golds".
    """
    if len(optimized) != 1:
        raise EstimateError(f"Give one reward to optimise, not {len(optimized)} ({', '.join(optimized)}).")
    if set(at_most) != set(constrained) or not all(np.isfinite(list(at_most.values()))):
        raise EstimateError(f"Give each of {', '.join(constrained)} one finite bound; got {dict(at_most)}.")
    if both := set(optimized) & set(constrained):
        raise EstimateError(f"'{both.pop()}' is optimised and constrained: remove it from one of the two.")
    rewards = check_golds({**optimized, **constrained}, None)
    bounds = np.array([at_most[name] for name in constrained])
    draws: dict[str, Any] = {"replicates": replicates, "seed": seed, "level": level, "keys": keys, "clusters": clusters}
    return _Problem(rewards, bounds, False, budget, draws).table(kls)


def worst_case_limit(
    golds: Mapping[str, ArrayLike],
    kls: ArrayLike,
    *,
    budget: str = "average",
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    keys: np.ndarray | None = None,
    clusters: ArrayLike | None = None,
) -> CompromiseTable:
    """The largest gain at each KL that a policy can have in every one of 2 to 4 golds.

    Args:
        golds: scores by name, each (prompts, samples); their gains are compared in the units given.
        kls: budgets in nats.
        budget, replicates, seed, level, keys, clusters: as for `frontier`.

    Returns:
        For each KL a row of each gold under this policy, and the row "worst of all".

    Raises:
        EstimateError: scores that cannot be used.

    Example:
        >>> a, b = np.random.default_rng(0).normal(size=(2, 200, 64))
        >>> table = worst_case_limit({"a": a, "b": b}, [0.5])
        >>> [(row["evaluated"], round(row["gain"], 1)) for row in table]  # 1/√2 of the limit of each alone
        [('a', 0.7), ('b', 0.7), ('worst of all', 0.7)]

    References:
        docs/theory.md, "Several golds".
    """
    draws: dict[str, Any] = {"replicates": replicates, "seed": seed, "level": level, "keys": keys, "clusters": clusters}
    return _Problem(check_golds(golds), np.empty(0), True, budget, draws).table(kls)


class _Problem:
    """min over weights and multipliers of μ·c + h(weights, −μ): the last len(bounds) rewards are constrained."""

    def __init__(
        self, rewards: dict[str, Array], bounds: Array, worst: bool, budget: str, draws: dict[str, Any]
    ) -> None:
        self.rewards, self.bounds, self.worst, self.budget = rewards, bounds, worst, budget
        self.names = list(rewards)
        self.golds = len(rewards) - len(bounds)
        self.boot = PromptBootstrap(len(rewards[self.names[0]]), **draws)
        self.support = Support(rewards, budget=budget, seed=draws["seed"], keys=draws["keys"])
        unit = self.support.spread
        self.unit = unit[0] / unit[self.golds :]  # of multipliers

    def table(self, kls: ArrayLike) -> CompromiseTable:
        kappa = np.atleast_1d(np.asarray(kls, dtype=np.float64))
        axes = np.eye(len(self.names))
        alone = [self.support.at(axes[i], kappa)[1].values[..., 1 + i] for i in range(self.golds)]
        least = [self._least(axes[i], kappa) for i in range(self.golds, len(self.names))]
        rows = [row for k, each in enumerate(kappa) for row in self._rows(each, k, alone, least)]
        types = {name: object if isinstance(rows[0][name], str) else None for name in rows[0]}
        return CompromiseTable(**{n: np.array([r[n] for r in rows], dtype=types[n]) for n in CompromiseTable.names()})

    def _least(self, axis: Array, kappa: Array) -> tuple[Array, Array]:
        """Interval of the least possible change of a constrained reward at each KL (K,)."""
        scores, points = self.support.at(-axis, kappa)
        low, high = limit_interval(self.boot, points.values[..., 0], np.zeros(len(kappa)))
        best = np.nanmax(scores, axis=1) - prompt_means(scores)  # beyond the largest KL, all replies are the least
        ends = self.boot.interval(np.repeat(best[:, None], len(kappa), axis=1))
        beyond = points.reached == 0
        return -np.where(beyond, ends[1], high), -np.where(beyond, ends[0], low)

    def _direction(self, x: Array) -> Array:
        """z of the free variables: weights of all golds (if the worst counts), then multipliers in units of spread."""
        w = x[: self.golds] if self.worst else np.ones(1)
        return np.concatenate([w, -x[len(x) - len(self.bounds) :] * self.unit])

    def _solve(self, kappa: float) -> Array:
        """The direction (R,) at the minimum; NaN where the samples do not reach this KL."""
        free = (self.golds if self.worst else 0) + len(self.bounds)
        x = np.concatenate([np.full(free - len(self.bounds), 1 / self.golds), np.zeros(len(self.bounds))])
        factor: float | None = None
        scale = float(self.support.spread[: self.golds].max())
        limits = [(0.0, 1.0)] * (free - len(self.bounds)) + [(0.0, LARGEST)] * len(self.bounds)
        sums = {"type": "eq", "fun": lambda x: x[: self.golds].sum() - 1, "jac": lambda x: np.ones(len(x))}

        def value(x: Array) -> tuple[float, Array]:
            z = self._direction(x)
            gains, _ = self.support.gains(z, kappa, factor)
            price = -z[self.golds :]
            slope = np.concatenate(
                [gains[: self.golds] if self.worst else [], (self.bounds - gains[self.golds :]) * self.unit]
            )
            return float(z @ gains + price @ self.bounds) / scale, slope / scale

        for _ in range(ROUNDS):
            gains, factor = self.support.gains(self._direction(x), kappa, None)
            if not np.isfinite(gains).all():
                return np.full(len(self.names), np.nan)
            more = {"constraints": [sums]} if self.worst else {}
            x = minimize(
                value, x, jac=True, bounds=limits, method="SLSQP", options={"ftol": 1e-8, "maxiter": 40}, **more
            ).x
            if not np.isfinite(x).all():
                return np.full(len(self.names), np.nan)
        return self._direction(np.where(np.abs(x) < SLACK, 0.0, x))

    def _rows(
        self, kappa: float, k: int, alone: Sequence[Array], least: Sequence[tuple[Array, Array]]
    ) -> list[dict[str, Any]]:
        wrong = ""
        for name, bound, (low, high) in zip(self.names[self.golds :], self.bounds, least, strict=True):
            change = f"a policy within this KL changes '{name}' by {bound:g} or less"
            if bound <= high[k]:
                possible = f"the least is {low[k]:.3g} to {high[k]:.3g}"
                wrong = (
                    f"no {change[2:]} ({possible})"
                    if bound < low[k]
                    else f"it is not clear whether {change} ({possible})"
                )
        z = self._solve(kappa)
        if not np.isfinite(z).all():
            z, wrong = (
                np.where(np.arange(len(z)) < self.golds, 1.0, 0.0),
                wrong or "beyond the largest KL these samples show",
            )
        combined, points = self.support.at(z, kappa)
        verdict = judge_points(combined, points, clusters=self.boot.clusters, widened=True)
        left = remaining(points.levels, points.correction.factor, verdict.ess)[:, 0]
        value = points.values[:, 0, 0] - z[self.golds :] @ self.bounds
        reason = wrong or str(verdict.reason[0])
        impossible = wrong != ""
        rows = []
        for i, name in enumerate(self.names):
            given = i >= self.golds and z[i] != 0 and not impossible
            bound = i < self.golds and (z[i] != 0 or not self.worst)
            each = value if bound else points.values[:, 0, 1 + i]
            rows.append(self._row(name, kappa, z[i], each, left if bound else 0 * left, reason, impossible))
            if i >= self.golds:
                c = self.bounds[i - self.golds]
                rows[-1] |= {"at_most": c} | (dict.fromkeys(("gain", "gain_low", "gain_high"), c) if given else {})
            elif not bound and not reason:
                rows[-1] |= {"reliable": False, "reason": ABOVE}
            if i < self.golds:
                own = alone[i][:, k]
                low, high = self.boot.interval((own - each)[:, None])
                price = {"alone": own.mean(), "price": (own - each).mean(), "price_low": low[0], "price_high": high[0]}
                rows[-1] |= price if not impossible else {"alone": own.mean()}
        if self.worst:
            rows.append(self._row(WORST, kappa, np.nan, value, left, reason, impossible))
        return rows

    def _row(
        self, name: str, kappa: float, weight: float, values: Array, left: Array, reason: str, impossible: bool
    ) -> dict[str, Any]:
        low, high = limit_interval(self.boot, values[:, None], left)
        gain, ends = (np.nan, (np.nan, np.nan)) if impossible else (values.mean(), (low[0], high[0]))
        nothing = dict.fromkeys(("alone", "price", "price_low", "price_high"), np.nan)
        return nothing | {
            "kind": "worst" if self.worst else "constraint", "budget": self.budget, "kl": kappa,
            "at_most": self.bounds[0] if len(self.bounds) == 1 else np.nan, "evaluated": name, "weight": weight,
            "gain": gain, "gain_low": ends[0], "gain_high": ends[1], "reliable": reason == "", "reason": reason,
        }  # fmt: skip
