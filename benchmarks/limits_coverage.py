"""Coverage of the 95 % intervals and bias of the estimates, in worlds with known truth and with fixed seeds.

    OMP_NUM_THREADS=1 python benchmarks/limits_coverage.py --worlds 500
    OMP_NUM_THREADS=1 python benchmarks/limits_coverage.py --group mixtures --worlds 200
    python benchmarks/limits_coverage_report.py

The first command runs every estimator on 500 studies drawn from each world and size. It writes one Parquet file per
part, world and size under results/benchmarks/coverage. Existing files are not run again, so a stopped run can be
continued; to run one part again, delete its folder. The second command does the same for the group of worlds
`mixtures`. The third command writes the tables and the figure of docs/coverage.md from these files.

There are two groups of worlds. In `WORLDS` all prompts have one distribution; there are six sizes. In `MIXTURES`
(option `--group mixtures`) prompts differ in spread, number of samples, pass rate or cluster; there are two sizes.

Columns of a file: study (seed), row (the estimated quantity), point (0, 1, ... along KL or n), x (KL, or n), truth,
estimate, low, high, plugin, reliable, reason (without its numbers), ess, pareto_k. The row "limit" also has other
corrections, two_level (2F - H) and jackknife, in the first 100 studies.
"""

import argparse
import math
import re
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl

from alignment_limits.limits.best_of_n import best_of_n
from alignment_limits.limits.curve import CorrectedCurve
from alignment_limits.limits.frontier import frontier
from alignment_limits.limits.proxy_gap import proxy_gap
from alignment_limits.limits.worlds import MIXTURES, WORLDS, Levels, World, efficiency

SIZES = [(64, 64), (512, 64), (128, 256), (256, 256), (64, 1024), (512, 1024)]  # prompts, samples per prompt
MIXED_SIZES = [(64, 64), (256, 64)]
GROUPS = {"worlds": (WORLDS, SIZES), "mixtures": (MIXTURES, MIXED_SIZES)}
EVERY = WORLDS | MIXTURES
FRACTIONS = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)  # of log M; for Bernoulli of its ceiling if that is smaller
DRAWS = (2, 4, 16, 64)  # n of best-of-n, where 16 n <= M
NOISE = 0.5  # sd of the proxy's error, in sds of the gold reward
ALTERNATIVES = 100  # studies in which the other corrections are tried
OUT = Path("results/benchmarks/coverage")

Columns = dict[str, object]


def budgets(world: World, samples: int) -> np.ndarray:
    """KLs (nats) from 1 % to 50 % of log M, or of the world's ceiling."""
    return np.array(FRACTIONS) * min(math.log(samples), world.ceiling)


def jackknife(r: np.ndarray, kappas: np.ndarray) -> np.ndarray:
    """The limit from log Z with the delete-one jackknife, in the dual min over lambda of (kappa + log Z) / lambda."""
    m = r.shape[1]
    below = r - r.max(axis=1, keepdims=True)
    inverse = np.geomspace(0.02, 60, 160) / r.std()
    log_z = np.empty(len(inverse))
    for j, lam in enumerate(inverse):
        e = np.exp(lam * below)
        total = e.sum(axis=1, keepdims=True)
        left_out = np.log1p(-np.minimum(e / total, 1 - 1e-12)).mean(axis=1) + math.log(m / (m - 1))
        centred = lam * (r.max(axis=1) - r.mean(axis=1))
        log_z[j] = np.mean(np.log(total[:, 0] / m) + centred - (m - 1) * left_out)
    return np.min((kappas[:, None] + log_z) / inverse, axis=1)


def drawn_together(world: World, prompts: int) -> Columns:
    """The clusters of a world's prompts, as keyword arguments."""
    labels = getattr(world, "labels", lambda prompts: None)(prompts)
    return {} if labels is None else {"clusters": labels}


@cache
def truths(name: str, row: str, at: tuple[float, ...]) -> list[float]:
    """Exact values of a row of a world at budgets, inverse temperatures or n."""
    world = EVERY[name]
    ways: dict[str, Callable[[float], float]] = {
        "limit": world.limit,
        "limit, per prompt": world.limit_per_prompt,
        "inverse": world.inverse_at,
        "gain at beta": lambda inverse: world.tilted(inverse)[1],
        "best-of-n": lambda n: world.best_of_n(int(n))[1],
        "best-of-n / limit": lambda n: efficiency(world, int(n)),
        "best-of-n / limit, per prompt": lambda n: (
            world.best_of_n(int(n))[1] / world.limit_per_prompt(world.best_of_n(int(n))[0])
        ),
    }
    return [ways[row](value) for value in at]


def limit(name: str, r: np.ndarray, seed: int) -> Iterator[Columns]:
    """Gain at a fixed KL, with one beta for all prompts."""
    world = EVERY[name]
    kappa = budgets(world, r.shape[1])
    t = frontier(r, {"own": r}, kls=kappa, seed=seed, **drawn_together(world, len(r)))["own"]
    extra = {}
    if seed < ALTERNATIVES and name in WORLDS:
        full, halves, _ = CorrectedCurve(r, seed=seed).at(kappa).levels[..., 0]
        extra = {"two_level": 2 * full - halves, "jackknife": jackknife(r, kappa)}
    truth = truths(name, "limit", tuple(kappa))
    yield rows("limit", t, kappa, truth, t.gain, t.gain_low, t.gain_high, t.gain_plugin) | extra


def per_prompt(name: str, r: np.ndarray, seed: int) -> Iterator[Columns]:
    """Gain at a KL that is fixed for every prompt."""
    world = EVERY[name]
    kappa = budgets(world, r.shape[1])
    together = drawn_together(world, len(r))
    t = frontier(r, {"own": r}, kls=kappa, budget="per-prompt", seed=seed, **together)["own"]
    truth = truths(name, "limit, per prompt", tuple(kappa))
    yield rows("limit, per prompt", t, kappa, truth, t.gain, t.gain_low, t.gain_high, t.gain_plugin)


def at_beta(name: str, r: np.ndarray, seed: int) -> Iterator[Columns]:
    """Gain and KL at a fixed beta."""
    world = EVERY[name]
    kappa = budgets(world, r.shape[1])
    inverse = np.array(truths(name, "inverse", tuple(kappa)))
    t = frontier(r, {"own": r}, betas=1 / inverse, seed=seed, **drawn_together(world, len(r)))["own"]
    truth = truths(name, "gain at beta", tuple(inverse))
    yield rows("gain at beta", t, kappa, truth, t.gain, t.gain_low, t.gain_high, t.gain_plugin)
    yield rows("KL at beta", t, kappa, kappa, t.kl, t.kl_low, t.kl_high, t.kl_plugin)


def chosen(name: str, r: np.ndarray, seed: int) -> Iterator[Columns]:
    """Gain of best-of-n and its share of the limit at the same KL."""
    world = EVERY[name]
    n = np.array([n for n in DRAWS if 16 * n <= r.shape[1]])
    together = drawn_together(world, len(r))
    t = best_of_n(r, {"own": r}, ns=n, seed=seed, **together)["own"]
    gain, share = (truths(name, row, tuple(n)) for row in ("best-of-n", "best-of-n / limit"))
    yield rows("best-of-n", t, n, gain, t.gain, t.gain_low, t.gain_high, np.nan, verdict="gain_")
    yield rows("best-of-n / limit", t, n, share, t.efficiency, t.efficiency_low, t.efficiency_high, np.nan)
    if name in MIXTURES and not isinstance(world, Levels):  # otherwise the KL of best-of-n differs between prompts
        t = best_of_n(r, {"own": r}, ns=n, seed=seed, budget="per-prompt", **together)["own"]
        row = "best-of-n / limit, per prompt"
        yield rows(row, t, n, truths(name, row, tuple(n)), t.efficiency, t.efficiency_low, t.efficiency_high, np.nan)


def gap(name: str, r: np.ndarray, seed: int) -> Iterator[Columns]:
    """Regularised gap, and gold under the tilt, of a proxy with an independent Gaussian error at a fixed beta.

    The tilt by r + error is the product of the tilts by r and by the error. So gold's gain is that under its own tilt,
    and the gap is beta times the KL of the error's tilt, sd^2 / (2 beta).
    """
    world = EVERY[name]
    kappa = budgets(world, r.shape[1])[:-2]
    inverse = np.array(truths(name, "inverse", tuple(kappa)))
    sd = NOISE * math.sqrt(2 * world.tilted(1e-3)[0]) / 1e-3  # KL = variance lambda^2 / 2 near 0
    error = sd * np.random.default_rng((seed, *r.shape)).standard_normal(r.shape)
    t = proxy_gap(r + error, r, betas=1 / inverse, seed=seed)
    yield rows("gap", t, kappa, sd**2 * inverse / 2, t.gap, t.gap_low, t.gap_high, t.gap_plugin)
    gold = truths(name, "gain at beta", tuple(inverse))
    yield rows("gold under proxy", t, kappa, gold, t.gold_gain, t.gold_gain_low, t.gold_gain_high, np.nan)


PARTS: dict[str, Callable[[str, np.ndarray, int], Iterator[Columns]]] = {
    "limit": limit,
    "per_prompt": per_prompt,
    "at_beta": at_beta,
    "best_of_n": chosen,
    "gap": gap,
}


def rows(row: str, table: object, x: object, truth: object, *estimates: object, verdict: str = "") -> Columns:
    """Columns of one study and kind of row. `verdict` is the prefix of the verdict's columns, if a row has several."""
    reason = [re.sub(r"[-\d.]+", "#", text) for text in getattr(table, f"{verdict}reason")]
    names = ("estimate", "low", "high", "plugin")
    diagnostics = {name: getattr(table, name, np.nan) for name in ("ess", "pareto_k")}
    diagnostics["reliable"] = getattr(table, f"{verdict}reliable")
    values = {"row": row, "point": np.arange(len(reason)), "x": x, "truth": truth, "reason": reason}
    return values | dict(zip(names, estimates, strict=True)) | diagnostics


def cell(part: str, name: str, prompts: int, samples: int, studies: int) -> pl.DataFrame:
    """Every row of `studies` studies of one world and size."""
    world, place = EVERY[name], list(EVERY).index(name)
    tables = []
    for seed in range(studies):
        drawn = world.draw(np.random.default_rng((seed, prompts, samples, place)), prompts, samples)
        r = np.sort(drawn, axis=1)  # no estimate depends on the order of samples, and sorted samples are ranked faster
        tables += [pl.DataFrame({"study": seed} | columns) for columns in PARTS[part](name, r, seed)]
    return pl.concat(tables, how="diagonal_relaxed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=500, help="studies drawn for each world and size")
    parser.add_argument("--group", choices=GROUPS, default="worlds")
    parser.add_argument("--only", nargs="*", choices=list(EVERY), help="worlds to run (default: all of the group)")
    parser.add_argument("--sizes", nargs="*", help="prompts x samples (default: those of the group)")
    parser.add_argument("--parts", nargs="*", default=list(PARTS))
    parser.add_argument("--out", type=Path, help=f"default: {OUT}, or {OUT}_mixtures")
    options = parser.parse_args()
    worlds, sizes = GROUPS[options.group]
    out = options.out or (OUT if options.group == "worlds" else OUT.with_name(f"{OUT.name}_{options.group}"))
    for size in options.sizes or [f"{p}x{m}" for p, m in sizes]:
        prompts, samples = map(int, size.split("x"))
        for part in options.parts:
            for name in options.only or worlds:
                if name in MIXTURES and part == "gap":
                    continue  # this error has one size for all prompts: not for worlds whose prompts differ
                path = out / part / f"{name}-{size}.parquet"
                if path.exists():
                    continue
                start = time.process_time()
                table = cell(part, name, prompts, samples, options.worlds)
                path.parent.mkdir(parents=True, exist_ok=True)
                table.write_parquet(path.with_suffix(".tmp"))
                path.with_suffix(".tmp").rename(path)
                print(f"{part} {name} {size}: {time.process_time() - start:.0f} CPU s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
