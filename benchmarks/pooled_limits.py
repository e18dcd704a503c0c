"""How well pooled samples show the limit at KLs where policies live, in a Markov world that is exact by recursion.

    python benchmarks/pooled_limits.py [--studies 300] [--kls 1 2.4 4 6.5] [--noises 0.5 1 2]

A study has 64 prompts, 64 base samples and 64 samples of one policy for each. The policy is the tilt of another reward:
the true one plus noise on what each pair of tokens is worth, at the KL in question. Printed for each noise and KL: the
policy's share of the limit, how many studies are reliable, the mean and the largest error of the limit of reliable
ones, and how many of their intervals contain the limit over all prompts (of which a study draws 64).
"""

import argparse

import numpy as np

from alignment_limits.exact.markov import MarkovWorld
from alignment_limits.limits import Pool, limit_at

PROMPTS, SAMPLES, TOKENS, LENGTH = 64, 64, 20, 20
POPULATION = 20_000  # prompts that stand for all


def draw_world(prompts: int, seed: int) -> tuple[MarkovWorld, np.ndarray]:
    """Prompts of the population, and what each pair of neighbouring tokens is worth."""
    pairs = np.random.default_rng((seed, 1)).normal(size=(prompts, TOKENS, TOKENS))
    return MarkovWorld.random(prompts, tokens=TOKENS, length=LENGTH, seed=seed), pairs


def study(seed: int, kl: float, noise: float) -> dict[str, float]:
    """One study at one KL."""
    rng = np.random.default_rng((seed, 2))
    world, pairs = draw_world(PROMPTS, seed)
    limit, _ = world.limit(pairs, kl)
    wrong = pairs + noise * rng.normal(size=pairs.shape)
    _, inverse = world.limit(wrong, kl)
    replies = np.concatenate(
        [world.sample(pairs, 0.0, SAMPLES, rng), world.sample(wrong, inverse, SAMPLES, rng)], axis=1
    )
    scores = world.reward(pairs, replies)
    pool = Pool.of(np.repeat(["base", "policy"], SAMPLES), {"policy": world.log_ratio(wrong, inverse, replies)})
    row = limit_at(scores, [kl], pool=pool, replicates=1000)
    gain = scores[:, SAMPLES:].mean() - scores[:, :SAMPLES].mean()
    return {
        "share": gain / limit,
        "reliable": bool(row.reliable[0]),
        "error": row.gain[0] / limit - 1,
        "low": row.gain_low[0],
        "high": row.gain_high[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=300)
    parser.add_argument("--kls", type=float, nargs="+", default=[1.0, 2.4, 4.0, 6.5])
    parser.add_argument("--noises", type=float, nargs="+", default=[0.5, 1.0, 2.0])
    given = parser.parse_args()
    everything = draw_world(POPULATION, 0)
    print("| noise | KL | policy's share of the limit | reliable | mean error | largest error | coverage |")
    print("|--:|--:|--:|--:|--:|--:|--:|")
    for noise in given.noises:
        for kl in given.kls:
            truth, _ = everything[0].limit(everything[1], kl)
            rows = [study(1 + i, kl, noise) for i in range(given.studies)]
            share = np.mean([row["share"] for row in rows])
            kept = [row for row in rows if row["reliable"]]
            line = f"| {noise:g} | {kl:g} | {share:.0%} | {len(kept) / len(rows):.0%} |"
            if kept:
                errors = np.array([row["error"] for row in kept])
                cover = np.mean([row["low"] <= truth <= row["high"] for row in kept])
                spread = np.sqrt(cover * (1 - cover) / len(kept))
                line += f" {errors.mean():+.1%} | {np.abs(errors).max():.1%} | {cover:.1%} ± {spread:.1%} |"
            else:
                line += " – | – | – |"
            print(line, flush=True)


if __name__ == "__main__":
    main()
