"""Coverage of limits under a constraint and of the worst gold, in worlds of known limits.

    python benchmarks/golds_coverage.py [--studies 200] [--prompts 64] [--samples 64] [--worlds gaussian …]

The known limits are minima of the dual of each world's own law (20,000 points), so they share no code with the
estimates. A row: world, problem, KL, known limit, bias in percent, share of studies that are reliable, and the share of
these whose 95 % interval contains the limit.
"""

import argparse
from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

from alignment_limits.tradeoffs.compromises import constrained_limit, worst_case_limit

KLS = [0.5, 1.0, 2.0]
AT_MOST = 0.0
POINTS = 20_000


def gaussian(rng: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
    """Two correlated normal rewards, (2, ...)."""
    a, b = rng.standard_normal((2, *size))
    return np.stack([a, 0.4 * a + np.sqrt(1 - 0.16) * b])


def rare_harm(rng: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
    """A normal reward, and harm in 10 % of the replies, more often in those of high reward."""
    a, b = rng.standard_normal((2, *size))
    return np.stack([a, (0.5 * a + np.sqrt(0.75) * b > 1.2816).astype(float)])


def skewed(rng: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
    """Marks: two gamma-distributed rewards cut at 6, with a common part."""
    common, a, b = rng.gamma(1.0, size=(3, *size))
    return np.minimum(np.stack([a + common, b + common]) / 1.5, 6.0)


WORLDS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "gaussian": gaussian,
    "rare harm": rare_harm,
    "skewed": skewed,
}


def known(law: np.ndarray, kappa: float, spreads: np.ndarray, worst: bool) -> float:
    """The limit under the law of points (2, N), each prompt's rewards multiplied by one of `spreads`."""
    away = law - law.mean(axis=1, keepdims=True)

    def dual(x: np.ndarray) -> float:
        beta, other = np.exp(x[0]), x[1]
        z = np.array([1 - other, other]) if worst else np.array([1.0, -other])
        reward = z @ away
        logs = [logsumexp(s * reward / beta) - np.log(len(reward)) for s in spreads]
        return float(beta * kappa + beta * np.mean(logs) + (0.0 if worst else other * AT_MOST))

    bounds = [(-6, 6), (0, 1) if worst else (0, 50)]
    runs = [minimize(dual, [0.0, start], bounds=bounds, method="L-BFGS-B") for start in (0.1, 0.5, 1.0)]
    return float(min(run.fun for run in runs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=list(WORLDS))
    args = parser.parse_args()
    for name in args.worlds:
        draw = WORLDS[name]
        for log_sd in (0.0, 0.5):
            quantiles = np.exp(log_sd * np.sqrt(2) * _normal_points(41))
            law = draw(np.random.default_rng(99), (POINTS,))
            truth = {w: [known(law, kappa, quantiles, w) for kappa in KLS] for w in (False, True)}
            found: dict[bool, list[np.ndarray]] = {False: [], True: []}
            for seed in range(args.studies):
                rng = np.random.default_rng(seed)
                a, b = draw(rng, (args.prompts, args.samples)) * rng.lognormal(sigma=log_sd, size=(args.prompts, 1))
                constrained = constrained_limit({"a": a}, {"b": b}, {"b": AT_MOST}, KLS, seed=seed)
                worst = worst_case_limit({"a": a, "b": b}, KLS, seed=seed)
                for which, table, row in ((False, constrained, "a"), (True, worst, "worst of all")):
                    rows = table.evaluated == row
                    columns = table.gain, table.gain_low, table.gain_high, table.reliable.astype(float)
                    found[which].append(np.array([c[rows] for c in columns]))
            for which, studies in found.items():
                gain, low, high, reliable = np.array(studies, dtype=float).transpose(1, 0, 2)
                for k, kappa in enumerate(KLS):
                    exact, reliable_ones = truth[which][k], reliable[:, k] > 0
                    held = (low[:, k] <= exact) & (exact <= high[:, k])
                    covered = f"{100 * held[reliable_ones].mean():.0f} %" if reliable_ones.any() else "none"
                    print(
                        f"{name:10} spread {log_sd:.1f} {'worst' if which else 'constraint':10} KL {kappa:.1f} "
                        f"limit {exact:.3f} bias {100 * (np.nanmean(gain[:, k]) / exact - 1):+.1f} % "
                        f"reliable {100 * reliable_ones.mean():.0f} % covered {covered} "
                        f"(all {100 * held.mean():.0f} %)",
                        flush=True,
                    )


def _normal_points(count: int) -> np.ndarray:
    """Normal quantiles over √2, at even probabilities."""
    from scipy.special import erfinv

    return np.asarray(erfinv(2 * (np.arange(count) + 0.5) / count - 1))


if __name__ == "__main__":
    main()
