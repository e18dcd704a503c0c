"""How often intervals of side effects and of the limit at fixed length contain the truth, in worlds with closed forms.

    python benchmarks/side_effects_coverage.py --studies 300

Prints a table for each world. A study has 64 prompts with 64 samples.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import polars as pl
import scipy

from alignment_limits.tradeoffs import length_control, side_effects

PROMPTS = SAMPLES = 64
KLS, NS = (0.1, 0.5, 1.0, 1.5), (4, 16)
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(200)
WEIGHTS = WEIGHTS / WEIGHTS.sum()
World = Callable[[np.random.Generator], tuple[np.ndarray, np.ndarray]]


def best_of(n: int, mean: Callable[[np.ndarray], np.ndarray]) -> float:
    """The mean of a function of the largest of n normal draws."""
    density = n * scipy.special.ndtr(NODES) ** (n - 1)
    return float(np.sum(WEIGHTS * density * mean(NODES)))


class Gaussian:
    """Reward of spread 1 and length of spread 10, with this correlation; spreads of prompts differ by exp(spread z)."""

    def __init__(self, corr: float, spread: float = 0.0) -> None:
        self.corr, self.spread, self.square = corr, spread, float(np.exp(2 * spread**2))

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        length, rest = rng.normal(size=(2, PROMPTS, SAMPLES))
        scale = np.exp(self.spread * rng.normal(size=(PROMPTS, 1)))
        return scale * (self.corr * length + np.sqrt(1 - self.corr**2) * rest), 10 * length

    def tilt(self, kl: float) -> float:
        mean = np.exp(self.spread**2 / 2)
        return 10 * self.corr * mean * np.sqrt(2 * kl / self.square)

    def picked(self, n: int) -> float:
        return 10 * self.corr * best_of(n, lambda x: x)

    def lost(self, kl: float) -> float:
        mean = np.exp(self.spread**2 / 2)
        return 1 - np.sqrt(1 - self.corr**2 * mean**2 / self.square)

    def explained(self, kl: float) -> float:
        return self.corr**2 * np.exp(self.spread**2) / self.square


class Event:
    """An event of probability p, where a normal number with this correlation with the reward is large."""

    def __init__(self, p: float, corr: float) -> None:
        self.p, self.corr, self.above = p, corr, -scipy.special.ndtri(p)

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        reward, rest = rng.normal(size=(2, PROMPTS, SAMPLES))
        z = self.corr * reward + np.sqrt(1 - self.corr**2) * rest
        return reward, (z > self.above).astype(float)

    def tilt(self, kl: float) -> float:
        return float(scipy.special.ndtr(self.corr * np.sqrt(2 * kl) - self.above) - self.p)

    def picked(self, n: int) -> float:
        rest = np.sqrt(1 - self.corr**2)
        return best_of(n, lambda x: scipy.special.ndtr((self.corr * x - self.above) / rest)) - self.p


class LogNormal:
    """Lengths e^{3.5 + 0.5 z}; the reward is 0.6 z and an independent part: it likes the logarithm of the length."""

    def __init__(self, corr: float = 0.6) -> None:
        self.corr = corr
        self.f = np.exp(3.5 + 0.5 * NODES)
        self.mean = float(WEIGHTS @ self.f)
        self.slope = float(WEIGHTS @ (corr * NODES * self.f)) / float(WEIGHTS @ (self.f - self.mean) ** 2)

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        z, rest = rng.normal(size=(2, PROMPTS, SAMPLES))
        return self.corr * z + np.sqrt(1 - self.corr**2) * rest, np.exp(3.5 + 0.5 * z)

    def tilt(self, kl: float) -> float:
        return float(np.exp(0.5 * self.corr * np.sqrt(2 * kl)) - 1) * self.mean

    def picked(self, n: int) -> float:
        part = np.exp((1 - self.corr**2) / 8)
        return part * np.exp(3.5) * best_of(n, lambda x: np.exp(0.5 * self.corr * x)) - self.mean

    def lost(self, kl: float) -> float:
        def limit(weight: float) -> float:
            part = self.corr * NODES + weight * (self.f - self.mean)

            def dual(log_beta: float) -> float:
                beta = np.exp(log_beta)
                shift = part.max() / beta
                log_z = np.log(WEIGHTS @ np.exp(part / beta - shift)) + shift + (1 - self.corr**2) / (2 * beta**2)
                return float(beta * (kl + log_z))

            return float(scipy.optimize.minimize_scalar(dual, bounds=(-4, 4), method="bounded").fun)

        found = scipy.optimize.minimize_scalar(limit, bounds=(-4 * self.slope, 0.0), method="bounded")
        return 1 - float(found.fun) / float(np.sqrt(2 * kl))

    def explained(self, kl: float) -> float:
        return self.slope * self.tilt(kl) / float(np.sqrt(2 * kl))


def row(world: str, quantity: str, at: str, low: np.ndarray, high: np.ndarray, kept: np.ndarray, truth: float) -> dict:
    """Coverage of all reliable studies, bias of the interval's centre, share that is reliable."""
    inside = ((low <= truth) & (truth <= high))[kept]
    return {
        "world": world, "quantity": quantity, "at": at, "truth": truth,
        "reliable": kept.mean(), "covered": inside.mean() if kept.sum() else np.nan,
        "below": (high < truth)[kept].mean() if kept.sum() else np.nan,
        "width": np.median((high - low)[kept]) if kept.sum() else np.nan,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=300)
    parser.add_argument("--only", nargs="*", help="worlds")
    arguments = parser.parse_args()
    worlds = {
        "Gaussian, correlation 0.6": Gaussian(0.6), "Gaussian, 0": Gaussian(0.0), "Gaussian, 0.9": Gaussian(0.9),
        "Gaussian, 0.6, spreads of log-sd 0.6": Gaussian(0.6, 0.6), "log-normal lengths": LogNormal(),
        "event of 10 %": Event(0.1, 0.4), "event of 2 %": Event(0.02, 0.4), "event of 0.5 %": Event(0.005, 0.4),
    }  # fmt: skip
    rows = []
    for name, world in worlds.items():
        if arguments.only and name not in arguments.only:
            continue
        effects, controls = [], []
        for study in range(arguments.studies):
            reward, column = world.draw(np.random.default_rng((study, 7)))
            effects.append(side_effects(reward, {"f": column}, kls=KLS, ns=NS, replicates=1000))
            if not isinstance(world, Event):
                controls.append(length_control(reward, column, kls=KLS, replicates=1000))
        truth = [world.tilt(kl) for kl in KLS] + [world.picked(n) for n in NS]
        for j, at in enumerate([*(f"{kl:g} nats" for kl in KLS), *(f"best of {n}" for n in NS)]):
            ends = (np.array([getattr(t, f"change_{end}")[j] for t in effects]) for end in ("low", "high"))
            rows.append(row(name, "change", at, *ends, np.array([t.reliable[j] for t in effects]), truth[j]))
        for quantity, first in (("lost", len(KLS)), ("explained", 0)):
            for j, kl in enumerate(KLS if controls else ()):
                low, high, kept = (
                    np.array([getattr(t, f"{quantity}_{what}")[first + j] for t in controls])
                    for what in ("low", "high", "reliable")
                )
                rows.append(row(name, quantity, f"{kl:g} nats", low, high, kept, getattr(world, quantity)(kl)))
        pl.Config.set_tbl_rows(-1)
        pl.Config.set_tbl_width_chars(160)
        print(pl.DataFrame(rows).filter(pl.col("world") == name), flush=True)


if __name__ == "__main__":
    main()
