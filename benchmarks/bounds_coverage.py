"""Do the lower and upper bounds of limits and gains hold in worlds of known limit, whatever the tail?

    OMP_NUM_THREADS=1 python benchmarks/bounds_coverage.py [--studies 500] [--prompts 64] [--samples 64]
        [--worlds gaussian ...] [--parts lower upper gain]

For each world, the share (%) of studies in which a bound holds, at the row where this share is smallest, and the median
of the bound over the exact value at the first and at the last row:

- lower: `at_least` of the limit at KLs from 1 % to 50 % of the ceiling log M, both budgets, and of the gain at
  temperatures;
- upper: `at_most` of the same, where scores have bounds;
- gain: `gain_at_least` of best-of-2, 4, 16 and 64.

Student's t with 5 degrees of freedom and lognormal rewards have infinite limits at every KL, which every lower bound is
below. Their gain of best-of-n is finite.
"""

import argparse
from dataclasses import dataclass

import numpy as np
from limits_coverage import EVERY, budgets, drawn_together, truths
from scipy import stats

from alignment_limits.limits import frontier
from alignment_limits.limits.bootstrap import PromptBootstrap
from alignment_limits.limits.brackets import Dual, lower_ends
from alignment_limits.limits.means import interval_of_unlike, mean_of
from alignment_limits.limits.ranks import best_of_n_means
from alignment_limits.limits.worlds import World

ENDS = {
    "uniform": (0.0, 1.0), "bernoulli": (0.0, 1.0), "passrates": (0.0, 1.0), "rubric1to5": (1.0, 5.0),
    "rubric1to10": (1.0, 10.0), "student10": (-10.0, 10.0),
}  # fmt: skip
NS = np.array([2, 4, 16, 64])
TILTS = np.array([0.3, 1.0, 2.0])  # inverse temperatures, over that of the limit at 1 nat


@dataclass(frozen=True, kw_only=True)
class Heavy(World):
    """A law whose tilt does not exist: every limit is infinite, the gain of best-of-n is not."""

    law: stats.rv_continuous

    def tilted(self, inverse: float) -> tuple[float, float]:
        return np.inf, np.inf

    def draw(self, rng: np.random.Generator, prompts: int, samples: int) -> np.ndarray:
        return np.asarray(self.law.rvs(size=(prompts, samples), random_state=rng))

    def best_of_n(self, n: int) -> tuple[float, float]:
        u = (np.arange(1_000_000) + 0.5) / 1_000_000
        best = self.law.ppf(u ** (1 / n)).mean()  # quantiles of the largest of n
        return np.log(n) - (n - 1) / n, float(best - self.law.mean())


HEAVY: dict[str, World] = {"t5": Heavy(law=stats.t(5)), "lognormal": Heavy(law=stats.lognorm(1.0))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=500)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--worlds", nargs="*", default=[*EVERY, *HEAVY])
    parser.add_argument("--parts", nargs="*", default=["lower", "upper", "gain"])
    given = parser.parse_args()
    print("| world | bound | holds | of the exact value, first row | last row |")
    print("|---|---|--:|--:|--:|")
    for part in given.parts:
        for name in given.worlds:
            if (part == "upper" and name not in ENDS) or (part == "lower" and name in HEAVY):
                continue
            for what, found, truth in PARTS[part](name, given):
                wrong = found < truth if part == "upper" else found > truth
                holds = 1 - np.mean(wrong, axis=0)  # no bound (NaN) is not a wrong one
                shown = np.nanmedian(found, axis=0) / truth
                print(f"| {name} | {what} | {holds.min():.1%} | {shown[0]:.0%} | {shown[-1]:.0%} |", flush=True)


def studies(name: str, given: argparse.Namespace) -> tuple[World, list[np.ndarray]]:
    """A world, and the scores of all its studies."""
    world = (EVERY | HEAVY)[name]
    draws = (np.random.default_rng((seed, 7)) for seed in range(given.studies))
    return world, [world.draw(rng, given.prompts, given.samples) for rng in draws]


def temperatures(world: World) -> np.ndarray:
    inverse = TILTS * world.inverse_at(min(1.0, world.ceiling / 2))
    return np.asarray(1 / inverse[inverse < world.steepest])


def lower(name: str, given: argparse.Namespace) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Lower bounds at KLs and at temperatures, and the exact values."""
    world, all_scores = studies(name, given)
    kappa, betas, together = budgets(world, given.samples), temperatures(world), drawn_together(world, given.prompts)
    rows = []
    for budget, row in {"average": "limit", "per-prompt": "limit, per prompt"}.items():
        more = {"kls": kappa, "betas": betas, "budget": budget, "replicates": 400, **together}
        found = np.array([frontier(s, seed=seed, **more).at_least for seed, s in enumerate(all_scores)])
        at = len(betas) if budget == "average" else 0
        rows.append((f"at least, {budget}", found[:, at:], np.array(truths(name, row, tuple(kappa)))))
        if at:
            rows.append(("at least, at a β", found[:, :at], np.array([world.tilted(1 / b)[1] for b in betas])))
    return rows


def upper(name: str, given: argparse.Namespace) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Upper bounds at KLs and at temperatures, and the exact values of the average budget, the larger ones."""
    world, all_scores = studies(name, given)
    kappa, betas, at_kl, at_beta = budgets(world, given.samples), temperatures(world), [], []
    boot = PromptBootstrap(given.prompts, replicates=200)
    for scores in all_scores:
        dual = Dual.of(scores, ENDS[name], boot)
        centred = scores - scores.mean(axis=1, keepdims=True)
        net = betas * np.log(np.exp(centred[..., None] / betas).mean(axis=1))  # (prompts, betas), gain - beta KL
        at_kl.append(dual.at(kappa))
        at_beta.append(dual.at_beta(betas, lower_ends(boot, net.mean(axis=0), boot.interval(net)[0])))
    limits = np.array(truths(name, "limit", tuple(kappa)))
    gains = np.array([world.tilted(1 / beta)[1] for beta in betas])
    return [("at most", np.array(at_kl), limits), ("at most, at a β", np.array(at_beta), gains)]


def gain(name: str, given: argparse.Namespace) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Lower bounds of best-of-n's gain, and the exact gains."""
    world, all_scores = studies(name, given)
    together = {} if name in HEAVY else drawn_together(world, given.prompts)
    ns = NS[given.samples >= NS]
    found = []
    for seed, scores in enumerate(all_scores):
        boot = PromptBootstrap(given.prompts, replicates=400, seed=seed, **together)
        values = best_of_n_means(scores, scores - np.nanmean(scores, axis=1, keepdims=True), ns)
        low, _ = interval_of_unlike(boot, values, np.sum(~np.isnan(scores), axis=1))
        found.append(lower_ends(boot, mean_of(values), low))
    return [("best-of-n's gain, at least", np.array(found), np.array([world.best_of_n(int(n))[1] for n in ns]))]


PARTS = {"lower": lower, "upper": upper, "gain": gain}

if __name__ == "__main__":
    main()
