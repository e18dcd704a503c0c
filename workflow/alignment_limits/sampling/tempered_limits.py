"""The limit and the decoder's curve from the tables of tempered sampling.

Apart from the sampler, so that a change of an estimate does not draw replies again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import polars as pl

from alignment_limits.ensembles.scores import Array
from alignment_limits.errors import ArtifactError
from alignment_limits.limits.brackets import Bounds
from alignment_limits.limits.sequential import Level
from alignment_limits.limits.tempered import tempered_limit
from alignment_limits.sampling.tempered import RUNS, ladder_of, level_of
from alignment_limits.tables.grid import prompt_key


def _runs(table: pl.DataFrame) -> Iterator[tuple[list[Level], list[Array]]]:
    """Levels of the full run and of the half run, with gold of their replies."""
    base = table.filter(pl.col("level") == 0)
    for run in RUNS:
        levels, gold = [], []
        own = table.filter((pl.col("run") == run) & (pl.col("level") > 0))
        for part in [base, *(own.filter(pl.col("level") == n) for n in sorted(own["level"].unique()))]:
            levels.append(level_of(part))
            gold.append(part.sort("prompt_id", "particle")["gold"].to_numpy().reshape(levels[-1].scores.shape))
        yield levels, gold


def limits_of(
    shards: Iterable[pl.DataFrame],
    p: Mapping[str, Any],
    clusters: np.ndarray | None,
    bounds: Mapping[str, Bounds] | None = None,
) -> pl.DataFrame:
    """The table `limits/tempered`.

    Args:
        shards: tables `tempered`, of different prompts.
        p: `optimized` and `gold` (names of rewards), `kls`, `bootstrap`, `seed`.
        clusters: of the prompts in sorted order, if any are not independent.
        bounds: the lowest and the highest score of each prompt, of rewards that have bounds, by name.

    Raises:
        ArtifactError: shards have other levels than the first.
    """
    tables = list(shards)
    for table in tables[1:]:
        if ladder_of(table) != ladder_of(tables[0]):
            raise ArtifactError("shards of tempered sampling have different levels; delete tempered/ and run again")
    whole = pl.concat(tables)
    (full, gold), (half, gold_half) = _runs(whole)
    keys = np.array([prompt_key(name) for name in sorted(whole["prompt_id"].unique())], dtype=np.int64)
    more = {"replicates": p["bootstrap"], "seed": p["seed"], "keys": keys, "clusters": clusters}
    more |= {"budgets": ("average", "per-prompt")}
    results = {}
    for name in dict.fromkeys([p["optimized"], p["gold"]]):
        other = None if name == p["optimized"] else (gold, gold_half)
        each: dict[str, Any] = {"evaluated": other, "bounds": (bounds or {}).get(name)}
        results[name] = tempered_limit(full, half, p["kls"], **each, **more)
    labels = {"optimized": pl.lit(p["optimized"]), "base_tokens": pl.lit(float(full[0].lengths.mean()))}
    return pl.concat(
        [table.to_polars().with_columns(evaluated=pl.lit(name), **labels) for name, table in results.items()]
    )
