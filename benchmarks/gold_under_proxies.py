"""Gold's gain under a proxy at given KLs: how many rows are refused, do the others cover, is there bias?

    OMP_NUM_THREADS=1 python benchmarks/gold_under_proxies.py [--size 64x64] [--studies 60] [--worlds linear ...]

Seven KLs from 1 % to 50 % of log M, both budgets. The proxy z is Gaussian. Gold is z and noise with a correlation of
0.6 (`linear`; `spread…`: prompts of lognormal spread), a polynomial of z plus noise (`bent…` peak at so many nats;
`convex`, `cubic`), or a function that saturates (`tanh`, `step`, `hits`: 10 % of replies).
"""

import argparse
from collections.abc import Callable

import numpy as np
from scipy.special import ndtr, roots_hermitenorm

from alignment_limits.limits import frontier

FRACTIONS = np.array([0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5])
NODES, WEIGHTS = roots_hermitenorm(81)
Shape = Callable[[np.ndarray], np.ndarray]
SHAPES: dict[str, tuple[Shape, float]] = {  # gold as a function of the proxy, and the sd of its noise
    "linear": (lambda z: 0.6 * z, 0.8),
    "bent at 3.1": (lambda z: 0.5 * z - 0.1 * (z**2 - 1), 0.5),
    "bent at 1": (lambda z: z - 0.35 * (z**2 - 1), 0.5),
    "convex": (lambda z: z + 0.15 * (z**2 - 1), 0.5),
    "cubic": (lambda z: z - 0.1 * z**3, 0.3),
    "tanh": (np.tanh, 0.5),
    "step": (lambda z: 1.0 * (z > 1.5), 0.3),
    "hits": (lambda z: ndtr((0.6 * z - 1.28) / 0.8), 0.0),
}
SPREADS = {"spread 0.3": 0.3, "spread 0.6": 0.6, "spread 1.0": 1.0}


def draw(name: str, prompts: int, samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng((seed, prompts, samples, 5))
    z, noise = rng.normal(size=(2, prompts, samples))
    if name in SPREADS:
        spread = np.exp(SPREADS[name] * rng.normal(size=(prompts, 1)))
        return spread * z, spread * (0.6 * z + 0.8 * noise)
    shape, sd = SHAPES[name]
    return z, 1.0 * (0.6 * z + 0.8 * noise > 1.28) if name == "hits" else shape(z) + sd * noise


def truth(name: str, kls: np.ndarray, budget: str) -> np.ndarray:
    """Gold's gain of the tilt by the proxy: of N(s, 1) with s = √(2 KL)."""
    s = np.sqrt(2 * kls)
    if name in SPREADS:
        return 0.6 * s * np.exp(SPREADS[name] ** 2 * (1 if budget == "average" else 0.5))
    shape, weights = SHAPES[name][0], WEIGHTS / WEIGHTS.sum()
    if name == "step":
        return ndtr(s - 1.5) - ndtr(-1.5)
    return np.array([weights @ shape(NODES + each) for each in s]) - weights @ shape(NODES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="64x64")
    parser.add_argument("--studies", type=int, default=60)
    parser.add_argument("--worlds", nargs="*", default=[*SHAPES, *SPREADS], choices=[*SHAPES, *SPREADS])
    given = parser.parse_args()
    prompts, samples = map(int, given.size.split("x"))
    kls = FRACTIONS * np.log(samples)
    print("| gold | size | budget | refused | covers | bias at the KLs, % of the gain | half-width, % |")
    print("|---|---|---|--:|--:|---|---|")
    for name in given.worlds:
        for budget in ("average", "per-prompt"):
            exact, rows = truth(name, kls, budget), []
            for seed in range(given.studies):
                proxy, gold = draw(name, prompts, samples, seed)
                t = frontier(proxy, {"gold": gold}, kls=kls, budget=budget, replicates=300, seed=seed)["gold"]
                rows.append([t.gain, t.gain_low, t.gain_high, t.reliable])
            gain, low, high, reliable = np.moveaxis(np.array(rows, dtype=float), 1, 0)
            kept = reliable > 0
            held = ((low <= exact) & (exact <= high))[kept].mean()
            bias = 100 * (np.nanmean(gain, axis=0) / exact - 1)
            wide = 100 * np.nanmean(high - low, axis=0) / 2 / exact
            off, half = (", ".join(f"{x:.{d}f}" for x in each) for d, each in ((1, bias), (0, wide)))
            print(
                f"| {name} | {given.size} | {budget} | {1 - kept.mean():.0%} | {held:.1%} | {off} | {half} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
