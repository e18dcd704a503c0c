"""How often intervals of side effects and of the limit at fixed length contain the truth, in worlds with closed forms.

    OMP_NUM_THREADS=1 python benchmarks/side_effects_coverage.py --studies 200

A study has 64 prompts with 64 samples. Each world's results are a file below results/benchmarks/side_effects; further
studies (`--first 200`) are further files. The summary of all files is printed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl
import scipy

from alignment_limits.tradeoffs import length_control, side_effects

PROMPTS = SAMPLES = 64
KLS, NS = (0.1, 0.5, 1.0, 1.5), (4, 16)
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(200)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


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


WORLDS = {
    "Gaussian, correlation 0.6": Gaussian(0.6),
    "Gaussian, 0.6, spreads of log-sd 0.3": Gaussian(0.6, 0.3),
    "Gaussian, 0": Gaussian(0.0),
    "Gaussian, 0.9": Gaussian(0.9),
    "Gaussian, 0.6, spreads of log-sd 0.6": Gaussian(0.6, 0.6),
    "log-normal lengths": LogNormal(),
    "event of 10 %": Event(0.1, 0.4),
    "event of 2 %": Event(0.02, 0.4),
    "event of 0.5 %": Event(0.005, 0.4),
}


def rows(name: str, study: int) -> Iterator[dict[str, object]]:
    """All intervals of one study."""
    world = WORLDS[name]
    reward, column = world.draw(np.random.default_rng((study, 7)))
    effects = side_effects(reward, {"f": column}, kls=KLS, ns=NS, replicates=1000)
    for j, at in enumerate([*KLS, *NS]):
        truth = world.tilt(at) if j < len(KLS) else world.picked(int(at))
        yield _row(name, study, "change" if j < len(KLS) else "change, best-of-n", at, effects, "change", j, truth)
    if isinstance(world, Event):
        return
    control = length_control(reward, column, kls=KLS, replicates=1000)
    for quantity, first in (("lost", len(KLS)), ("explained", 0)):
        for j, kl in enumerate(KLS):
            yield _row(name, study, quantity, kl, control, quantity, first + j, getattr(world, quantity)(kl))


def _row(
    name: str, study: int, quantity: str, at: float, table: object, column: str, j: int, truth: float
) -> dict[str, object]:
    verdict = getattr(table, "reliable" if column == "change" else f"{column}_reliable")
    low, high, value = (float(getattr(table, f"{column}{end}")[j]) for end in ("_low", "_high", ""))
    found = {"value": value, "low": low, "high": high, "reliable": bool(verdict[j])}
    return {"world": name, "study": study, "quantity": quantity, "at": float(at), "truth": float(truth), **found}


def summary(table: pl.DataFrame) -> pl.DataFrame:
    """Coverage, bias and refusals of each world, quantity and KL (or n)."""
    inside = (pl.col("low") <= pl.col("truth")) & (pl.col("truth") <= pl.col("high"))
    return table.group_by("world", "quantity", "at", maintain_order=True).agg(
        studies=pl.len(),
        reliable=pl.col("reliable").mean(),
        covered=inside.filter("reliable").mean(),
        below=(pl.col("high") < pl.col("truth")).filter("reliable").mean(),
        truth=pl.col("truth").first(),
        bias=(pl.col("value") - pl.col("truth")).filter("reliable").mean(),
        width=(pl.col("high") - pl.col("low")).filter("reliable").median(),
    )


def main() -> None:
    """Run the studies whose results are not there yet, and print the summary of all that are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="number of the first study")
    parser.add_argument("--only", nargs="*", default=list(WORLDS), help="worlds")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/side_effects"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.only:
        file = arguments.out / f"{list(WORLDS).index(name)}-{arguments.first:05d}-{arguments.studies}.parquet"
        if not file.exists():
            studies = range(arguments.first, arguments.first + arguments.studies)
            pl.DataFrame([row for study in studies for row in rows(name, study)]).write_parquet(file)
    pl.Config.set_tbl_rows(-1)
    pl.Config.set_tbl_width_chars(160)
    print(summary(pl.concat(pl.read_parquet(file) for file in sorted(arguments.out.glob("*.parquet")))))


if __name__ == "__main__":
    main()
