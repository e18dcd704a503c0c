"""Do plans come true? Pilots of worlds of known law are planned from, and one study of each planned size is run.

    OMP_NUM_THREADS=1 python benchmarks/plans.py [--worlds 50] [--tempered 10] [--first 0]

Each world has its own seed, family and KL. A plan comes true if the study is reliable and its interval is at most a
quarter wider than asked for. Tempered sampling is planned for in Markov worlds (20 tokens × 20 steps), at 4 to 6 nats.
"""

import argparse
import itertools

import numpy as np

from alignment_limits.exact.markov import MarkovReplies, MarkovWorld
from alignment_limits.limits import Level, Tempering, limit_at, plan, temper, tempered_limit
from alignment_limits.limits.worlds import MIXTURES, WORLDS

FAMILIES = ("gaussian", "uniform", "rubric1to10", "spread0.3", "spread0.6")
KLS, HALF_WIDTH, ROOM = (0.25, 1.0, 2.0), 0.06, 1.25
PARTICLES = 64


def from_base(seed: int) -> tuple[str, float, float, float, float, str]:
    """World, KL, prompts, samples, the width reached over the width asked for (NaN without a plan), and the reason."""
    name, kl = list(itertools.product(FAMILIES, KLS))[seed % (len(FAMILIES) * len(KLS))]
    world, rng = (WORLDS | MIXTURES)[name], np.random.default_rng((seed, 1))
    found = plan(world.draw(rng, 64, 64), [kl], half_width=HALF_WIDTH, seed=seed)
    if not found.prompts[0] > 0:
        return name, kl, np.nan, np.nan, np.nan, str(found.reason[0])
    prompts, samples = int(found.prompts[0]), int(found.samples[0])
    study = limit_at(world.draw(rng, prompts, samples), [kl], seed=seed)
    width = (study.gain_high - study.gain_low)[0] / 2 / study.gain[0]
    return name, kl, prompts, samples, width / HALF_WIDTH, str(study.reason[0])


def from_tempered(seed: int) -> tuple[str, float, float, float, float, str]:
    """The same of a Markov world."""
    kl, rng = float(np.random.default_rng((seed, 2)).uniform(4, 6)), np.random.default_rng((seed, 3))

    def base(prompts: int, offset: int) -> tuple[Level, MarkovReplies]:
        pairs = np.random.default_rng((seed, offset)).normal(size=(prompts, 20, 20))
        chains = MarkovWorld.random(prompts, tokens=20, length=20, seed=seed)
        start = chains.sample(pairs, 0.0, 64, rng)
        return Level.base(start.tolist(), chains.reward(pairs, start)), MarkovReplies(chains, pairs)

    found = plan(base(64, 1)[0].scores, [kl], half_width=HALF_WIDTH, seed=seed, particles=PARTICLES)
    if found.samples_from[0] != "tempered":
        return "markov", kl, np.nan, np.nan, np.nan, f"not proposed: {found.lines()[0]}"
    start, world = base(int(found.prompts[0]), 2)
    full = [start, *temper(world, start, Tempering(kl=kl, particles=PARTICLES, seed=seed))]
    ladder = tuple(level.inverse for level in full[1:])
    half = [start, *temper(world, start, Tempering(particles=PARTICLES // 2, ladder=ladder, seed=seed + 10**6))]
    row = tempered_limit(full, half, [kl], replicates=500)
    width = (row.gain_high - row.gain_low)[0] / 2 / row.gain[0]
    return "markov", kl, float(found.prompts[0]), PARTICLES, width / HALF_WIDTH, str(row.reason[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=50)
    parser.add_argument("--tempered", type=int, default=10, help="worlds planned for with tempered sampling")
    parser.add_argument("--first", type=int, default=0, help="seed of the first world, to run them in parts")
    given = parser.parse_args()
    true = 0
    print(
        "| world | KL | prompts | samples | width reached / asked | not reliable because |\n|---|--:|--:|--:|--:|---|"
    )
    for each, count in ((from_base, given.worlds), (from_tempered, given.tempered)):
        for seed in range(given.first, given.first + count):
            name, kl, prompts, samples, ratio, reason = each(seed)
            true += reason == "" and ratio <= ROOM
            print(f"| {name} | {kl:.3g} | {prompts:.0f} | {samples:.0f} | {ratio:.2f} | {reason} |", flush=True)
    print(f"{true} of {given.worlds + given.tempered} plans came true")


if __name__ == "__main__":
    main()
