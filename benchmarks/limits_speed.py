"""How fast are the estimators? Ratios within one run, best of several.

    python benchmarks/limits_speed.py --out results/benchmarks     writes speed.md

The yardsticks: a straightforward NumPy loop of log-sum-exp over beta giving the same numbers, and the time to
evaluate as many exponentials once with np.exp. One thread.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from alignment_limits.limits import best_of_n, frontier, study_ensembles, tilt

PROMPTS, SAMPLES, BETAS = 1000, 512, 64


def best(job: Callable[[], object], times: int = 5) -> float:
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        job()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def naive(r: np.ndarray, betas: np.ndarray) -> list[tuple[np.ndarray, ...]]:
    """KL, reverse KL, gain, variance and effective sample size, one beta at a time."""
    out = []
    mean = r.mean(axis=1)
    for beta in betas:
        x = r / beta
        top = x.max(axis=1, keepdims=True)
        log_z = top[:, 0] + np.log(np.exp(x - top).mean(axis=1))
        w = np.exp(x - log_z[:, None]) / r.shape[1]
        tilted = (w * r).sum(axis=1)
        variance = (w * (r - tilted[:, None]) ** 2).sum(axis=1)
        out.append((tilted / beta - log_z, log_z - mean / beta, tilted - mean, variance, 1 / (w * w).sum(axis=1)))
    return out


def exponentials(count: int) -> Callable[[], None]:
    x = -np.abs(np.random.default_rng(0).standard_normal(250_000))
    y = np.empty_like(x)

    def job() -> None:
        for _ in range(count // len(x)):
            np.exp(x, out=y)

    return job


def default_study() -> None:
    """The size of the default study: 64 prompts, 64 samples, gold and 4 proxies, every estimate of the report."""
    rng = np.random.default_rng(1)
    gold = rng.standard_normal((64, 64))
    members = gold + 0.7 * rng.standard_normal((4, 64, 64))
    betas, kls, ns = np.geomspace(0.2, 5, 24), np.linspace(0.05, 3, 30), [1, 2, 4, 8, 16, 32, 64]
    for optimized in (gold, *members):
        rewards = {"gold": gold, "own": optimized}
        for budget in ("average", "per-prompt"):
            frontier(optimized, rewards, betas=betas, kls=kls, budget=budget)
            best_of_n(optimized, rewards, ns=ns, budget=budget)
    study_ensembles(members, gold, betas=[2.0, 1.0, 0.5], at_kl=1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    out: Path = parser.parse_args().out
    r = np.random.default_rng(0).standard_normal((PROMPTS, SAMPLES))
    betas = np.geomspace(0.1, 10, BETAS)

    def ours(scores: np.ndarray = r, grid: np.ndarray = betas) -> object:
        return tilt(scores, {"own": scores}, grid)

    table = tilt(r, {"own": r}, betas)["own"]  # compiles, and is checked against the loop
    np.testing.assert_allclose(table.gain.T, [row[2] for row in naive(r, betas)], rtol=1e-9, atol=1e-9)
    loop, exps, kernel = best(lambda: naive(r, betas), 3), best(exponentials(r.size * BETAS)), best(ours)
    lines = [
        f"{PROMPTS} prompts x {SAMPLES} samples x {BETAS} betas, one thread"
        + ("" if "alignment_limits.limits.fused" in sys.modules else " (NumPy fall-back, no Numba)"),
        "",
        "| job | seconds | ratio |",
        "|---|---|---|",
        f"| NumPy loop of log-sum-exp over beta | {loop:.4f} | {loop / kernel:.1f} x ours |",
        f"| np.exp alone, as many exponentials | {exps:.4f} | {exps / kernel:.2f} x ours |",
        f"| tilt: KL, reverse KL, gain, variance, ESS | {kernel:.4f} | 1 |",
    ]
    for label, job in {
        "half the prompts": lambda: ours(r[::2].copy()),
        "half the samples": lambda: ours(r[:, ::2].copy()),
        "half the betas": lambda: ours(r, betas[::2]),
    }.items():
        seconds = best(job)
        lines.append(f"| tilt, {label} | {seconds:.4f} | {seconds / kernel:.2f} of the whole |")
    full = best(lambda: frontier(r, {"own": r}, betas=betas, kls=np.linspace(0.05, 3, 30)), 2)
    lines.append(f"| frontier: corrected, {BETAS} betas, 30 KLs, 2,000 replicates | {full:.2f} | |")
    default_study()
    lines.append(f"| default study: every frontier, best-of-n and ensemble | {best(default_study, 1):.2f} | |")
    out.mkdir(parents=True, exist_ok=True)
    (out / "speed.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
