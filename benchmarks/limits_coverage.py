"""Do the intervals cover, and how biased is each estimate at fixed KL? Worlds with known truth, seeds fixed.

    python benchmarks/limits_coverage.py --worlds 500 --jobs 2 --out results/benchmarks
    python benchmarks/limits_coverage.py --read results/benchmarks/limits_coverage.csv --out docs/figures

The first writes limits_coverage.csv (one row per world, cell, kind of row and KL), the tables of the docs
(limits_coverage.md) and the figure (limits_coverage.png); the second draws both from a CSV. Coverage is counted where
`reliable` is true; `refused` says how often it is not. Bias is in per cent of the truth; the alternatives to the
correction are run on the first 100 worlds only.
"""

import argparse
import math
import sys
import time
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import pandas as pd

from alignment_limits.limits import WORLDS, BestOfNTable, CorrectedCurve, frontier
from alignment_limits.limits.bestofn import corrected_kl
from alignment_limits.limits.methods import Choice, compare
from alignment_limits.limits.ranks import best_of_n_weights, kl_bound
from alignment_limits.limits.worlds import efficiency

CELLS = [(64, 64), (64, 1024), (128, 256), (512, 64), (512, 1024)]
FRACTIONS = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)  # of log M; of 1.8 nats for Bernoulli, whose ceiling is 2.3
NS = (2, 4, 16)
REPLICATES = 1000
OTHERS = 100  # worlds on which the alternatives are run: their biases are known to a tenth of the plug-in's
KINDS = {
    "kl gain": "gain at a fixed KL",
    "per-prompt gain": "gain at a fixed KL of every prompt",
    "beta gain": "gain at a fixed beta",
    "beta kl": "KL at a fixed beta",
    "efficiency": "best-of-n over the limit",
}
LEAST, MOST = 0.93, 0.97


def jackknife(r: np.ndarray, kappas: np.ndarray) -> np.ndarray:
    """The alternative: log Z with the delete-one jackknife, in the dual min over lambda of (kappa + log Z)/lambda."""
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


def kappas_of(name: str, samples: int) -> np.ndarray:
    top = math.log(10) * 1.8 if name == "bernoulli" else math.log(samples)
    return np.array(FRACTIONS) * top


def draws(samples: int) -> list[int]:
    return [n for n in NS if 16 * n <= samples]


def efficiencies(r: np.ndarray, seed: int) -> BestOfNTable:
    """What `best_of_n` gives, less the win rates, which take half of its time and are not looked at here."""
    n = np.array(draws(r.shape[1]))
    none = np.full(len(n), np.nan)
    kl = corrected_kl(r, n, seed=seed)
    choice = Choice("best-of-n", n, none, best_of_n_weights(r, n), kl, kl_bound(n), none, wins={})
    settings = {"replicates": REPLICATES, "seed": seed, "level": 0.95, "keys": None}
    return compare(choice, r, {"own": r}, budget="average", **settings)["own"]


def one_world(name: str, prompts: int, samples: int, seed: int) -> dict[str, np.ndarray]:
    """Per kind (5, K): estimate, low, high, reliable, plug-in; efficiency for each n. Alternatives (2, K) or NaN."""
    world = WORLDS[name]
    drawn = world.draw(np.random.default_rng((seed, prompts, samples)), prompts, samples)
    r = np.sort(drawn, axis=1)  # no estimate depends on the order of samples, and sorted ones are ranked faster
    kappa = kappas_of(name, samples)
    betas = np.array([1 / world.inverse_at(k) for k in kappa])
    settings = {"seed": seed, "replicates": REPLICATES}
    table = frontier(r, {"own": r}, betas=betas, kls=kappa, **settings)["own"]
    each = frontier(r, {"own": r}, kls=kappa, budget="per-prompt", **settings)["own"]
    best = efficiencies(r, seed)
    gain = np.stack([table.gain, table.gain_low, table.gain_high, table.reliable, table.gain_plugin])
    kl = np.stack([table.kl, table.kl_low, table.kl_high, table.reliable, table.kl_plugin])
    none = np.full(len(best.n), np.nan)
    others = np.full((2, len(kappa)), np.nan)
    if seed < OTHERS:
        levels = CorrectedCurve(r, seed=seed).at(kappa).levels[..., 0]
        others = np.stack([2 * levels[0] - levels[1], jackknife(r, kappa)])
    return {
        "kl gain": gain[:, len(kappa) :],
        "beta gain": gain[:, : len(kappa)],
        "beta kl": kl[:, : len(kappa)],
        "per-prompt gain": np.stack([each.gain, each.gain_low, each.gain_high, each.reliable, each.gain_plugin]),
        "efficiency": np.stack([best.efficiency, best.efficiency_low, best.efficiency_high, best.reliable, none]),
        "others": others,
    }


def cell(task: tuple[str, int, int, int]) -> list[dict[str, object]]:
    """All rows of one world and cell."""
    name, prompts, samples, worlds = task
    start = time.process_time()
    runs = [one_world(name, prompts, samples, seed) for seed in range(worlds)]
    world, kappa = WORLDS[name], kappas_of(name, samples)
    limit = np.array([world.limit(k) for k in kappa])
    tilted = np.array([world.tilted(world.inverse_at(k))[1] for k in kappa])
    shared = np.array([efficiency(world, n) for n in draws(samples)])
    targets = {"kl gain": limit, "per-prompt gain": limit, "beta gain": tilted, "beta kl": kappa, "efficiency": shared}
    others = 100 * (np.nanmean([run["others"] for run in runs], axis=0) / limit - 1)
    rows: list[dict[str, object]] = []
    for kind, target in targets.items():
        estimate, low, high, reliable, plugin = np.moveaxis([run[kind] for run in runs], 1, 0)
        good = reliable == 1
        hit = (low <= target) & (target <= high)
        # Rows of one world share its samples: the error of their joint coverage is taken over worlds.
        count = good.sum()
        covered = (hit & good).sum() / max(count, 1)
        error = np.sqrt((((hit - covered) * good).sum(axis=1) ** 2).sum()) / max(count, 1)
        for j, value in enumerate(target):
            kept = good[:, j]
            rows.append({
                "world": name, "prompts": prompts, "samples": samples, "kind": kind,
                "kl": world.best_of_n(NS[j])[0] if kind == "efficiency" else kappa[j],
                "worlds": worlds, "reliable": int(kept.sum()),
                "coverage": hit[kept, j].mean() if kept.any() else np.nan,
                "coverage_all": hit[:, j].mean(),
                "joint_reliable": count, "joint_coverage": covered if count else np.nan, "joint_error": error,
                "bias_percent": 100 * (np.nanmean(estimate[:, j]) / value - 1),
                "bias_plugin": 100 * (np.mean(plugin[:, j]) / value - 1),
                "bias_two_level": others[0, j] if kind == "kl gain" else np.nan,
                "bias_jackknife": others[1, j] if kind == "kl gain" else np.nan,
                "above_one": (low[kept, j] > 1).mean() if kind == "efficiency" and kept.any() else np.nan,
            })  # fmt: skip
    print(f"{name} P={prompts} M={samples}: {time.process_time() - start:.0f} CPU s", file=sys.stderr, flush=True)
    return rows


def biases(table: pd.DataFrame) -> str:
    """Bias at fixed KL of the plug-in and of each correction, where the samples can show it; the worst over KLs."""
    lines = ["| world | prompts | samples | corrected | plug-in | 2F - H | jackknife |", "|---" * 7 + "|"]
    part = table[(table["kind"] == "kl gain") & (table["kl"] <= 0.5 * np.log(table["samples"]) + 1e-9)]
    for key, rows in part.groupby(["world", "prompts", "samples"], sort=False):
        last = rows.iloc[-1]
        names = ("bias_percent", "bias_plugin", "bias_two_level", "bias_jackknife")
        lines.append("| " + " | ".join([*map(str, key), *(f"{last[name]:.2f}" for name in names)]) + " |")
    return "\n".join(lines) + "\n"


def coverages(table: pd.DataFrame) -> str:
    """Joint coverage of each world's and cell's reliable intervals, over all KLs, and the share refused (%)."""
    cells = list(dict.fromkeys(zip(table["prompts"], table["samples"], strict=True)))
    lines = ["| world | row | " + " | ".join(f"{p} x {m}" for p, m in cells) + " |", "|---" * (2 + len(cells)) + "|"]
    for (world, kind), rows in table.groupby(["world", "kind"], sort=False):
        shown = []
        for p, m in cells:
            part = rows[(rows["prompts"] == p) & (rows["samples"] == m)]
            first, intervals = part.iloc[0], part["worlds"].sum()
            refused = 100 * (1 - part["reliable"].sum() / intervals)
            covered = f"{100 * first['joint_coverage']:.1f} ± {100 * first['joint_error']:.1f}"
            shown.append(f"{covered if part['reliable'].sum() > 0.02 * intervals else '-'} ({refused:.0f})")
        lines.append("| " + " | ".join([world, KINDS[kind], *shown]) + " |")
    return "\n".join(lines) + "\n"


def verdict(table: pd.DataFrame) -> str:
    """How many rows lie outside the band, how many would by chance at exactly 95 %, and the worst of them."""
    rows = table[table["reliable"] >= 0.5 * table["worlds"]]
    outside = rows[(rows["coverage"] < LEAST) | (rows["coverage"] > MOST)]
    generator = np.random.default_rng(0)
    chance = generator.binomial(rows["reliable"].to_numpy()[:, None], 0.95, (len(rows), 2000))
    chance = chance / rows["reliable"].to_numpy()[:, None]
    expected = ((chance < LEAST) | (chance > MOST)).mean(axis=1).sum()
    mean = (rows["coverage"] * rows["reliable"]).sum() / rows["reliable"].sum()
    every = (table["coverage"].fillna(0.0) * table["reliable"]).sum() / table["reliable"].sum()
    lines = [
        f"{len(rows)} rows are reliable in at least half of their worlds; they cover {100 * mean:.1f} % together, "
        f"{len(outside)} lie outside {100 * LEAST:.0f}-{100 * MOST:.0f} % (by chance at 95 %: {expected:.0f}). All "
        f"{table['reliable'].sum()} reliable intervals, rows refused more often included: {100 * every:.1f} %.",
    ]
    for row in outside.sort_values("coverage").head(8).itertuples():
        place = f"{row.world} {row.prompts} x {row.samples}, {KINDS[row.kind]}, KL {row.kl:.2f}"
        lines.append(f"- {place}: {100 * row.coverage:.1f} % of {row.reliable}")
    return "\n".join(lines) + "\n"


def figure(table: pd.DataFrame, path: Path) -> None:
    """Coverage where reliable (above) and share refused (below) against KL / log M, a column for each world."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt
    import seaborn as sns

    sns.set_theme(style="whitegrid", font_scale=0.8)
    shown = table[table["kind"] != "efficiency"].assign(refused=lambda t: 1 - t["reliable"] / t["worlds"])
    shown = shown[shown["kind"].isin(["kl gain", "beta gain"])]
    cells = list(dict.fromkeys(f"{p} x {m}" for p, m in zip(shown["prompts"], shown["samples"], strict=True)))
    shown = shown.assign(cell=[f"{p} x {m}" for p, m in zip(shown["prompts"], shown["samples"], strict=True)])
    shown["coverage"] = shown["coverage"].where(shown["reliable"] >= 0.2 * shown["worlds"])
    worlds = list(dict.fromkeys(shown["world"]))
    kinds = [("kl gain", "fixed KL"), ("beta gain", "fixed beta")]
    plot, axes = plt.subplots(4, len(worlds), figsize=(2.4 * len(worlds), 7), sharex="col", sharey="row", squeeze=False)
    for column, world in enumerate(worlds):
        for index, (kind, label) in enumerate(kinds):
            part = shown[(shown["world"] == world) & (shown["kind"] == kind)]
            for axis, value in ((axes[2 * index, column], "coverage"), (axes[2 * index + 1, column], "refused")):
                sns.lineplot(
                    part, x="kl", y=value, hue="cell", style="cell", hue_order=cells, style_order=cells, markers=True,
                    dashes=False, palette="colorblind", ax=axis, legend=(column + index == 0) and value == "coverage",
                )  # fmt: skip
                axis.set_ylabel(f"{value}, {label}")
                axis.set_xlabel("KL (nats)")
            axes[2 * index, column].axhspan(LEAST, MOST, color="0.9", zorder=0)
            axes[2 * index, column].set_ylim(0.86, 1.0)
        axes[0, column].set_title(world)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    axes[0, 0].get_legend().remove()
    plot.legend(handles, labels, title="prompts x samples", loc="outside lower center", ncols=len(cells))
    plot.savefig(path, dpi=150, bbox_inches="tight")


def report(table: pd.DataFrame, folder: Path) -> None:
    text = "\n".join([coverages(table), verdict(table), biases(table)])
    (folder / "limits_coverage.md").write_text(text)
    figure(table, folder / "limits_coverage.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=500)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=list(WORLDS), help="worlds to run")
    parser.add_argument("--cells", nargs="*", default=[f"{p}x{m}" for p, m in CELLS], help="prompts x samples")
    parser.add_argument("--read", type=Path, nargs="*", help="CSV files of earlier runs; nothing is run")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.read:
        report(pd.concat([pd.read_csv(path) for path in options.read], ignore_index=True), options.out)
        return
    sizes = [tuple(int(v) for v in each.split("x")) for each in options.cells]
    tasks = [(name, p, m, options.worlds) for p, m in sizes for name in options.only]
    rows: list[dict[str, object]] = []
    with Pool(options.jobs) as pool:
        for part in pool.imap(cell, tasks):
            rows += part
            table = pd.DataFrame(rows)
            table.to_csv(options.out / "limits_coverage.csv", index=False, float_format="%.4g")
    report(table, options.out)


if __name__ == "__main__":
    main()
