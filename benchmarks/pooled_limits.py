"""How well pooled samples show the limit at KLs where policies live, in a Markov world that is exact by recursion.

    python benchmarks/pooled_limits.py [--studies 300] [--kls 1 2.4 4 6.5] [--noises 0.5 1 2]
    python benchmarks/pooled_limits.py --plans 50 [--kls 0.5 1.5 4]

A study has 64 prompts, 64 base samples and 64 samples of one policy for each. The policy is the tilt of another reward:
the true one plus noise on what each pair of tokens is worth, at the KL in question. Printed for each noise and KL: the
policy's share of the limit, how many studies are reliable, the mean and the largest error of the limit of reliable
ones, and how many of their intervals contain the limit over all prompts (of which a study draws 64).

With --plans: pilots of 48 prompts × (48 + 48) samples in so many worlds, of policies of all noises, planned for ± 3 %.
A plan comes true if a new study of the proposed size is reliable, with an interval of at most ± 4.5 %.
"""

import argparse

import numpy as np

from alignment_limits.exact.markov import MarkovWorld
from alignment_limits.limits import Pool, limit_at, plan

PROMPTS, SAMPLES, TOKENS, LENGTH = 64, 64, 20, 20
WIDTH = 0.03  # of planned intervals, ± this share of the limit
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


def drawn(seed: int, prompts: int, samples: int, kl: float, noise: float) -> tuple[np.ndarray, Pool]:
    """Scores of the base's and the policy's samples, next to each other, and their laws."""
    rng = np.random.default_rng((seed, 2))
    world, pairs = draw_world(prompts, seed)
    wrong = pairs + noise * rng.normal(size=pairs.shape)
    _, inverse = world.limit(wrong, kl)
    replies = [world.sample(pairs, 0.0, samples, rng), world.sample(wrong, inverse, samples, rng)]
    both = np.concatenate(replies, axis=1)
    laws = np.repeat(["base", "policy"], samples)
    return world.reward(pairs, both), Pool.of(laws, {"policy": world.log_ratio(wrong, inverse, both)})


def plans(worlds: int, kls: list[float], noises: list[float]) -> None:
    """Plan a study in each world and run it."""
    print("| KL | plans | from the pool | reliable | true | median replies |")
    print("|--:|--:|--:|--:|--:|--:|")
    for kl in kls:
        found = []
        for i in range(worlds):
            noise = noises[i % len(noises)]
            scores, pool = drawn(1000 + i, 48, 48, kl, noise)
            asked = plan(scores, [kl], half_width=WIDTH, pool=pool)
            if not asked.prompts[0] > 0:
                continue
            size = int(np.ceil(asked.prompts[0])), int(np.ceil(asked.samples[0]))
            scores, pool = drawn(5000 + i, *size, kl, noise)
            pooled = asked.samples_from[0] == "pool"
            if not pooled:
                scores = scores[:, : size[1]]
            row = limit_at(scores, [kl], pool=pool if pooled else None, replicates=1000)
            reached = (row.gain_high[0] - row.gain_low[0]) / 2 / row.gain[0]
            found.append((pooled, row.reliable[0], row.reliable[0] and reached <= 1.5 * WIDTH, asked.replies[0]))
        line = f"| {kl:g} | {len(found)} of {worlds} |"
        if found:
            pooled_, reliable, true, replies = np.array(found, dtype=float).T
            line += f" {pooled_.mean():.0%} | {reliable.mean():.0%} | {true.mean():.0%} | {np.median(replies):,.0f} |"
        print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=300)
    parser.add_argument("--kls", type=float, nargs="+", default=[1.0, 2.4, 4.0, 6.5])
    parser.add_argument("--noises", type=float, nargs="+", default=[0.5, 1.0, 2.0])
    parser.add_argument("--plans", type=int, default=0)
    given = parser.parse_args()
    if given.plans:
        return plans(given.plans, given.kls, given.noises)
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
