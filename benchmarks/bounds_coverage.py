"""Does `at_least`, the lower confidence bound of the limit, hold in worlds of known limit, whatever the tail?

    OMP_NUM_THREADS=1 python benchmarks/bounds_coverage.py [--studies 500] [--prompts 64] [--samples 64]

For each world, the share (%) of studies whose bound is not above the exact limit, at the KL where it is smallest, and
how much of the limit the bound shows (median, at the smallest and at the largest KL). The KLs go from 1 % to 50 % of
the ceiling log M. t₅ and log-normal rewards are not listed: without exponential moments their limit is infinite at
every KL, so that every bound holds.
"""

import argparse

import numpy as np
from limits_coverage import EVERY, budgets, drawn_together, truths

from alignment_limits.limits import frontier

BUDGETS = {"average": "limit", "per-prompt": "limit, per prompt"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=500)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--samples", type=int, default=64)
    given = parser.parse_args()
    print("| world | budget | holds | of the limit, smallest KL | largest KL |")
    print("|---|---|--:|--:|--:|")
    for name, world in EVERY.items():
        kappa = budgets(world, given.samples)
        for budget, row in BUDGETS.items():
            truth = np.array(truths(name, row, tuple(kappa)))
            bounds = []
            for seed in range(given.studies):
                scores = world.draw(np.random.default_rng((seed, 7)), given.prompts, given.samples)
                together = drawn_together(world, given.prompts)
                table = frontier(scores, kls=kappa, budget=budget, seed=seed, replicates=400, **together)
                bounds.append(table.at_least)
            holds = np.mean(~(np.array(bounds) > truth), axis=0)  # no bound (NaN) is not a wrong one
            shown = np.median(bounds, axis=0) / truth
            print(f"| {name} | {budget} | {holds.min():.1%} | {shown[0]:.0%} | {shown[-1]:.0%} |", flush=True)


if __name__ == "__main__":
    main()
