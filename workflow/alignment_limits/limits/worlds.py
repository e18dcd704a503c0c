"""Worlds whose limit is known exactly: oracles for tests, benchmarks and the planner.

Each gives the tilt's KL and gain at inverse temperature lambda, samples, and best-of-n, in the reward's own units. Here
all prompts have one law; in mixtures.py they differ, and KL, gain and limit are means over prompts.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import erf, exp, expm1, inf, log, log1p, sqrt

import numpy as np

from alignment_limits.errors import EstimateError
from alignment_limits.limits.arrays import Array


@dataclass(frozen=True, kw_only=True)
class World(ABC):
    """One prompt's reward law. steepest : lambda where the tilt ceases; ceiling : KL of the best reply."""

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
        """The largest gain where every prompt spends `kappa` nats: the same, where all prompts have one law."""
        return self.limit(kappa)


@dataclass(frozen=True, kw_only=True)
class Gaussian(World):
    """N(0, sd^2): G* = sd sqrt(2 kappa)."""

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
    """Exp(1); the tilt is Exp(1 - lambda): heavy-tailed weights, finite for lambda < 1 only."""

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
    """Uniform on [0, 1]: saturates at gain 1/2."""

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
    """Reward 1 with probability p, else 0: ties, and a ceiling of log 1/p nats."""

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
    """-Exp(1): rewards that end at their best; the tilt is -Exp(1 + lambda)."""

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
    """Best-of-n gain over the limit at the KL best-of-n spends: .908 for Gaussian rewards and n = 2."""
    kl, gain = world.best_of_n(n)
    return gain / world.limit(kl)


def heterogeneous_loss(log_sd: float) -> float:
    """E[sd] / sqrt(E[sd^2]) of Gaussian rewards with lognormal spreads: per-prompt over average limit."""
    return exp(-(log_sd**2) / 2)
