"""Speed of the estimators: ratios within one run (best of several), and seconds for the default study's estimates.

    python benchmarks/limits_speed.py --out results/benchmarks     writes speed.md

The tilt is compared with two alternatives: a simple NumPy loop of log-sum-exp over beta that gives the same numbers,
and the time to evaluate as many exponentials once with np.exp. All times are CPU seconds of one thread, so other work
on the machine matters little.
"""

import argparse
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import yaml

from alignment_limits.limits import Pool, PromptBootstrap, aggregate, frontier, study_ensembles, tilt
from alignment_limits.limits.best_of_n import study_choice
from alignment_limits.limits.compare import compare

CONFIG = Path(__file__).parents[1] / "config/config.yaml"
PROMPTS, SAMPLES, BETAS = 1000, 512, 64
SHIFT = 1.8  # mean of the pooled policy's rewards, in base standard deviations


def best(job: Callable[[], object], times: int = 5) -> float:
    seconds = []
    for _ in range(times):
        start = time.process_time()
        job()
        seconds.append(time.process_time() - start)
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


def default_study(file: Path) -> dict[str, Callable[[], object]]:
    """The computations of the default study from its scores, as jobs: its sizes, grids, subsets and replicates.

    Scores are Gaussian. Those of one proxy are rounded, because scores of a lexicon have ties.
    """
    study = yaml.safe_load(file.read_text())
    limits, gold_name = study["limits"], study["gold"]
    proxies = [name for name in study["rewards"] if name != gold_name]
    shape = study["prompts"]["count"], study["sampling"]["samples_per_prompt"]
    rng = np.random.default_rng(1)
    gold = rng.standard_normal(shape)
    scores = {name: gold + 0.7 * rng.standard_normal(shape) for name in proxies}
    scores[proxies[0]] = np.round(scores[proxies[0]], 1)
    rewards = {gold_name: gold, **scores}
    for name, made in study["ensembles"].items():
        rewards[name] = aggregate(np.stack([scores[each] for each in made["members"]]), made["aggregator"])
    ns, replicates = np.array(limits["best_of"]), limits["bootstrap"]
    carried = {name: {name: own} if name == gold_name else {name: own, "gold": gold} for name, own in rewards.items()}

    def best_of_n() -> None:
        for name, own in rewards.items():
            grids = {"temperatures": limits["soft_temperatures"], "betas": limits["pessimism_betas"]}
            choice = study_choice(own, carried[name], ns=ns, relatives=name in study["rewards"], **grids)
            for budget in ("average", "per-prompt"):
                compare(choice, own, carried[name], budget=budget, replicates=replicates, seed=0)

    def ensembles() -> None:
        members, betas = np.stack(list(scores.values())), limits["ensemble_betas"]
        study_ensembles(members, gold, betas=betas, at_kl=limits["reference_kl"], replicates=replicates)

    def bootstrap() -> None:
        gains = rng.standard_normal((shape[0], len(limits["betas"]) + len(limits["kls"])))
        for name in [*rewards] * 2:  # for each budget
            boot = PromptBootstrap(shape[0], replicates=replicates)
            for _ in carried[name]:
                boot.interval(gains)

    def frontiers() -> None:
        for name, own in rewards.items():
            for budget in ("average", "per-prompt"):
                frontier(
                    own, carried[name], betas=limits["betas"], kls=limits["kls"], budget=budget, replicates=replicates
                )

    return {
        "bootstrap of every frontier row": bootstrap,
        "ensembles over all subsets": ensembles,
        "best-of-n and its relatives, all rewards, both budgets": best_of_n,
        "(every frontier, both budgets)": frontiers,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks"))
    out: Path = parser.parse_args().out
    r = np.random.default_rng(0).standard_normal((PROMPTS, SAMPLES))
    betas = np.geomspace(0.1, 10, BETAS)

    def ours(scores: np.ndarray = r, grid: np.ndarray = betas) -> object:
        return tilt(scores, {"own": scores}, grid)

    try:
        import_module("alignment_limits.limits.streaming.kernels")
        kernel_used = "compiled kernel"
    except ImportError:
        kernel_used = "NumPy, without Numba"
    table = tilt(r, {"own": r}, betas)["own"]  # compiles, and is checked against the loop
    np.testing.assert_allclose(table.gain.T, [row[2] for row in naive(r, betas)], rtol=1e-9, atol=1e-9)
    loop, exps, kernel = best(lambda: naive(r, betas), 3), best(exponentials(r.size * BETAS)), best(ours)
    lines = [
        f"{PROMPTS} prompts x {SAMPLES} samples x {BETAS} betas, one thread, {kernel_used}",
        "",
        "| job | CPU seconds | ratio |",
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
        lines.append(f"| tilt, {label} | {seconds:.4f} | {seconds / kernel:.2f} of the time |")
    full = best(lambda: frontier(r, {"own": r}, betas=betas, kls=np.linspace(0.05, 3, 30)), 2)
    lines.append(f"| frontier: corrected, {BETAS} betas, 30 KLs, 2,000 replicates | {full:.2f} | |")
    grids = {"betas": betas[24:], "kls": np.linspace(0.05, 2, 20)}
    alone = best(lambda: frontier(r, **grids), 3)
    both = np.concatenate([r, r + SHIFT], axis=1)

    def pooled() -> object:  # with the pool's own weights and checks
        pool = Pool.of(np.repeat(["base", "policy"], SAMPLES), {"policy": SHIFT * both - SHIFT**2 / 2})
        return frontier(both, pool=pool, **grids)

    together = best(pooled, 3)
    lines += [
        f"| frontier from base samples: 40 betas, 20 KLs, 2,000 replicates | {alone:.2f} | |",
        f"| the same with as many samples of a policy, pooled | {together:.2f} | {together / alone:.2f} of the time |",
        "",
        "The default study (its sizes, grids, subsets and replicates), each job once, from NumPy arrays:",
        "",
    ]
    lines += ["| job | CPU seconds |", "|---|---|"]
    taken = {label: best(job, 1) for label, job in default_study(CONFIG).items()}
    lines += [f"| {label} | {seconds:.2f} |" for label, seconds in taken.items()]
    lines.append(f"| bootstrap, ensembles and best-of-n together | {sum(list(taken.values())[:3]):.2f} |")
    out.mkdir(parents=True, exist_ok=True)
    (out / "speed.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
