"""What an estimator of the workflow is: its inputs, its settings, its table. `estimates` and `tradeoffs` list them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from alignment_limits.limits.brackets import Bounds
from alignment_limits.tables.artifacts import KEY
from alignment_limits.tables.grid import Grid, prompt_clusters, prompt_keys, reward_arrays
from alignment_limits.tables.pools import Pooled, read_pools
from alignment_limits.tables.schemas.limits import POLICIES
from alignment_limits.tables.schemas.samples import POOL, SCALES
from alignment_limits.tables.schemas.tradeoffs import COLUMNS, POLICY_COLUMNS

if TYPE_CHECKING:
    from alignment_limits.tables.artifacts import Schema

# Further tables that estimators read: their contracts, and where they are below results/<study>/.
INPUTS: dict[str, tuple[str, Schema]] = {
    "scales": ("ensembles/scales.parquet", SCALES),
    "closed": ("tradeoffs/closed_scores.parquet", POOL),
    "columns": ("tradeoffs/columns.parquet", COLUMNS),
    "policies": ("policies/policies.parquet", POLICIES),
    "policy_columns": ("tradeoffs/policy_columns.parquet", POLICY_COLUMNS),
}


def pool_place(study: Any) -> str | None:
    """Where a study has the samples of other laws, on the scale of the base, below results/<study>/; None without."""
    if study.scores and study.scores.has_log_ratios:
        return "ensembles/pool.parquet"
    return "policies/pool.parquet" if study.pools else None


def contract_of(table: str) -> Schema:
    """The contract of a further table."""
    return POOL if table == "pool" else INPUTS[table][1]


@dataclass(frozen=True)
class Scores:
    """A study's standardised rewards, as inputs of estimators.

    Attributes:
        gold: the reward taken as the truth.
        of: scores by reward or ensemble, each (prompts, samples).
        prompts: `keys` and `clusters` of the prompts, for splits and intervals.
        pools: samples of the base and of policies for the same prompts: one pool of all, or one for each policy.
        bounds: the lowest and the highest score of each prompt, of rewards that have bounds.
        standardised: the table that they are from.
        tables: further tables that the estimator reads, by name (`INPUTS`).
    """

    gold: str
    of: Mapping[str, np.ndarray]
    prompts: Mapping[str, Any]
    pools: Sequence[Pooled] = ()
    bounds: Mapping[str, Bounds] = field(default_factory=dict)
    standardised: pl.DataFrame = field(default_factory=pl.DataFrame)
    tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)

    @classmethod
    def read(
        cls,
        standardised: pl.DataFrame,
        gold: str,
        others: Sequence[str],
        pool: pl.DataFrame | None = None,
        bounds: Mapping[str, Bounds] | None = None,
        tables: Mapping[str, pl.DataFrame] | None = None,
    ) -> Scores:
        """From the tables `standardised` and `pool`, the bounds of standardised rewards, and further tables."""
        names = [*dict.fromkeys([gold, *others])]
        prompts = {"keys": prompt_keys(standardised), "clusters": prompt_clusters(standardised)}
        more: dict[str, Any] = {"bounds": bounds or {}, "standardised": standardised, "tables": tables or {}}
        pools = () if pool is None else read_pools(pool, names)
        return cls(gold, reward_arrays(standardised, names), prompts, pools, **more)

    def evaluated(self, optimized: str) -> dict[str, np.ndarray]:
        """The rewards that evaluate a policy that optimises a reward: that reward, and gold."""
        return {name: self.of[name] for name in dict.fromkeys([optimized, self.gold])}

    def bounds_for(self, optimized: str) -> dict[str, Bounds]:
        """Bounds of the rewards that evaluate it."""
        return {name: self.bounds[name] for name in self.evaluated(optimized) if name in self.bounds}

    def column(self, name: str) -> np.ndarray:
        """A column of numbers of the table `columns` (prompts, samples), as the rewards; NaN where it has no value."""
        return self.columns([name])[name]

    def columns(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Several of them by name. A sample that the table lacks has no value."""
        keys = self.standardised.select(*KEY)
        found = keys.join(self.tables["columns"].select(*KEY, *names), on=KEY, how="left", maintain_order="left")
        grid = Grid.of(keys)
        return {name: grid.array(found[name].cast(pl.Float64)) for name in names}

    def raw(self, reward: str) -> np.ndarray:
        """A reward's own scores (prompts, samples), not centred and in its own units, from the table `scales`.

        They are exact up to rounding: round them if they are whole numbers.
        """
        own = self.tables["scales"].filter(pl.col("reward") == reward).sort("prompt_id")
        return np.asarray(self.of[reward] * float(own["scale"][0]) + own["centre"].to_numpy()[:, None])


@dataclass(frozen=True)
class Estimator:
    """An estimator.

    Attributes:
        rows: computes parts of the table from the scores, the rewards to optimise and the settings below.
        contract: of the table.
        optimized: the rewards to optimise: 'all' rewards and ensembles, all but gold ('other'), 'proxies', or 'none'.
        settings: of the study file's `limits:`.
        file: of the table, in `folder`.
        priority: of the job; the longest of a level starts first.
        always: whether every finished study has the table.
        pools: whether it also uses samples of policies.
        bounded: whether it also uses the bounds of rewards.
        said: lines to print, from the table and the settings.
        folder: below results/<study>/.
        reads: the names of further tables (`INPUTS`) that it reads in a study.
        given: further settings, of the study file's `tradeoffs:`.
        made: whether a finished study has the table.
        whole: whether it also reads samples that lack a score (tables/labels.py).
    """

    rows: Callable[[Scores, Sequence[str], Mapping[str, Any]], Iterator[pl.DataFrame]]
    contract: Schema
    optimized: str
    settings: tuple[str, ...]
    file: str
    priority: int = 0
    always: bool = True
    pools: bool = False
    bounded: bool = False
    said: Callable[[pl.DataFrame, Mapping[str, Any]], Iterator[str]] = lambda table, p: iter(())
    folder: str = "limits"
    reads: Callable[[Any], Sequence[str]] = lambda study: ()
    given: Callable[[Any], Mapping[str, Any]] = lambda study: {}
    made: Callable[[Any], bool] = lambda study: True
    whole: bool = False

    @property
    def path(self) -> str:
        """Of the table, below results/<study>/."""
        return f"{self.folder}/{self.file}"
