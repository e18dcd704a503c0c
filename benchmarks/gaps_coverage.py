"""Coverage of the intervals of the proxy gap, hacking onset, stopping point and Gao fits in Gaussian worlds.

    python benchmarks/gaps_coverage.py --worlds 500 --out results/benchmarks

writes gaps_coverage.md. The seeds are fixed. The proxy is z ~ N(0,1). Gold is b z - bend (z^2 - 1)/2 + c e with
e ~ N(0,1) and b ~ N(slope, 0.3^2) for each prompt, so prompts differ. With bend 0 gold rises along every path. With
another bend its mean under the tilt, slope s - bend s^2/2 at s = sqrt(2 KL), has a peak. Coverage counts the worlds in
which the estimate is reliable (gap, fits) or found (onset, stopping point); `given` is the share of these worlds.
"""

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import ndtri

from alignment_limits.limits import over_optimisation, proxy_gap
from alignment_limits.limits.over_optimisation import fit_places, gao_fit
from alignment_limits.limits.ranks import kl_bound

SPREAD = 0.3
BETAS = np.array([2.0, 1.0])
CELLS = [(64, 64), (256, 256)]


@dataclass(frozen=True)
class World:
    """A world as above; `peak` is the KL at which gold peaks along the tilt, in nats."""

    slope: float
    bend: float
    noise: float

    def draw(self, rng: np.random.Generator, prompts: int, samples: int) -> tuple[np.ndarray, np.ndarray]:
        z, e = rng.standard_normal((2, prompts, samples))
        b = self.slope + SPREAD * rng.standard_normal((prompts, 1))
        return z, b * z - self.bend * (z**2 - 1) / 2 + self.noise * e

    @property
    def peak(self) -> float:
        return (self.slope / self.bend) ** 2 / 2 if self.bend else np.nan

    def gap(self, beta: np.ndarray) -> np.ndarray:
        """beta KL(tilt by the proxy || tilt by gold), both Gaussian in (z, e), mean over prompts."""
        v = 1 / (1 + self.bend / beta)
        away = ((self.slope * v - 1) / beta) ** 2 + (SPREAD * v / beta) ** 2
        return beta * (0.5 * (1 / v - 1 + np.log(v) + away / v) + (self.noise / beta) ** 2 / 2)

    def tilt(self, kl: np.ndarray) -> np.ndarray:
        s = np.sqrt(2 * kl)
        return self.slope * s - self.bend * s**2 / 2

    def best_of_n(self, n: np.ndarray) -> np.ndarray:
        u = (np.arange(400_000) + 0.5) / 400_000
        z = ndtri(u)
        own = self.slope * z - self.bend * (z**2 - 1) / 2
        return np.array([np.mean(own * k * u ** (k - 1)) for k in n])

    @property
    def stop(self) -> float:
        """The n at which best-of-n peaks; it need not be an integer."""
        n = np.linspace(2, 20, 721)
        return float(n[np.argmax(self.best_of_n(n))]) if self.bend else np.nan


WORLDS = {
    "rising": World(slope=0.7, bend=0.0, noise=0.7),
    "flat": World(slope=0.0, bend=0.0, noise=1.0),
    "peak at 0.5 nats": World(slope=1.0, bend=1.0, noise=0.5),
}


def coefficients(kl: np.ndarray, gain: np.ndarray, form: str) -> dict[str, float]:
    fit = gao_fit(kl, np.repeat(gain[None], 2, axis=0), form=form, replicates=100)
    return {"alpha": fit.alpha, "beta": fit.beta}


def cell(name: str, prompts: int, samples: int, worlds: int) -> Iterator[list[str]]:
    """Rows of the table, one per kind of interval; yielded after every 100 worlds and at the end."""
    world, start = WORLDS[name], time.process_time()
    n = np.unique(np.round(np.geomspace(1, samples, 40)))
    truth_n, stop = world.best_of_n(n), world.stop
    few = fit_places(n)
    best = coefficients(kl_bound(n[few]), truth_n[few], "best-of-n")
    grid = np.linspace(0, np.sqrt(np.log(samples)), 61)[1:] ** 2
    # kind -> (given, covered, estimate / truth)
    seen: dict[str, list[tuple[bool, bool, float]]] = defaultdict(list)

    def note(kind: str, given: bool, low: float, value: float, high: float, truth: float) -> None:
        seen[kind].append((bool(given), bool(low <= truth <= high), value / truth if abs(truth) > 1e-3 else np.nan))

    for seed in range(worlds):
        proxy, gold = world.draw(np.random.default_rng((seed, prompts, samples)), prompts, samples)
        gap = proxy_gap(proxy, gold, betas=BETAS, replicates=500, seed=seed)
        for i, (beta, truth) in enumerate(zip(BETAS, world.gap(BETAS), strict=True)):
            note(f"gap at beta {beta:g}", gap.reliable[i], gap.gap_low[i], gap.gap[i], gap.gap_high[i], truth)
        tilt, draws = over_optimisation(proxy, gold, replicates=500, seed=seed)
        note("hacking onset", tilt["found"], tilt["peak_low"], tilt["peak"], tilt["peak_high"], world.peak)
        note("stopping point", draws["found"], draws["peak_low"], draws["peak"], draws["peak_high"], stop)
        part = grid[(grid >= tilt["fit_from"] - 1e-9) & (grid <= tilt["fit_to"] + 1e-9)]
        policy = coefficients(part, world.tilt(part), "policy") if len(part) > 3 else {"alpha": np.nan, "beta": np.nan}
        for row, form, truths in ((tilt, "policy", policy), (draws, "best-of-n", best)):
            for letter, truth in truths.items():
                low, value, high = row[f"{letter}_low"], row[letter], row[f"{letter}_high"]
                note(f"Gao {form} {letter}", row["fit_reliable"], low, value, high, truth)
        if (seed + 1) % 100 == 0 or seed + 1 == worlds:
            print(f"{name} {prompts}x{samples}, {seed + 1}: {time.process_time() - start:.0f} CPU-s", file=sys.stderr)
            yield [f"| {name} | {prompts} × {samples} | {seed + 1} | {kind} | {cells(s)} |" for kind, s in seen.items()]


def cells(results: list[tuple[bool, bool, float]]) -> str:
    """given | coverage | median estimate / truth; the last two only if it is given in 50 worlds or more."""
    given = [(covered, ratio) for given, covered, ratio in results if given]
    share = f"{len(given) / len(results):.2f}"
    if len(given) < 50:
        return f"{share} | – | –"
    middle = f"{np.median([r for _, r in given]):.3f}" if np.isfinite(given[0][1]) else "–"
    return f"{share} | {np.mean([c for c, _ in given]):.3f} | {middle}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=500)
    parser.add_argument("--cells", nargs="*", default=[f"{p}x{m}" for p, m in CELLS], help="prompts x samples")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    parser.add_argument("--kinds", nargs="*", default=list(WORLDS), choices=list(WORLDS))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    head = ["| world | prompts × samples | worlds | interval of | given | coverage | median estimate / truth |"]
    lines = [*head, "|---|---|---|---|---|---|---|"]
    for size in options.cells:
        prompts, samples = (int(v) for v in size.split("x"))
        for name in options.kinds:
            rows: list[str] = []
            for rows in cell(name, prompts, samples, options.worlds):
                (options.out / "gaps_coverage.md").write_text("\n".join([*lines, *rows]) + "\n")
            lines += rows


if __name__ == "__main__":
    main()
