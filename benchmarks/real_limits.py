"""Limits from few samples of a real model and reward, compared with those from many samples of the same prompts.

    python benchmarks/real_limits.py results/many-smollm/ensembles/standardised.parquet --reward tox-block

Splits each prompt's samples into parts of `--samples`, and prints the error of the limit from each part: its mean and
its spread over parts, in percent of the limit from all samples. The prompts are the same, so this error is that of
the samples alone.
"""

import argparse
from pathlib import Path

import numpy as np
import polars as pl

from alignment_limits.limits import limit_at
from alignment_limits.tables.grid import reward_arrays


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--reward", required=True)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--kls", type=float, nargs="+", default=[0.25, 0.5, 1.0, 1.5, 2.0, 2.5])
    given = parser.parse_args()
    scores = reward_arrays(pl.read_parquet(given.table), [given.reward])[given.reward]
    parts = scores.shape[1] // given.samples
    print(f"{len(scores)} prompts, {parts} parts of {given.samples} of {scores.shape[1]} samples")
    print("| budget | KL | limit | error (%) | spread (%) | plug-in's error (%) | reliable |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for budget in ("average", "per-prompt"):
        truth = limit_at(scores, given.kls, budget=budget)
        some = [scores[:, i * given.samples : (i + 1) * given.samples] for i in range(parts)]
        tables = [limit_at(part, given.kls, budget=budget, replicates=200) for part in some]
        errors = np.array([table.gain / truth.gain - 1 for table in tables]) * 100
        plugin = np.array([table.gain_plugin / truth.gain - 1 for table in tables]) * 100
        reliable = np.mean([table.reliable for table in tables], axis=0)
        for j, kl in enumerate(given.kls):
            error, spread, left = errors[:, j].mean(), errors[:, j].std(ddof=1), plugin[:, j].mean()
            row = f"| {budget} | {kl:g} | {truth.gain[j]:.3f} | {error:.1f} | {spread:.1f} | {left:.1f} |"
            print(f"{row} {reliable[j]:.0%} |")


if __name__ == "__main__":
    main()
