"""How many limits up to half of log M are refused, and do the reliable ones cover, in worlds of known limit?

    OMP_NUM_THREADS=1 python benchmarks/refusals.py [--sizes 64x64 256x64] [--studies 80] [--worlds gaussian ...]
    python benchmarks/refusals.py --figure docs/figures/refusals.png
    OMP_NUM_THREADS=1 python benchmarks/refusals.py --at-beta [--sizes 64x64] [--studies 40] [--worlds gaussian ...]

The first command writes one Parquet file for each world, budget and size under results/benchmarks/refusals, and prints
the table of docs/coverage.md. Existing files are not run again. The second draws them. The third does the same as the
first at the β that spend these KLs, for gain and KL, and for the gap of a proxy with an independent Gaussian error of
half a prompt's spread (not for pass rates, whose prompts have no common spread).

Further worlds than those of limits_coverage.py: `flat` (30 % of the prompts are constant), `student5` and `lognormal`
(log-sd 1/2), both cut off so that a limit exists: Student's t at 20, the log-normal 4.5 log-sds above its median.
"""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import limits_coverage
import numpy as np
import polars as pl
from limits_coverage import EVERY, budgets, drawn_together, truths

from alignment_limits.limits import frontier, proxy_gap
from alignment_limits.limits.worlds import FewWide, Gaussian, Levels, Spreads, World, student

OUT = Path("results/benchmarks/refusals")
ROWS = {"average": "limit", "per-prompt": "limit, per prompt"}
AT_BETA, GAPS = ("gain", "kl", "gap", "gold_gain"), ("gap", "gold_gain")
SHOWN = ["gaussian", "uniform", "bernoulli", "rubric1to5", "rubric1to10", "passrates", "flat", "clusters",
         "counts2to200", "spread0.3", "spread0.6", "spread1.0", "fewwide", "student10", "student5", "lognormal",
         "exponential"]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Flat(Gaussian):
    """N(0, 1) in 70 % of the prompts, constant in the others."""

    part: float = 0.7

    def tilted(self, inverse: float) -> tuple[float, float]:
        kl, gain = super().tilted(inverse)
        return self.part * kl, self.part * gain

    def draw(self, rng: np.random.Generator, prompts: int, samples: int) -> np.ndarray:
        return (rng.random(prompts) < self.part)[:, None] * rng.standard_normal((prompts, samples))

    def limit_per_prompt(self, kappa: float) -> float:
        return self.part * math.sqrt(2 * kappa)


def lognormal(log_sd: float = 0.5, end: float = 4.5) -> Levels:
    """A log-normal on a fine grid, cut off `end` log-sds above its median."""
    y = np.linspace(-5, end, 4001)
    density = np.exp(-(y**2) / 2) / np.exp(-(y**2) / 2).sum()
    return Levels(levels=tuple(np.exp(log_sd * y)), population=density[None], ceiling=-math.log(density[-1]))


EVERY |= {"flat": Flat(), "student5": student(5.0, 20.0), "lognormal": lognormal()}
limits_coverage.EVERY = EVERY


def study(name: str, prompts: int, samples: int, seed: int, budget: str) -> pl.DataFrame:
    """Every row of one study."""
    world = EVERY[name]
    kappa = budgets(world, samples)
    drawn = np.sort(world.draw(np.random.default_rng((seed, prompts, samples, 77)), prompts, samples), axis=1)
    t = frontier(drawn, kls=kappa, budget=budget, seed=seed, replicates=400, **drawn_together(world, prompts))
    truth = np.array(truths(name, ROWS[budget], tuple(kappa)))
    return pl.DataFrame(
        {"study": seed, "point": np.arange(len(kappa)), "kl": kappa, "truth": truth, "estimate": t.gain}
        | {"low": t.gain_low, "high": t.gain_high, "reliable": t.reliable, "reason": t.reason.astype(str)}
    )


def gold_and_error(world: World, rng: np.random.Generator, prompts: int, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Gold, and an error of the proxy with half of each prompt's standard deviation."""
    spread = np.ones((prompts, 1))
    if isinstance(world, Spreads):
        spread = rng.lognormal(sigma=world.log_sd, size=(prompts, 1))
    elif isinstance(world, FewWide):
        spread = np.where(rng.random((prompts, 1)) < world.wide, world.ratio, 1.0)
    if isinstance(world, Spreads | FewWide):
        return spread * rng.standard_normal((prompts, samples)), 0.5 * spread * rng.standard_normal((prompts, samples))
    error = math.sqrt(variance(world)) / 2 * rng.standard_normal((prompts, samples))
    return world.draw(rng, prompts, samples), error


def variance(world: World) -> float:
    """Mean over prompts of the variance of the reward, as KL = variance λ² / 2 near 0."""
    return 2 * world.tilted(1e-3)[0] / 1e-6


def study_at_beta(name: str, prompts: int, samples: int, seed: int, quantity: str) -> pl.DataFrame:
    """Every row of one study at the β that spend the KLs of `study`."""
    world = EVERY[name]
    kappa = budgets(world, samples)
    inverse = np.array(truths(name, "inverse", tuple(kappa)))
    gain = np.array(truths(name, "gain at beta", tuple(inverse)))
    gold, error = gold_and_error(world, np.random.default_rng((seed, prompts, samples, 78)), prompts, samples)
    shared = {"betas": 1 / inverse, "seed": seed, "replicates": 400, **drawn_together(world, prompts)}
    t = proxy_gap(gold + error, gold, **shared) if quantity in GAPS else frontier(gold, **shared)
    exact = {"gap": variance(world) / 4 * inverse / 2, "kl": kappa}.get(quantity, gain)
    ends = {each: getattr(t, f"{quantity}{each and '_'}{each}") for each in ("", "low", "high")}
    return pl.DataFrame(
        {"study": seed, "point": np.arange(len(kappa)), "kl": kappa, "truth": exact, "estimate": ends[""]}
        | {"low": ends["low"], "high": ends["high"], "reliable": t.reliable, "reason": t.reason.astype(str)}
    )


def summary(table: pl.DataFrame) -> tuple[float, float, float, float]:
    """Refused rows (%), coverage of the reliable ones (%) and its standard error, rows reliable and wrong (%)."""
    table = table.with_columns(held=pl.col("truth").is_between(pl.col("low"), pl.col("high")))
    kept = table.filter(pl.col("reliable"))
    share = float(kept["held"].mean() or math.nan)
    each = kept.group_by("study").agg(off=(pl.col("held") - share).sum())["off"].to_numpy()
    error = math.sqrt((each**2).sum()) / max(kept.height, 1)
    wrong = table.select((pl.col("reliable") & ~pl.col("held")).mean()).item()
    return 100 * (1 - float(table["reliable"].mean())), 100 * share, 100 * error, 100 * wrong


def draw(path: Path) -> None:
    """Refused rows against KL for every world, a panel for each budget, from the files of 64 x 64."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 4.2), sharey=True, layout="constrained")
    for axis, budget in zip(axes, ROWS, strict=True):
        cells = []
        for name in SHOWN:
            file = OUT / f"{name}-{budget}-64x64.parquet"
            table = pl.read_parquet(file) if file.exists() else None
            each = None if table is None else table.group_by("point").agg(pl.col("reliable").mean()).sort("point")
            cells.append(np.full(7, np.nan) if each is None else 100 * (1 - each["reliable"].to_numpy()))
        shown = axis.imshow(np.array(cells), cmap="Blues", vmin=0, vmax=100, aspect="auto")
        for (i, j), value in np.ndenumerate(np.array(cells)):
            if np.isfinite(value):
                axis.text(j, i, f"{value:.0f}", ha="center", va="center", fontsize=7,
                          color="white" if value > 50 else "black")  # fmt: skip
        axis.set_xticks(range(7), [f"{f:g}" for f in limits_coverage.FRACTIONS])
        axis.set_yticks(range(len(SHOWN)), SHOWN, fontsize=8)
        axis.set_xlabel("KL, as a share of log M or of the world's ceiling")
        axis.set_title(f"{budget} budget", fontsize=10)
    figure.colorbar(shown, ax=axes, label="rows refused (%)")
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="*", default=["64x64", "256x64", "64x256"])
    parser.add_argument("--studies", type=int, default=80)
    parser.add_argument("--worlds", nargs="*", choices=SHOWN, default=SHOWN)
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--at-beta", action="store_true")
    given = parser.parse_args()
    if given.figure:
        return draw(given.figure)
    OUT.mkdir(parents=True, exist_ok=True)
    kinds = AT_BETA if given.at_beta else tuple(ROWS)
    run = study_at_beta if given.at_beta else study
    head = [f"{what}, {kind}" for kind in kinds for what in ("refused", "coverage", "reliable and wrong")]
    print("| world | size | " + " | ".join(head) + " |\n|---" + "|--:" * (1 + len(head)) + "|")
    for size in given.sizes:
        prompts, samples = map(int, size.split("x"))
        for name in given.worlds:
            cells = [name, size]
            for kind in kinds:
                if kind in GAPS and name == "passrates":
                    cells += ["–"] * 3
                    continue
                file = OUT / f"{name}-{kind}-{size}.parquet"
                if not file.exists():
                    parts = [run(name, prompts, samples, seed, kind) for seed in range(given.studies)]
                    pl.concat(parts, how="vertical_relaxed").write_parquet(file)
                refused, covered, error, wrong = summary(pl.read_parquet(file))
                held = "–" if math.isnan(covered) else f"{covered:.1f} ± {error:.1f}"
                cells += [f"{refused:.1f}", held, f"{wrong:.1f}"]
            print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
