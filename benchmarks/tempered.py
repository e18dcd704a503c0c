"""Errors and cost of tempered sampling in Markov worlds with exact limits (20 tokens × 20 steps, 32 prompts).

    python benchmarks/tempered.py [--studies 8] [--kls 1 3 5]

Each row is a setting: particles, moves of each particle at a level, and the effective share that decides how many
levels there are. Printed are the number of levels, the tokens drawn for one reply relative to a reply's length (of the
full run; the half run adds half of that), the acceptance at the last level, and for each KL the mean error of the
limit from the full run alone and corrected by the half run, with its standard error, and how many rows are reliable.
"""

import argparse

import numpy as np

from alignment_limits.exact.markov import MarkovReplies, MarkovWorld
from alignment_limits.limits import Level, Tempering, temper, tempered_limit

PROMPTS, SAMPLES, TOKENS, LENGTH = 32, 64, 20, 20
SETTINGS = (
    (64, 4, 0.9),
    (16, 4, 0.9),
    (32, 4, 0.9),
    (128, 4, 0.9),
    (64, 2, 0.9),
    (64, 8, 0.9),
    (64, 4, 0.7),
    (64, 4, 0.97),
)


def study(seed: int, particles: int, moves: int, ess: float, kls: list[float]) -> dict[str, np.ndarray]:
    """Both runs of one world."""
    pairs = np.random.default_rng((seed, 1)).normal(size=(PROMPTS, TOKENS, TOKENS))
    chains = MarkovWorld.random(PROMPTS, tokens=TOKENS, length=LENGTH, seed=seed)
    start = chains.sample(pairs, 0.0, SAMPLES, np.random.default_rng((seed, 2)))
    base, world = Level.base(start.tolist(), chains.reward(pairs, start)), MarkovReplies(chains, pairs)
    settings = Tempering(kl=max(kls), particles=particles, moves=moves, ess=ess, seed=seed)
    full = [base, *temper(world, base, settings)]
    ladder = tuple(level.inverse for level in full[1:])
    smaller = Tempering(particles=particles // 2, moves=moves, ladder=ladder, seed=seed + 10**6)
    table = tempered_limit(full, [base, *temper(world, base, smaller)], kls, replicates=500)
    exact, rows = np.array([chains.limit(pairs, kl)[0] for kl in kls]), slice(0, len(kls))
    return {
        "full": table.gain_full[rows] / exact - 1,
        "error": table.gain[rows] / exact - 1,
        "reliable": table.reliable[rows],
        "levels": np.array([len(full) - 1]),
        "cost": table.tokens[-1:] / LENGTH,
        "acceptance": table.acceptance[-1:],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=8)
    parser.add_argument("--kls", type=float, nargs="+", default=[1.0, 3.0, 5.0])
    given = parser.parse_args()
    each = " | ".join(f"{kl:g} nats: full run | corrected | reliable" for kl in given.kls)
    print(f"| particles | moves | effective share | levels | cost | acceptance | {each} |")
    print("|" + "--:|" * (6 + 3 * len(given.kls)))
    for particles, moves, ess in SETTINGS:
        runs = [study(100 + i, particles, moves, ess, given.kls) for i in range(given.studies)]
        of = {name: np.array([run[name] for run in runs], dtype=float) for name in runs[0]}
        line = f"| {particles} | {moves} | {ess:g} | {of['levels'].mean():.0f} | {of['cost'].mean():.0f} × "
        line += f"| {of['acceptance'].mean():.0%} |"
        spread = of["error"].std(axis=0, ddof=1) / np.sqrt(given.studies)
        for j in range(len(given.kls)):
            line += f" {of['full'][:, j].mean():+.1%} | {of['error'][:, j].mean():+.1%} ± {spread[j]:.1%} |"
            line += f" {of['reliable'][:, j].mean():.0%} |"
        print(line, flush=True)


if __name__ == "__main__":
    main()
