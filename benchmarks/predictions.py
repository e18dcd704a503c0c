"""Does the prediction of best-of-n beyond the samples hold? Worlds of known gain, and shipped scores of real rewards.

    OMP_NUM_THREADS=1 python benchmarks/predictions.py [--prompts 64] [--samples 64] [--studies 100]

For each world: refused rows (%), then for n = 2, 4, 8 and 16 times the samples the coverage (%) of the interval, the
mean error (%) and half of the interval's width (%), whether refused or not. For the shipped scores, each half of the
samples of a prompt predicts the gain that all 64 show.
"""

import argparse

import numpy as np
import polars as pl

from alignment_limits.limits import WORLDS, best_of_n, predict_best_of_n
from alignment_limits.limits.worlds import MIXTURES, Bernoulli, Levels, student

EVERY = {"bernoulli.01": Bernoulli(p=0.01), "student5": student(5.0, 40.0)} | WORLDS | MIXTURES
SHOWN = ["gaussian", "uniform", "exponential", "skewedleft", "spread0.6", "bernoulli", "bernoulli.01", "passrates",
         "rubric1to5", "rubric1to10", "student10", "student5"]  # fmt: skip
TIMES = np.array([2, 4, 8, 16])
SCORES = "resources/safety_scores.parquet"


def draw(name: str, seed: int, prompts: int, samples: int) -> np.ndarray:
    """One study; Student's levels are spread within their bins, so that they are no ties."""
    world, rng = EVERY[name], np.random.default_rng((seed, prompts, samples, 5))
    scores = world.draw(rng, prompts, samples)
    if isinstance(world, Levels) and name.startswith("student"):
        scores = scores + (rng.random(scores.shape) - 0.5) * (world.levels[1] - world.levels[0])
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--studies", type=int, default=100)
    parser.add_argument("--worlds", nargs="*", choices=SHOWN, default=SHOWN)
    given = parser.parse_args()
    n = TIMES * given.samples

    def joined(values: np.ndarray) -> str:
        return " / ".join(f"{100 * value:.1f}" for value in values)

    print("| world | refused | coverage | error | half-width |\n|---|--:|--:|--:|--:|")
    for name in given.worlds:
        truth = np.array([EVERY[name].best_of_n(int(each))[1] for each in n])
        tables = [
            predict_best_of_n(draw(name, seed, given.prompts, given.samples), n, replicates=200, seed=seed)
            for seed in range(given.studies)
        ]
        held = np.mean([(t.gain_low <= truth) & (truth <= t.gain_high) for t in tables], axis=0)
        width = np.median([(t.gain_high - t.gain_low) / 2 for t in tables], axis=0) / truth
        error = np.mean([t.gain for t in tables], axis=0) / truth - 1
        refused = 100 * (1 - np.mean([t.reliable for t in tables]))
        print(f"| {name} | {refused:.0f} | {joined(held)} | {joined(error)} | {joined(width)} |", flush=True)
    print("\n| shipped scores | half | predicted for n = 64 | shown by 64 samples |\n|---|---|--:|--:|")
    table = pl.read_parquet(SCORES).sort("prompt_id", "sample_id")
    for name in table.columns[2:]:
        scores = np.array(table.group_by("prompt_id", maintain_order=True).agg(name)[name].to_list())
        for half, part in (("first", scores[:, :32]), ("second", scores[:, 32:])):
            moved = scores.mean() - part.mean()  # gains are from the mean of all samples
            t, seen = predict_best_of_n(part, [64]), best_of_n(scores, ns=[64])
            low, high = t.gain_low[0] - moved, t.gain_high[0] - moved
            print(f"| {name} | {half} | {t.gain[0] - moved:.3f} ({low:.3f} to {high:.3f}) | {seen.gain[0]:.3f} |")


if __name__ == "__main__":
    main()
