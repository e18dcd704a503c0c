"""What the counts of successes say about the law of pass rates, without any assumption on that law.

Prompt x passes with probability p_x, and c_x of its m_x samples passed. Only c_x is seen, so the law G of p_x over
prompts has the likelihood

    l(G) = sum_x log E_{p ~ G} Binomial(c_x; m_x, p).

The range of a mean E_G f(p) over all laws G with 2 (max l - l(G)) below the quantile of a chi-squared is its
profile-likelihood interval (Murphy and van der Vaart, 2000, without a model of G). It contains the error of the finite
number of prompts, the error of each count, and what the counts cannot show: prompts that had no success may never pass,
or pass once in some hundred draws. Ends of the interval are convex programs in the weights of G on a grid. They are
solved by a primal-dual interior-point method (Nocedal and Wright, Numerical Optimization, 19).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy
from numpy.typing import NDArray

from alignment_limits.ensembles.scores import Array, splitmix
from alignment_limits.limits.bootstrap import student_quantile

FINEST = 4.0  # points of the grid per standard error of a pass rate (on the scale of the arcsine of its root)
DECADES, PER_DECADE = 12, 4  # of the grid below 1 / (2 m): such pass rates look alike, but their limits do not
MOST_SAMPLES = 4096  # of a prompt that are used
MOST_CELLS = 600  # different pairs (successes, samples); above it some samples are not used
THINNING = 1.15  # ratio of neighbouring numbers of samples then
BARTLETT = 4.0  # 32 prompts of Beta(.05, 1), pass@8, 1,200 studies: 93.6 % covered without it, 94.8 % with it
TOWARDS_ZERO = 0.5  # nats of likelihood at most by which pass rates above 0 must explain the data better than 0
STEPS = 60
GAP, SMALLEST_GAP, CLOSE = 1e-5, 1e-13, 1e-7  # of the mean, of the products of multipliers, of constraints


def grid_of(most: int) -> Array:
    """Pass rates (G,) on which a law is represented: 0, 1, and points as close as `most` samples can tell apart."""
    step = 1 / (2 * FINEST * np.sqrt(most) / 2)
    angles = np.linspace(0, np.pi / 2, int(np.ceil(np.pi / 2 / step)) + 1)
    body = np.sin(angles) ** 2
    tiny = np.geomspace(0.5 / most * 10.0**-DECADES, 0.5 / most, DECADES * PER_DECADE + 1)
    return np.unique(np.concatenate([[0.0], tiny, body[body > 0.55 / most], 1 - tiny[::PER_DECADE], [1.0]]))


@dataclass(frozen=True)
class PassRates:
    """The counts of P prompts, as cells of equal (successes, samples).

    Attributes:
        successes, samples, prompts: of each cell (J,).
        grid: pass rates (G,).
        effect: the variance of a mean over prompts, relative to that of independent prompts; at least 1.
        units: number of independent prompts.
        level: of intervals.
    """

    successes: NDArray[np.int64]
    samples: NDArray[np.int64]
    prompts: NDArray[np.int64]
    grid: Array
    effect: float = 1.0
    units: int = 0
    level: float = 0.95

    @classmethod
    def of(
        cls,
        successes: NDArray[np.int64],
        samples: NDArray[np.int64],
        *,
        effect: float = 1.0,
        units: int | None = None,
        keys: NDArray[np.int64] | None = None,
        level: float = 0.95,
    ) -> "PassRates":
        """From the counts of each prompt (P,); `keys` name the prompts if samples must be left out at random."""
        pairs, number = np.unique(np.stack([successes, samples]), axis=1, return_counts=True)
        if pairs.shape[1] > MOST_CELLS or samples.max() > MOST_SAMPLES:
            names = np.arange(len(samples)) if keys is None else keys
            pairs, number = np.unique(np.stack(thinned(successes, samples, names)), axis=1, return_counts=True)
        units = len(samples) if units is None else units
        return cls(pairs[0], pairs[1], number, grid_of(int(pairs[1].max())), max(effect, 1.0), units, level)

    @cached_property
    def likelihood(self) -> Array:
        """Binomial probabilities of each cell at each pass rate (J, G), over the largest of the cell."""
        c, m = self.successes[:, None], self.samples[:, None]
        logs = scipy.special.xlogy(c, self.grid) + scipy.special.xlog1py(m - c, -self.grid)
        return np.asarray(np.exp(logs - logs.max(axis=1, keepdims=True)))

    def without_success(self) -> Array:
        """Probability that a prompt with each pass rate (G,) has no success, mean over the numbers of samples."""
        m, place = np.unique(self.samples, return_inverse=True)
        share = np.bincount(place, self.prompts) / self.prompts.sum()
        return np.asarray(share @ (1 - self.grid) ** m[:, None])

    def log_likelihood(self, law: Array) -> float:
        """l(G) up to a constant."""
        return float(self.prompts @ np.log(self.likelihood @ law))

    @cached_property
    def law(self) -> Array:
        """Weights (G,) of the law of largest likelihood. What it leaves open counts as a pass rate of 0."""
        return self._solve(np.where(self.grid > 0, -TOWARDS_ZERO, 0.0), None)[0]

    @cached_property
    def _most_likely(self) -> Array:
        return self._solve(np.zeros(len(self.grid)), None)[0]

    @cached_property
    def least(self) -> float:
        """The least likelihood of a law in the interval.

        Of few prompts that are mostly alike, a few others decide, and χ² is too small: Bartlett's factor, 1 + a/units,
        makes up for that, and Student's quantile for the error of a variance.
        """
        square = student_quantile(self.level, max(self.units - 1, 1)) ** 2 * (1 + BARTLETT / max(self.units, 1))
        drop = square / 2 * self.effect
        return self.log_likelihood(self._most_likely) - drop

    def mean(self, values: Array) -> Array:
        """Means of values (..., G) under the law of largest likelihood."""
        return np.asarray(values @ self.law)

    def bound(self, values: Array, sign: int) -> tuple[Array, float]:
        """The law (G,) with the largest (sign 1) or smallest (sign -1) mean of values (G,) in the interval, and a
        number that no such mean exceeds.
        """
        size = float(np.abs(values).max())
        if size == 0:
            return self.law, 0.0
        law, most = self._solve(sign * values / size, self.least)
        return law, sign * size * most

    def interval(self, values: Array) -> tuple[Array, Array]:
        """Intervals of the means of values (K, G): low and high (K,)."""
        low, high = (np.array([self.bound(row, sign)[1] for row in values]) for sign in (-1, 1))
        return low, high

    def _solve(self, values: Array, least: float | None) -> tuple[Array, float]:
        """The law w with the largest `values @ w` among those with l(w) >= least, and a bound of that mean from above.

        Without `least`: the law with the largest values @ w + l(w). Newton steps on the optimality conditions, with
        Mehrotra's correction. z are the multipliers of w >= 0, s is that of the likelihood and `room` its slack. The
        bound follows from the tangent of l at w, so it holds wherever the steps end.
        """
        a, n, size = self.likelihood, self.prompts, len(self.grid)
        total, bounded = float(n.sum()), least is not None
        w = np.full(size, 1 / size)
        if bounded:
            w = (w + self._most_likely) / 2
        s, room, nu = 1 / total if bounded else 1.0, 1.0, 0.0
        z, best = np.full(size, s * (1.0 if bounded else total)), (w, np.inf)
        for _ in range(STEPS):
            g = a @ w
            slope = a.T @ (n / g)
            short = float(n @ np.log(g)) - least - room if least is not None else 0.0
            off, gap = w.sum() - 1, (float(z @ w) + bounded * s * room) / (size + bounded)
            most = float((values + s * slope).max()) - s * total + bounded * s * (short + room)
            if most < best[1] and abs(off) < CLOSE:
                best = w, most
            done = abs(off) < CLOSE and abs(short) < CLOSE * total and most - float(values @ w) < GAP
            if done or gap < SMALLEST_GAP:
                break
            weighted = a * (np.sqrt(s * n) / g)[:, None]
            newton = _Newton(w, z, s, room, values + s * slope - nu, bounded * slope, short, off, weighted)
            dw, dz, ds, droom, _ = newton.step(np.zeros(size), 0.0)
            far = min(_reach(w, dw), _reach(z, dz), _reach(s, ds), _reach(room, droom), 1.0)
            left = float((z + far * dz) @ (w + far * dw)) + bounded * (s + far * ds) * (room + far * droom)
            t = gap * min((left / (size + bounded) / gap) ** 3, 1.0)
            dw, dz, ds, droom, dnu = newton.step(t - dw * dz, t - ds * droom)
            far = min(0.99 * min(_reach(w, dw), _reach(z, dz), _reach(s, ds), _reach(room, droom)), 1.0)
            w, z, s, room, nu = w + far * dw, z + far * dz, s + far * ds, room + far * droom, nu + far * dnu
        return np.asarray(best[0] / best[0].sum()), best[1]


class _Newton:
    """The linear system of one step, factorised once. The steps of the multipliers and of the slack are eliminated."""

    def __init__(
        self,
        w: Array,
        z: Array,
        s: float,
        room: float,
        pull: Array,
        slope: Array,
        short: float,
        off: float,
        rows: Array,
    ) -> None:
        self.w, self.z, self.s, self.room, self.pull, self.slope, self.short = w, z, s, room, pull, slope, short
        self.off, self.root = off, np.sqrt(w / z)
        matrix = np.concatenate([rows, np.sqrt(s / room) * slope[None]]) * self.root
        matrix = matrix.T @ matrix
        matrix[np.diag_indices(len(w))] += 1 + 1e-14 * np.trace(matrix)
        self.factor = scipy.linalg.cho_factor(matrix, check_finite=False, overwrite_a=True)
        self.ones = self._solved(np.ones(len(w)))

    def _solved(self, right: Array) -> Array:
        return self.root * scipy.linalg.cho_solve(self.factor, self.root * right, check_finite=False)

    def step(self, products: Array, product: float) -> tuple[Array, Array, float, float, float]:
        """The step of w, z, s, room and nu towards z w = products and s room = product."""
        by_slack = product / self.room - self.s - self.s / self.room * self.short
        first = self._solved(products / self.w + self.pull + self.slope * by_slack)
        dnu = (self.off + first.sum()) / self.ones.sum()
        dw = first - dnu * self.ones
        droom = float(self.slope @ dw) + self.short
        ds = (product - self.s * self.room - self.s * droom) / self.room if self.slope.any() else 0.0
        return dw, products / self.w - self.z - self.z / self.w * dw, ds, droom, dnu


def _reach(value: Array | float, change: Array | float) -> float:
    """The step at which positive numbers reach 0; inf if they never do."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.min(np.where(np.less(change, 0), -np.divide(value, change), np.inf)))


def thinned(
    successes: NDArray[np.int64], samples: NDArray[np.int64], keys: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Counts (P,) of randomly chosen samples, fewer by at most a factor `THINNING`, so that few numbers remain."""
    powers = np.unique(np.round(THINNING ** np.arange(0, np.log(samples.max()) / np.log(THINNING) + 1)).astype(int))
    fewer = np.minimum(powers[np.searchsorted(powers, samples, side="right") - 1], MOST_SAMPLES)
    seeds = splitmix(keys.astype(np.uint64))
    kept = [
        np.random.default_rng(int(seed)).hypergeometric(c, m - c, k)
        for seed, c, m, k in zip(seeds, successes, samples, fewer, strict=True)
    ]
    return np.array(kept, dtype=np.int64), fewer
