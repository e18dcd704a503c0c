"""Tables of distances: three objectives at three sizes and two seeds, one with two coefficients; noise; PPO; a policy
brought along without labels."""

import polars as pl

from alignment_limits.tables.schemas.limits import EXACT_TARGETS, TARGETS

SIZES = (256, 1024, 4096)
DISTANCE = {"reverse-kl": (0.4, 0.1, 0.025), "pmle": (0.5, 0.2, 0.05), "dpo": (0.5, 0.35, 0.33)}
BASE = 0.6


def _rows():
    yield {"policy": "base"}, BASE
    for objective, each in DISTANCE.items():
        for n, value in zip(SIZES, each, strict=True):
            for seed in (0, 1):
                label = {"objective": objective, "seed": seed, "setting": "as-modelled", "pairs": n}
                own = value * (1 + 0.02 * seed)
                yield {"policy": f"{objective}-{n}-0.5-s{seed}", "coefficient": 0.5} | label, own
                if objective == "dpo":
                    yield {"policy": f"{objective}-{n}-0.1-s{seed}", "coefficient": 0.1} | label, 1.5 * own
    yield {"policy": "noisy", "objective": "pmle", "seed": 0, "setting": "label-noise", "pairs": 256}, 0.55
    yield {"policy": "ppo-a", "objective": "ppo", "optimized": "gold", "coefficient": 0.7, "seed": 0}, 0.08
    yield {"policy": "brought"}, 0.02


def _tables():
    found = []
    for labels, value in _rows():
        reliable = labels["policy"] != "brought"
        reason = "" if reliable else "effective sample size 4.0 (needs 10)"
        for quantity, factor in (("forward_kl", 1.0), ("reverse_kl", 1.2)):
            middle = factor * value
            found.append(
                {"policy": labels["policy"], "reward": "gold", "beta": 0.7, "quantity": quantity, "estimate": middle,
                 "low": middle - 0.01, "high": middle + 0.01, "plugin": middle, "ess": 30.0, "ess_least": 12.0,
                 "ess_share": 0.25, "pareto_k": 0.2, "reliable": reliable, "reason": reason, "exact": 0.9 * middle,
                 "population": middle, "holds_exact": True, "holds_population": True} | labels
            )  # fmt: skip
    return found


TARGETS_TABLE = pl.DataFrame(_tables(), schema=TARGETS.columns)
EXACT = pl.DataFrame(_tables(), schema=EXACT_TARGETS.columns)
