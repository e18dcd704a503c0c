"""Coverage of the intervals of verifiable rewards in worlds whose law of pass rates is known.

    python benchmarks/verifiable_coverage.py --studies 300 --out results/benchmarks

writes verifiable_coverage.md. Pass rates are from Beta(a, b). The seeds are fixed. `plug-in` is the mean of the
estimate that takes a prompt's share of successes as its pass rate. The interval of a row that is not reliable also
counts, as the interval is what such a row says.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.special import betaincinv

from alignment_limits.tradeoffs import average_limit, best_of_n_rates, best_pass_rates, verifiable

KLS, KS = [0.25, 1.0], [8, 256]
WORLDS = [(0.3, 0.7), (0.05, 1.0)]
SIZES = [(16, 64), (64, 16), (64, 64), (64, 256), (400, 64)]
UNEQUAL = (64, 0)  # 4 to 64 samples
CLUSTERED = (128, 64)  # of four prompts with one pass rate


def exact(a: float, b: float) -> dict[str, float]:
    """The true values, by a sum over 40,000 even quantiles."""
    p = betaincinv(a, b, (np.arange(40_000) + 0.5) / 40_000)
    reached, spent = (each.mean(axis=0) for each in best_of_n_rates(p, KS))
    out = {f"limit at {kl:g} nats, average": v for kl, v in zip(KLS, average_limit(p, KLS), strict=True)}
    out |= {f"limit at {kl:g} nats, per prompt": v for kl, v in zip(KLS, best_pass_rates(p, KLS).mean(0), strict=True)}
    out |= {f"pass@{k}": v for k, v in zip(KS, reached, strict=True)}
    return out | {f"KL of best-of-{k}": v for k, v in zip(KS, spent, strict=True)}


def plugin(correct: np.ndarray) -> list[float]:
    """The same values with shares of successes as pass rates."""
    p = np.nanmean(correct, axis=1)
    reached, spent = (each.mean(axis=0) for each in best_of_n_rates(p, KS))
    return [*average_limit(p, KLS), *best_pass_rates(p, KLS).mean(axis=0), *reached, *spent]


def drawn(rng: np.random.Generator, a: float, b: float, prompts: int, samples: int, each: int) -> np.ndarray:
    """Base samples of one study; `each` prompts in a row have one pass rate."""
    rates = np.repeat(rng.beta(a, b, prompts // each), each)[:, None]
    correct = (rng.random((prompts, samples or 64)) < rates).astype(float)
    if not samples:
        correct[np.arange(64) >= rng.integers(4, 65, prompts)[:, None]] = np.nan
    return correct


def study(correct: np.ndarray, clusters: np.ndarray | None) -> Iterator[tuple[float, float, float, bool]]:
    """Estimate, interval and verdict, in the order of `exact`."""
    table = verifiable(correct, kls=KLS, ks=KS, replicates=100, clusters=clusters)
    rows = list(table)
    for row in rows:
        yield row["pass_rate"], row["pass_rate_low"], row["pass_rate_high"], row["reliable"]
    for row in rows[-len(KS) :]:
        yield row["kl"], row["kl_low"], row["kl_high"], row["reliable"]


def lines(studies: int) -> Iterator[str]:
    yield "| pass rates | prompts × samples | value | exact | plug-in | estimate | mean width | refused | coverage |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for a, b in WORLDS:
        truth = exact(a, b)
        for size in [*SIZES, UNEQUAL, CLUSTERED]:
            each = 4 if size == CLUSTERED else 1
            found, naive = [], []
            for seed in range(studies):
                correct = drawn(np.random.default_rng(seed), a, b, *size, each)
                clusters = np.arange(size[0]) // each if each > 1 else None
                found.append(list(study(correct, clusters)))
                naive.append(plugin(correct))
            values, low, high, reliable = np.moveaxis(np.array(found), 2, 0)
            name = f"{size[0]} × {size[1] or '4 to 64'}" + (" in fours" if each > 1 else "")
            for j, (what, true) in enumerate(truth.items()):
                inside = np.mean((low[:, j] <= true) & (true <= high[:, j]))
                cells = [f"{v:.3f}" for v in (true, np.mean(naive, axis=0)[j], values[:, j].mean())]
                cells.append(f"{np.mean(high[:, j] - low[:, j]):.3f}")
                cells += [f"{100 * (1 - reliable[:, j].mean()):.0f} %", f"{100 * inside:.1f} %"]
                yield f"| Beta({a:g}, {b:g}) | {name} | {what} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=300)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with open(args.out / "verifiable_coverage.md", "w", encoding="utf-8") as file:
        for line in lines(args.studies):
            print(line, flush=True)
            file.write(line + "\n")


if __name__ == "__main__":
    main()
