"""Tables as the workflow makes them, of scores drawn from a law: what figures are given in hard cases."""

import numpy as np
import polars as pl

from alignment_limits.ensembles.scales import standardise
from alignment_limits.limits.best_of_n import best_of_n_choice
from alignment_limits.limits.compare import compare
from alignment_limits.limits.frontier import frontier

KLS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0)
NS = (1, 2, 4, 8, 16, 32, 64)


def rare(prompts=64, samples=64, rate=0.02, seed=0):
    """Scores that are 1 with so small a probability, else 0."""
    return (np.random.default_rng(seed).random((prompts, samples)) < rate).astype(float)


def tables(gold, proxies=None, replicates=100):
    """`limits/frontier.parquet` and `limits/best_of_n.parquet` of gold and its proxies."""
    scores = {name: standardise(values).scores for name, values in {"gold": gold, **(proxies or {})}.items()}
    curves, choices = [], []
    log_m = float(np.log(gold.shape[1]))
    for name, own in scores.items():
        evaluated = {key: scores[key] for key in dict.fromkeys([name, "gold"])}
        choice = best_of_n_choice(own, evaluated, np.array([n for n in NS if n <= gold.shape[1]]))
        for budget in ("average", "per-prompt"):
            found = frontier(own, evaluated, betas=[1.0], kls=KLS, budget=budget, replicates=replicates, seed=0)
            curves += [_named(table, name, key).with_columns(log_m=pl.lit(log_m)) for key, table in found.items()]
            found = compare(choice, own, evaluated, budget=budget, replicates=replicates, seed=0)
            choices += [
                _named(table, name, key).with_columns(pl.col("n").cast(pl.Int32)) for key, table in found.items()
            ]
    return pl.concat(curves), pl.concat(choices)


def _named(table, optimized, evaluated):
    return pl.DataFrame(table.columns()).with_columns(optimized=pl.lit(optimized), evaluated=pl.lit(evaluated))
