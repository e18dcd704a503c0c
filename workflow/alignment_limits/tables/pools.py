"""Samples of policies, pooled with the base's: all laws in one pool, or each policy alone with the base.

The table `pool` says which. Where a policy did not read the replies of the others, their log-ratios are null.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from alignment_limits.limits.frontier import FrontierTable, frontier
from alignment_limits.limits.samples import CONTRADICTION, Pool
from alignment_limits.tables.grid import Grid

PREFIX = "log_ratio/"
STEP = 1.25  # ratio of neighbouring KLs of a pooled frontier, beyond those of the study file
NEAR = (0.25, 1.25)  # KLs at which a policy's own pool is tried, as shares of the policy's KL


@dataclass(frozen=True)
class Pooled:
    """Scores of the samples of several laws.

    Attributes:
        scores: of the base's and policies' samples of the same prompts, on the base's scale, by reward.
        pool: their laws.
    """

    scores: Mapping[str, np.ndarray]
    pool: Pool

    @property
    def farthest(self) -> float:
        """The largest KL of a policy, in nats: the mean log-ratio of its own samples."""
        own = [self.pool.log_ratios[k][self.pool.law == k] for k in range(len(self.pool.names))]
        return float(max((each.mean() for each in own if each.size and np.isfinite(each).all()), default=0.0))


def read_pools(table: pl.DataFrame, rewards: Sequence[str]) -> list[Pooled]:
    """The pools of a table `pool`: one of all laws, or one for each policy if log-ratios of the others are null."""
    policies = [c for c in table.columns if c.startswith(PREFIX)]
    if not any(table[c].null_count() for c in policies):
        return [_read(table, policies, rewards)]
    laws = {c: pl.col("law").is_in(["base", c.removeprefix(PREFIX)]) for c in policies}
    return [_read(table.filter(own), [c], rewards) for c, own in laws.items()]


def _read(table: pl.DataFrame, policies: Sequence[str], rewards: Sequence[str]) -> Pooled:
    grid = Grid.of(table)
    ratios = {c.removeprefix(PREFIX): grid.array(table[c]) for c in policies}
    order = ["base", *ratios]
    number = grid.array(table["law"].replace_strict(order, range(len(order)), return_dtype=pl.Float64))
    laws = np.array(order, dtype=object)[np.nan_to_num(number).astype(int)]
    return Pooled({name: grid.array(table[name]) for name in rewards}, Pool.of(laws, ratios))


def reaching(kls: Sequence[float], farthest: float) -> list[float]:
    """KLs of a pooled frontier: the given ones, and further ones up to the largest KL of a policy.

    Example:
        >>> reaching([1.0, 2.0], 3.5)
        [1.0, 2.0, 2.5, 3.125, 3.5]
    """
    out = list(kls)
    while out[-1] < farthest:
        out.append(min(STEP * out[-1], farthest))
    return out


def tried_at(kls: Sequence[float], farthest: Sequence[float]) -> list[list[float]]:
    """The KLs at which the pool of each policy is tried: those near its own KL; at each KL at least the nearest policy.

    Example:
        >>> tried_at([1.0, 2.0, 4.0, 40.0], [2.0, 8.0])
        [[1.0, 2.0], [2.0, 4.0, 40.0]]
    """
    own = np.maximum(farthest, 1e-9)
    nearest = np.abs(np.log(np.asarray(kls)[:, None] / own)).argmin(axis=1)
    return [
        [kl for kl, near in zip(kls, nearest, strict=True) if near == i or NEAR[0] * mine <= kl <= NEAR[1] * mine]
        for i, mine in enumerate(own)
    ]


def pooled_frontiers(
    pools: Sequence[Pooled], optimized: str, evaluated: Sequence[str], *, kls: Sequence[float], **settings: Any
) -> Iterator[tuple[str, pl.DataFrame]]:
    """The pooled frontier of each evaluated reward, with its name. Of several pools, each KL has one row.

    It is that of the pool with the largest effective sample size at this KL: a number of the weights, not of gains.

    Args:
        pools: of `read_pools`.
        optimized, evaluated: names of rewards.
        kls: budgets in nats.
        settings: of `frontier`.
    """
    found: dict[str, list[pl.DataFrame]] = {name: [] for name in evaluated}
    for each, own in zip(pools, tried_at(kls, [pool.farthest for pool in pools]), strict=True):
        if not own:
            continue
        others = {name: each.scores[name] for name in evaluated}
        tables: dict[str, FrontierTable] = frontier(
            each.scores[optimized], others, kls=kls if len(pools) == 1 else own, pool=each.pool, **settings
        )
        for name, table in tables.items():
            found[name].append(table.to_polars())
    for name, parts in found.items():
        best = pl.col("ess").fill_nan(None)
        yield (
            name,
            pl.concat(parts)
            .sort("kl", best, descending=[False, True], nulls_last=True, maintain_order=True)
            .unique("kl", keep="first", maintain_order=True),
        )


def contradictions(table: pl.DataFrame) -> Iterator[str]:
    """Lines about log-ratios that contradict the samples, from the table `frontier`."""
    reasons = table.filter(pl.col("samples_from") == "pool")["reason"].unique().sort()
    yield from (f"no pooled row is reliable: {why}" for why in reasons if CONTRADICTION in why)
