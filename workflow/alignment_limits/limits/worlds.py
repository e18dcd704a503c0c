"""Worlds (simulated rewards) whose limit is known exactly, for tests, benchmarks and the planner.

Each gives the tilt's KL and gain at inverse temperature lambda, samples, and best-of-n, in the reward's units. In
`WORLDS` all prompts have one law. In `MIXTURES` they differ, or the law is a list of levels; KL, gain and limit are
means over the population of prompts. Under the average budget all prompts have one lambda; under the per-prompt
budget each has its own (docs/theory.md, "Worlds with known answers" and "Two budgets").
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from math import erf, exp, expm1, inf, log, log1p, sqrt

import numpy as np

from alignment_limits.ensembles.scores import Array
from alignment_limits.errors import EstimateError


@dataclass(frozen=True, kw_only=True)
class World(ABC):
    """One prompt's reward law.

    Attributes:
        steepest: λ above which the tilt does not exist.
        ceiling: KL of the best reply, nats.
    """

    steepest: float = inf
    ceiling: float = inf

    @abstractmethod
    def tilted(self, inverse: float) -> tuple[float, float]:
        """KL(pi_lambda || pi_0) and gain at inverse temperature lambda > 0."""

    @abstractmethod
    def draw(self, rng: np.random.Generator, prompts: int, samples: int) -> Array:
        """Independent base samples (P, M)."""

    @abstractmethod
    def best_of_n(self, n: int) -> tuple[float, float]:
        """KL and gain of best-of-n."""

    def inverse_at(self, kappa: float) -> float:
        """lambda with KL(lambda) = kappa, by bisection; inf at or beyond the ceiling."""
        if kappa < 0:
            raise EstimateError(f"KL budget {kappa} is negative.")
        if kappa >= self.ceiling:
            return inf
        low, high = 0.0, min(1.0, 0.5 * self.steepest)
        while self.tilted(high)[0] < kappa:
            low, high = high, (2 * high if self.steepest == inf else 0.5 * (high + self.steepest))
        for _ in range(200):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if self.tilted(middle)[0] < kappa else (low, middle)
        return high

    def limit(self, kappa: float) -> float:
        """G*(kappa), the largest gain within `kappa` nats."""
        if kappa == 0:
            return 0.0
        inverse = self.inverse_at(kappa)
        return self.best_gain() if inverse == inf else self.tilted(inverse)[1]

    def best_gain(self) -> float:
        """Gain of always giving the best reply."""
        return inf

    def limit_per_prompt(self, kappa: float) -> float:
        """The largest gain if every prompt has a KL of `kappa` nats; equal to `limit` if all prompts have one law."""
        return self.limit(kappa)


@dataclass(frozen=True, kw_only=True)
class Gaussian(World):
    """N(0, sd²): G* = sd √(2κ).

    Attributes:
        sd: of the reward.
    """

    sd: float = 1.0

    def tilted(self, inverse: float) -> tuple[float, float]:
        return (self.sd * inverse) ** 2 / 2, self.sd**2 * inverse

    def draw(self, rng: np.random.Generator, prompts: int, samples: int) -> Array:
        return self.sd * rng.standard_normal((prompts, samples))

    def best_of_n(self, n: int) -> tuple[float, float]:
        # E max = integral of 1 - F^n - (1 - F)^n over the positive half line.
        x = np.linspace(0.0, 12.0, 24_001)
        f = np.array([0.5 * (1 + erf(v / sqrt(2))) for v in x])
        values = 1 - f**n - (1 - f) ** n
        return log(n) - (n - 1) / n, self.sd * float(np.sum((values[1:] + values[:-1]) / 2) * (x[1] - x[0]))


@dataclass(frozen=True, kw_only=True)
class Exponential(World):
    """Exp(1); the tilt is Exp(1 − λ), with heavy-tailed weights.

    Attributes:
        steepest: 1; the tilt exists only for smaller λ.
    """

    steepest: float = 1.0

    def tilted(self, inverse: float) -> tuple[float, float]:
        ratio = inverse / (1 - inverse)
        return log1p(-inverse) + ratio, ratio

    def draw(self, rng: np.random.Generator, prompts: int, samples: int) -> Array:
        return rng.standard_exponential((prompts, samples))

    def best_of_n(self, n: int) -> tuple[float, float]:
        return log(n) - (n - 1) / n, float(np.sum(1.0 / np.arange(1, n + 1))) - 1.0


@dataclass(frozen=True, kw_only=True)
class Uniform(World):
    """Uniform on [0, 1]; the gain saturates at 1/2."""

    def tilted(self, inverse: float) -> tuple[float, float]:
        if inverse < 1e-3:  # series: the closed form loses all digits
            return inverse**2 / 24, inverse / 12
        mean = 1 / -expm1(-inverse) - 1 / inverse
        log_mean_exp = inverse + log(-expm1(-inverse)) - log(inverse)
        return inverse * mean - log_mean_exp, mean - 0.5

    def draw(self, rng: np.random.Generator, prompts: int, samples: int) -> Array:
        return rng.random((prompts, samples))

    def best_of_n(self, n: int) -> tuple[float, float]:
        return log(n) - (n - 1) / n, n / (n + 1) - 0.5

    def best_gain(self) -> float:
        return 0.5


@dataclass(frozen=True, kw_only=True)
class Bernoulli(World):
    """Reward 1 or 0: ties, and a ceiling of log 1/p nats.

    Attributes:
        p: probability of 1.
    """

    p: float = 0.1

    def __post_init__(self) -> None:
        object.__setattr__(self, "ceiling", -log(self.p))

    def tilted(self, inverse: float) -> tuple[float, float]:
        q = self.p / (self.p + (1 - self.p) * exp(-inverse))
        return self._kl(q), q - self.p

    def _kl(self, q: float) -> float:
        rest = (1 - q) * log((1 - q) / (1 - self.p)) if q < 1 else 0.0
        return q * log(q / self.p) + rest

    def draw(self, rng: np.random.Generator, prompts: int, samples: int) -> Array:
        return (rng.random((prompts, samples)) < self.p).astype(np.float64)

    def best_of_n(self, n: int) -> tuple[float, float]:
        q = 1 - (1 - self.p) ** n
        return self._kl(q), q - self.p

    def best_gain(self) -> float:
        return 1 - self.p


@dataclass(frozen=True, kw_only=True)
class SkewedLeft(World):
    """-Exp(1): rewards with a maximum; the tilt is -Exp(1 + lambda)."""

    def tilted(self, inverse: float) -> tuple[float, float]:
        ratio = inverse / (1 + inverse)
        return log1p(inverse) - ratio, ratio

    def draw(self, rng: np.random.Generator, prompts: int, samples: int) -> Array:
        return -rng.standard_exponential((prompts, samples))

    def best_of_n(self, n: int) -> tuple[float, float]:
        return log(n) - (n - 1) / n, 1 - 1 / n

    def best_gain(self) -> float:
        return 1.0


WORLDS: dict[str, World] = {
    "gaussian": Gaussian(),
    "uniform": Uniform(),
    "bernoulli": Bernoulli(),
    "exponential": Exponential(),
}


def efficiency(world: World, n: int) -> float:
    """Best-of-n's gain over the limit at best-of-n's KL: .908 for Gaussian rewards and n = 2."""
    kl, gain = world.best_of_n(n)
    return gain / world.limit(kl)


def heterogeneous_loss(log_sd: float) -> float:
    """Per-prompt over average limit of Gaussian rewards with lognormal spreads: E[sd] / sqrt(E[sd^2])."""
    return exp(-(log_sd**2) / 2)


PROMPTS = 4000  # a population of prompts, at even quantiles


@dataclass(frozen=True, kw_only=True)
class Spreads(World):
    """N(0, sd²) with a lognormal sd for each prompt: mean KL (λ²/2) E sd², gain λ E sd².

    Attributes:
        log_sd: standard deviation of log sd.
        clusters: adjacent prompts that share one sd, like prompts from one template; 1: none.
    """

    log_sd: float = 0.6
    clusters: int = 1

    @property
    def square(self) -> float:
        """E sd^2."""
        return exp(2 * self.log_sd**2)

    def tilted(self, inverse: float) -> tuple[float, float]:
        return self.square * inverse**2 / 2, self.square * inverse

    def draw(self, rng: np.random.Generator, prompts: int, samples: int) -> Array:
        sd = rng.lognormal(sigma=self.log_sd, size=-(-prompts // self.clusters))
        return np.repeat(sd, self.clusters)[:prompts, None] * rng.standard_normal((prompts, samples))

    def labels(self, prompts: int) -> np.ndarray | None:
        """The cluster of each prompt, or None."""
        return np.arange(prompts) // self.clusters if self.clusters > 1 else None

    def best_of_n(self, n: int) -> tuple[float, float]:
        kl, gain = Gaussian().best_of_n(n)
        return kl, exp(self.log_sd**2 / 2) * gain

    def limit_per_prompt(self, kappa: float) -> float:
        return exp(self.log_sd**2 / 2) * sqrt(2 * kappa)


@dataclass(frozen=True, kw_only=True)
class FewWide(World):
    """N(0, sd²) with sd `ratio` in a share of the prompts, else 1.

    Attributes:
        wide: that share.
        ratio: sd of these prompts.
    """

    wide: float = 0.3
    ratio: float = 10.0

    @property
    def moments(self) -> tuple[float, float]:
        """E sd and E sd^2."""
        return 1 + self.wide * (self.ratio - 1), 1 + self.wide * (self.ratio**2 - 1)

    def tilted(self, inverse: float) -> tuple[float, float]:
        return self.moments[1] * inverse**2 / 2, self.moments[1] * inverse

    def draw(self, rng: np.random.Generator, prompts: int, samples: int) -> Array:
        sd = np.where(rng.random(prompts) < self.wide, self.ratio, 1.0)
        return sd[:, None] * rng.standard_normal((prompts, samples))

    def best_of_n(self, n: int) -> tuple[float, float]:
        kl, gain = Gaussian().best_of_n(n)
        return kl, self.moments[0] * gain

    def limit_per_prompt(self, kappa: float) -> float:
        return self.moments[0] * sqrt(2 * kappa)


@dataclass(frozen=True, kw_only=True)
class UnequalCounts(Gaussian):
    """N(0, 1) with an even spread of samples per prompt, from 2 to three times the given number (2 to 200 for 64)."""

    def draw(self, rng: np.random.Generator, prompts: int, samples: int) -> Array:
        most = round(3.125 * samples)
        counts = rng.integers(2, most + 1, prompts)
        return np.where(np.arange(most) < counts[:, None], rng.standard_normal((prompts, most)), np.nan)


@dataclass(frozen=True, kw_only=True)
class Levels(World):
    """Rewards on L levels.

    Attributes:
        levels: (L,).
        population: probabilities of the levels for X equally likely kinds of prompts (X, L).
    """

    levels: tuple[float, ...]
    population: Array = field(repr=False)

    def _tilts(self, inverse: Array) -> tuple[Array, Array]:
        """KL and gain of each prompt (X,) at its lambda (X,)."""
        value = np.asarray(self.levels)
        power = inverse[:, None] * (value - value[-1])
        weight = self.population * np.exp(power)
        total = weight.sum(axis=1)
        mean = (weight * (value - value[-1])).sum(axis=1) / total
        base = (self.population * (value - value[-1])).sum(axis=1)
        return np.maximum(inverse * mean - np.log(total), 0.0), mean - base

    def tilted(self, inverse: float) -> tuple[float, float]:
        kl, gain = self._tilts(np.full(len(self.population), inverse))
        return float(kl.mean()), float(gain.mean())

    def draw(self, rng: np.random.Generator, prompts: int, samples: int) -> Array:
        upper = np.cumsum(self.population, axis=1)[:, :-1]
        rows = upper[rng.integers(0, len(upper), prompts)]
        drawn = rng.random((prompts, samples))
        return np.asarray(self.levels)[[np.searchsorted(row, u) for row, u in zip(rows, drawn, strict=True)]]

    def best_of_n(self, n: int) -> tuple[float, float]:
        upper = np.cumsum(self.population, axis=1)
        upper[:, -1] = 1.0
        best = np.diff(upper**n, axis=1, prepend=0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            kl = np.where(best > 0, best * np.log(best / self.population), 0.0).sum(axis=1)
        return float(kl.mean()), float(((best - self.population) @ np.asarray(self.levels)).mean())

    def best_gain(self) -> float:
        return float(self.levels[-1] - (self.population @ np.asarray(self.levels)).mean())

    def limit_per_prompt(self, kappa: float) -> float:
        low, high = np.full(len(self.population), 1e-9), np.full(len(self.population), 1e4)
        for _ in range(200):
            middle = np.sqrt(low * high)
            above = self._tilts(middle)[0] > kappa
            low, high = np.where(above, low, middle), np.where(above, middle, high)
        return float(self._tilts(low)[1].mean())


def pass_rates(a: float = 0.3, b: float = 0.7) -> Levels:
    """0/1 rewards whose pass rate per prompt is from Beta(a, b), at even quantiles."""
    x = np.concatenate([np.geomspace(1e-14, 0.5, 4000), 1 - np.geomspace(1e-14, 0.5, 4000)[-2::-1]])
    # Integrals of the density between points, exact near 0 and 1 where it is x^(a-1) or (1-x)^(b-1).
    left = np.diff(x**a) / a * ((1 - x[:-1]) ** (b - 1) + (1 - x[1:]) ** (b - 1)) / 2
    right = -np.diff((1 - x) ** b) / b * (x[:-1] ** (a - 1) + x[1:] ** (a - 1)) / 2
    mass = np.cumsum(np.where(x[1:] <= 0.5, left, right))
    at = np.interp((np.arange(PROMPTS) + 0.5) / PROMPTS, np.concatenate([[0.0], mass / mass[-1]]), x)
    ceiling = float(-np.log(at).mean())
    return Levels(levels=(0.0, 1.0), population=np.stack([1 - at, at], axis=1), ceiling=ceiling)


def rubric(top: int, spread: float = 0.2) -> Levels:
    """Whole marks 1 to `top`: a Gaussian with sd `spread` of the scale, rounded and clipped to the scale.

    Its mean differs by prompt, evenly from 0.2 to 0.7 of the scale.
    """
    marks = np.arange(1, top + 1)
    mean = 1 + (top - 1) * np.linspace(0.2, 0.7, 200)[:, None]
    edges = (marks[:-1] + 0.5 - mean) / (spread * (top - 1))
    below = np.vectorize(_normal)(edges)
    population = np.diff(below, axis=1, prepend=0.0, append=1.0)
    return Levels(
        levels=tuple(float(m) for m in marks), population=population, ceiling=float(-np.log(population[:, -1]).mean())
    )


def student(freedom: float = 10.0, end: float = 10.0) -> Levels:
    """Student's t, cut off at `end`. Without the cut no limit is finite, as E e^(lambda r) is infinite."""
    x = np.linspace(-end, end, 4001)
    density = (1 + x**2 / freedom) ** (-(freedom + 1) / 2)
    return Levels(
        levels=tuple(x), population=(density / density.sum())[None], ceiling=-log(density[-1] / density.sum())
    )


def _normal(x: float) -> float:
    return 0.5 * (1 + erf(x / sqrt(2)))


MIXTURES: dict[str, World] = {
    "counts2to200": UnequalCounts(),
    "clusters": Spreads(log_sd=0.3, clusters=4),
    "spread0.3": Spreads(log_sd=0.3),
    "spread0.6": Spreads(log_sd=0.6),
    "spread1.0": Spreads(log_sd=1.0),
    "fewwide": FewWide(),
    "rubric1to5": rubric(5),
    "rubric1to10": rubric(10),
    "passrates": pass_rates(),
    "student10": student(),
    "skewedleft": SkewedLeft(),
}
