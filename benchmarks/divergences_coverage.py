"""Coverage of limits within budgets of other divergences, in worlds of known limits.

    python benchmarks/divergences_coverage.py [--studies 200] [--prompts 64] [--samples 64] [--kinds chi2 …]

The known limits come from bisections on each world's own law, so they share no code with the estimates. A row: world,
divergence, convention, n of best-of-n that spends the budget, known limit, bias in percent, share of studies that are
reliable, and the share of these whose 95 % interval contains the limit.
"""

import argparse

import numpy as np
from scipy.special import ndtri

from alignment_limits.limits.worlds import WORLDS, Levels, Spreads, World, pass_rates, rubric
from alignment_limits.tradeoffs.divergence_limits import divergence_limit
from alignment_limits.tradeoffs.divergences import Divergence

NS = [2, 4, 8]
KINDS = ["chi2", "renyi-1.5", "renyi-3", "renyi-0.5", "reverse-kl", "renyi-inf", "total-variation"]
POINTS = 4000


def grids() -> dict[str, tuple[World, np.ndarray, np.ndarray]]:
    """Worlds: how to draw, scores (X, L) of kinds of prompts, and probabilities (X, L)."""
    even = (np.arange(POINTS) + 0.5) / POINTS
    normal, spreads = ndtri(even), np.exp(0.5 * ndtri((np.arange(41) + 0.5) / 41))
    flat = np.full((1, POINTS), 1 / POINTS)
    out: dict[str, tuple[World, np.ndarray, np.ndarray]] = {
        "gaussian": (WORLDS["gaussian"], normal[None], flat),
        "uniform": (WORLDS["uniform"], even[None], flat),
        "exponential": (WORLDS["exponential"], -np.log1p(-even)[None], flat),
        "spread0.5": (Spreads(log_sd=0.5), spreads[:, None] * normal, np.repeat(flat, 41, axis=0)),
    }
    rates = np.linspace(0.2, 0.8, 61)
    passes = Levels(levels=(0.0, 1.0), population=np.stack([1 - rates, rates], axis=1))
    for name, world in (("rubric1to5", rubric(5)), ("passrates", pass_rates()), ("passes.2to.8", passes)):
        chosen = world.population[:: max(1, len(world.population) // 200)]
        out[name] = world, np.repeat(np.array(world.levels)[None], len(chosen), axis=0), chosen
    return out


def known(r: np.ndarray, mass: np.ndarray, kind: Divergence, spent: float, budget: str) -> float:
    """The limit of scores (X, L) with probabilities (X, L)."""
    mean = (mass * r).sum(axis=1)
    x = r.max(axis=1, keepdims=True) - r
    if np.isnan(kind.order):
        if budget == "per-prompt":
            order = np.argsort(-x, axis=1)
            far, weight = np.take_along_axis(x, order, 1), np.take_along_axis(mass, order, 1)
            moved = np.clip(spent - (np.cumsum(weight, axis=1) - weight), 0, weight)
            return float((moved * far).sum(axis=1).mean())
        flat = np.argsort(-x, axis=None)
        far, weight = x.ravel()[flat], mass.ravel()[flat] / len(x)
        return float((np.clip(spent - (np.cumsum(weight) - weight), 0, weight) * far).sum())
    if np.isinf(kind.order):
        order = np.argsort(x, axis=1)
        near, weight = np.take_along_axis(x, order, 1), np.take_along_axis(mass, order, 1)
        most = np.exp(-spent)
        kept = np.clip(most - (np.cumsum(weight, axis=1) - weight), 0, weight) / most
        return float((r.max(axis=1) - (kept * near).sum(axis=1) - mean).mean())
    kappa, a = float(kind.power(np.array(spent))), kind.order

    def law(beta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Divergence and gain (X,) at β (X,), ν by bisection: p = (f')^-1((r - ν)/β) averages 1."""
        low, high = np.full(len(x), -1e4), np.full(len(x), 1e4)
        if a < 1:
            low = np.full(len(x), 1e-12)
        for _ in range(90):
            middle = (low + high) / 2 if a >= 1 else np.sqrt(low * high)
            total = (mass * density(middle, beta)).sum(axis=1)
            grows = total < 1 if a >= 1 else total > 1
            low, high = np.where(grows, middle, low), np.where(grows, high, middle)
        p = density(low, beta)
        p = p / (mass * p).sum(axis=1, keepdims=True)
        if a == 0:
            spends = -(mass * np.log(np.maximum(p, 1e-300))).sum(axis=1)
        else:
            spends = ((mass * p**a).sum(axis=1) - 1) / (a * (a - 1))
        return spends, (mass * p * r).sum(axis=1) - mean

    def density(t: np.ndarray, beta: np.ndarray) -> np.ndarray:
        if a > 1:
            return np.maximum((a - 1) * (t[:, None] - x) / beta[:, None], 0) ** (1 / (a - 1))
        return ((1 - a) * (t[:, None] + x) / beta[:, None]) ** (-1 / (1 - a))

    low, high = np.full(len(x), 1e-6), np.full(len(x), 1e3)
    for _ in range(60):
        middle = np.sqrt(low * high)
        spends = law(middle)[0]
        more = spends > kappa if budget == "per-prompt" else np.full(len(x), spends.mean() > kappa)
        low, high = np.where(more, middle, low), np.where(more, high, middle)
    return float(law(high)[1].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--kinds", nargs="+", default=KINDS)
    parser.add_argument("--worlds", nargs="+", default=list(grids()))
    args = parser.parse_args()
    for name in args.worlds:
        world, r, mass = grids()[name]
        bounds = (float(r.min()), float(r.max())) if isinstance(world, Levels) else None
        for which in args.kinds:
            kind = Divergence.of(which)
            for budget in ("average", "per-prompt"):
                if budget == "average" and np.isinf(kind.order):
                    continue
                spent = kind.of_best_of_n(np.array(NS, dtype=float))
                truth = [known(r, mass, kind, float(each), budget) for each in spent]
                studies = []
                for seed in range(args.studies):
                    scores = world.draw(np.random.default_rng(seed), args.prompts, args.samples)
                    t = divergence_limit(scores, which, ns=NS, budget=budget, seed=seed, replicates=500, bounds=bounds)
                    studies.append([t.gain, t.gain_low, t.gain_high, t.reliable, t.at_least])
                gain, low, high, reliable, least = np.array(studies, dtype=float).transpose(1, 0, 2)
                for k, n in enumerate(NS):
                    reliable_ones = reliable[:, k] > 0
                    held = (low[:, k] <= truth[k]) & (truth[k] <= high[:, k])
                    over = f"{100 * held[reliable_ones].mean():.0f} %" if reliable_ones.any() else "none"
                    below = 100 * np.mean(~(least[:, k] > truth[k]))
                    print(
                        f"{name:12} {which:15} {budget:10} n {n} limit {truth[k]:.3f} "
                        f"bias {100 * (np.nanmean(gain[:, k]) / truth[k] - 1):+.1f} % "
                        f"reliable {100 * reliable_ones.mean():.0f} % covered {over} (all {100 * held.mean():.0f} %) "
                        f"at least holds {below:.0f} %",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
