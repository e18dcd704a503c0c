"""Do the intervals cover, and how biased is each estimate at fixed KL? Worlds with known truth, seeds fixed.

    python benchmarks/limits_coverage.py --worlds 500 --jobs 2 --out results/benchmarks

writes coverage.csv (one row per world, cell, kind of row and KL) and coverage.md (the table of the docs). Coverage
is counted where `reliable` is true; `refused` says how often it is not. Bias is in per cent of the truth.
"""

import argparse
import csv
import math
import sys
import time
from multiprocessing import Pool
from pathlib import Path

import numpy as np

from alignment_limits.limits import WORLDS, CorrectedCurve, best_of_n, frontier
from alignment_limits.limits.worlds import efficiency

CELLS = [(64, 64), (64, 1024), (128, 256), (512, 64), (512, 256), (256, 1024)]
FRACTIONS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
NS = (2, 4, 16)


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


def one_world(name: str, prompts: int, samples: int, seed: int) -> dict[str, np.ndarray]:
    world = WORLDS[name]
    r = world.draw(np.random.default_rng((seed, prompts, samples)), prompts, samples)
    kappa = kappas_of(name, samples)
    betas = np.array([1 / world.inverse_at(k) for k in kappa])
    table = frontier(r, {"own": r}, betas=betas, kls=kappa, seed=seed, replicates=1000)["own"]
    each = frontier(r, {"own": r}, kls=kappa, budget="per-prompt", seed=seed, replicates=1000)["own"]
    levels = CorrectedCurve(r, seed=seed).at(kappa).levels[..., 0]
    ns = [n for n in NS if 16 * n <= samples]
    best = best_of_n(r, {"own": r}, ns=ns, seed=seed, replicates=1000)["own"]
    pad = (0, len(kappa) - len(ns))
    count = len(kappa)

    def padded(column: np.ndarray) -> np.ndarray:
        return np.pad(column.astype(float), pad, constant_values=np.nan)

    return {
        "kl gain": np.stack([table.gain, table.gain_low, table.gain_high, table.reliable])[:, count:],
        "beta gain": np.stack([table.gain, table.gain_low, table.gain_high, table.reliable])[:, :count],
        "beta kl": np.stack([table.kl, table.kl_low, table.kl_high, table.reliable])[:, :count],
        "per-prompt gain": np.stack([each.gain, each.gain_low, each.gain_high, each.reliable]),
        "efficiency": np.stack(
            [padded(c) for c in (best.efficiency, best.efficiency_low, best.efficiency_high, best.reliable)]
        ),
        "alternatives": np.stack([levels[0], 2 * levels[0] - levels[1], jackknife(r, kappa), each.gain_plugin]),
    }


def cell(task: tuple[str, int, int, int]) -> list[dict[str, object]]:
    name, prompts, samples, worlds = task
    start = time.time()
    runs = [one_world(name, prompts, samples, seed) for seed in range(worlds)]
    world, kappa = WORLDS[name], kappas_of(name, samples)
    truth = np.array([world.limit(k) for k in kappa])
    inverse = np.array([world.inverse_at(k) for k in kappa])
    efficient = np.array([efficiency(world, n) if 16 * n <= samples else np.nan for n in NS] + [np.nan] * 3)
    targets = {
        "kl gain": truth,
        "beta gain": np.array([world.tilted(i)[1] for i in inverse]),
        "beta kl": kappa,
        "per-prompt gain": truth,
        "efficiency": efficient,
    }
    others = np.array([run["alternatives"] for run in runs])
    rows = []
    for kind, target in targets.items():
        values = np.array([run[kind] for run in runs])
        for j in range(len(kappa)):
            estimate, low, high, reliable = values[:, :, j].T
            if np.isnan(target[j]):
                continue
            good = reliable == 1
            hit = (low <= target[j]) & (target[j] <= high)
            row = {
                "world": name, "prompts": prompts, "samples": samples, "kind": kind,
                "kl": world.best_of_n(NS[j])[0] if kind == "efficiency" else kappa[j],
                "worlds": worlds, "refused": 1 - good.mean(),
                "coverage": hit[good].mean() if good.any() else np.nan,
                "coverage_all": hit.mean(),
                "bias_percent": 100 * (np.nanmean(estimate) / target[j] - 1),
                "above_one": (low[good] > 1).mean() if kind == "efficiency" and good.any() else np.nan,
            }  # fmt: skip
            for i, label in enumerate(("plugin", "two_level", "jackknife")):
                means = others[:, 3 if kind == "per-prompt gain" and i == 0 else i, j]
                row[f"bias_{label}"] = 100 * (means.mean() / target[j] - 1) if kind == "kl gain" else np.nan
                if kind == "per-prompt gain" and i == 0:
                    row["bias_plugin"] = 100 * (means.mean() / target[j] - 1)
            rows.append(row)
    print(f"{name} P={prompts} M={samples}: {time.time() - start:.0f} s", file=sys.stderr, flush=True)
    return rows


def markdown(rows: list[dict[str, object]]) -> str:
    """One line per world, cell and kind: coverage range over reliable KLs, refusals, worst bias up to half log M."""
    lines = [
        "| world | prompts | samples | row | coverage where reliable | refused, by KL | bias % at the last KL: "
        "corrected / plug-in / 2F-H / jackknife |",
        "|---|---|---|---|---|---|---|",
    ]
    keys = dict.fromkeys((r["world"], r["prompts"], r["samples"], r["kind"]) for r in rows)
    for key in keys:
        part = [r for r in rows if (r["world"], r["prompts"], r["samples"], r["kind"]) == key]
        covered = [r["coverage"] for r in part if r["refused"] < 0.5]
        span = f"{min(covered):.3f}-{max(covered):.3f}" if covered else "(refused)"
        refused = " ".join(f"{100 * r['refused']:.0f}" for r in part)
        last = part[-1]
        biases = " / ".join(
            f"{last[c]:.2f}" if not math.isnan(last[c]) else "-"
            for c in ("bias_percent", "bias_plugin", "bias_two_level", "bias_jackknife")
        )
        lines.append("| " + " | ".join([*map(str, key), span, refused + " %", biases]) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=500)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=list(WORLDS), help="worlds to run")
    parser.add_argument("--cells", nargs="*", default=[f"{p}x{m}" for p, m in CELLS], help="prompts x samples")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    options = parser.parse_args()
    sizes = [tuple(int(v) for v in each.split("x")) for each in options.cells]
    tasks = [(name, p, m, options.worlds) for p, m in sizes for name in options.only]
    options.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, object]] = []
    with Pool(options.jobs) as pool:
        for part in pool.imap(cell, tasks):
            rows += part
            with (options.out / "coverage.csv").open("w", newline="") as handle:
                writer = csv.DictWriter(handle, fieldnames=list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
            (options.out / "coverage.md").write_text(markdown(rows))


if __name__ == "__main__":
    main()
