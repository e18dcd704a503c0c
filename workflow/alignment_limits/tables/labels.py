"""Tables of partial rewards: scores that only some samples have, such as labels of people.

An estimator gets the samples that have all rewards it compares; see `limits.labels`. Tables that do not compare gold
with one reward at a time use the samples that have all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from alignment_limits.ensembles.scales import standardise
from alignment_limits.errors import ArtifactError, TableError
from alignment_limits.limits.labels import LabelTable, label_check
from alignment_limits.tables.artifacts import KEY, read_tables
from alignment_limits.tables.columns import Column, numbers, raise_first, within
from alignment_limits.tables.estimators import Estimator
from alignment_limits.tables.grid import CLUSTER, Grid, same_keys
from alignment_limits.tables.schemas.limits import contract
from alignment_limits.tables.schemas.samples import SCORES
from alignment_limits.tables.scores import NO_BOUNDS, Bounds, read_score_table
from alignment_limits.tables.standardised import with_clusters
from alignment_limits.tables.user_table import UserTable, read_user_table

LABELS = contract(
    "labels",
    LabelTable,
    "labels reward quantity difference difference_low difference_high p_value random reason",
    {},
    labels=pl.String,  # the partial reward
    prompts=pl.Int64,  # with labels
    samples=pl.Int64,
    share=pl.Float64,  # of the samples
)


def read_partial_table(
    file: Path, rewards: Sequence[str], partial: Sequence[str], bounds: Bounds = NO_BOUNDS
) -> pl.DataFrame:
    """A table of scores of which some rewards may lack scores; see `read_score_table`.

    Args:
        rewards: columns of scores.
        partial: those of them that may be missing (empty, null or NaN); the others may not.

    Returns:
        The key and the rewards, in key order; null where a sample has no score.

    Raises:
        TableError: as `read_score_table`; a partial reward without any score.
    """
    complete = [name for name in rewards if name not in partial]
    try:
        table = read_score_table(file, complete, {name: bounds[name] for name in complete if name in bounds})
    except TableError as error:
        if "is missing, NaN or infinite" not in str(error):
            raise
        raise TableError(
            f"{error}. If only some samples were to have this score, say so: scores.partial, or --partial"
        ) from error
    given = read_user_table(file)
    given.require(list(partial), "It has a column per reward named in the study")
    own = pl.DataFrame([given.texts("prompt_id"), given.whole_numbers("sample_id").cast(pl.Int32)])
    own = own.with_columns(_labels(given, name, bounds.get(name)) for name in partial)
    return table.join(own, on=KEY, how="left", maintain_order="left").select(*KEY, *dict.fromkeys(rewards))


def _labels(given: UserTable, name: str, bounds: tuple[float, float] | None) -> pl.Series:
    """A column of numbers with missing values."""
    columns = given.read([*KEY, name])
    column = columns[name]
    if column.values.dtype.is_numeric() or column.values.dtype == pl.String:
        nan = column.values.cast(pl.Float64, strict=False).is_nan().fill_null(False)
        present = column.values.is_not_null() & ~nan
    else:
        present = column.values.is_not_null()
    rows = present.arg_true()
    if not len(rows):
        raise TableError(f"{given.name}: '{name}' has no score at all; correct the column, or leave the reward out")
    kinds = None if column.kinds is None else column.kinds.filter(present)
    part = Column(name, column.values.filter(present), kinds)
    values, problems = numbers(part)
    if not problems and bounds is not None:
        problems = within(part, values, bounds, [columns[key].values.filter(present) for key in KEY])
    raise_first((problem.at(rows.to_numpy()) for problem in problems), given.name)
    empty = pl.Series(name, [None] * given.height, dtype=pl.Float64)
    return empty.scatter(rows, values.cast(pl.Float64)).alias(name)


def read_partial_scores(
    paths: Sequence[str | Path], reward: str, bounds: tuple[float, float] | None = None
) -> pl.DataFrame:
    """All score shards of a partial reward, in key order; null where a sample has none.

    Raises:
        ArtifactError: a score is infinite or outside the bounds, or there is none.
    """
    scores = read_tables(paths, SCORES).with_columns(pl.col("score").fill_nan(None))
    low, high = bounds or (-np.finfo(float).max, np.finfo(float).max)
    bad = scores.filter(~pl.col("score").is_between(low, high))
    if bad.height or not scores["score"].count():
        where = f"the first at {bad['prompt_id'][0]}, sample {bad['sample_id'][0]}" if bad.height else "it has no score"
        raise ArtifactError(f"reward {reward}: {bad.height} score(s) are infinite or outside its bounds; {where}")
    return scores


def partial_tables(
    scores: Mapping[str, pl.DataFrame], clusters: pl.DataFrame | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The tables `standardised` and `scales` as `standardised_tables`; null where a sample has no score.

    A reward's scale and centres are those of the samples that have it. A prompt without any has no centre.
    """
    table = same_keys(scores).select(KEY)
    scales = []
    for name, raw in scores.items():
        own = raw.select(*KEY, "score").drop_nulls("score")
        grid = Grid.of(own)
        standard = standardise(grid.array(own["score"]), name=name)
        values = own.select(KEY).with_columns(pl.Series(name, grid.values(standard.scores)))
        table = table.join(values, on=KEY, how="left", maintain_order="left")
        columns = {"reward": name, "prompt_id": grid.prompt_ids, "centre": standard.centre, "scale": standard.scale}
        scales.append(pl.DataFrame(columns))
    return with_clusters(table, clusters), pl.concat(scales)


def rewards_of(standardised: pl.DataFrame) -> list[str]:
    """The rewards and ensembles of the table `standardised`."""
    return [name for name in standardised.columns if name not in (*KEY, CLUSTER)]


def is_partial(standardised: pl.DataFrame) -> bool:
    """Whether a reward lacks scores of samples that others have."""
    return any(standardised[name].null_count() for name in rewards_of(standardised))


def check_labels(standardised: pl.DataFrame) -> pl.DataFrame:
    """The table `labels`: for every partial reward, whether its samples are a random part."""
    names = rewards_of(standardised)
    partial = [name for name in names if standardised[name].null_count()]
    grid = Grid.of(standardised)
    others = {name: grid.array(standardised[name]) for name in names if name not in partial}
    parts = []
    for name in partial:
        labelled = standardised.filter(pl.col(name).is_not_null())
        found = label_check(grid.array(standardised[name]), others).to_polars()
        counts = {"prompts": labelled["prompt_id"].n_unique(), "samples": labelled.height}
        share = labelled.height / standardised.height
        parts.append(found.with_columns(labels=pl.lit(name), share=pl.lit(share), **counts))
    return pl.concat(parts) if parts else pl.DataFrame(schema=LABELS.columns)


def partial_rows(
    entry: Estimator,
    standardised: pl.DataFrame,
    p: Mapping[str, Any],
    rows: Callable[[pl.DataFrame, Sequence[str], str], Iterable[pl.DataFrame]],
) -> Iterator[pl.DataFrame]:
    """An estimator's rows, each from the samples that have the rewards it compares.

    Args:
        entry: the estimator.
        standardised: with null where a sample has no score.
        p: its settings.
        rows: the estimator on a part of the samples, for some rewards to optimise and one in the place of gold.
    """
    gold, optimized = p["gold"], list(p["optimized"])
    found = check_labels(standardised).filter(~pl.col("random"))
    reasons = {name: "; ".join(part["reason"]) for (name,), part in found.group_by("labels", maintain_order=True)}

    def on(names: Sequence[str], some: Sequence[str], truth: str) -> Iterator[pl.DataFrame]:
        part = standardised.filter(pl.all_horizontal(pl.col(name).is_not_null() for name in names))
        if not part.height:
            raise ArtifactError(f"no sample has scores of all of {', '.join(names)}; leave one of them out")
        reason = next((reasons[name] for name in names if name in reasons), "")
        yield from (refused(frame, reason) for frame in rows(part, some, truth))

    if "evaluated" in entry.contract.columns and "evaluated" not in p:
        for name in optimized:
            for truth in dict.fromkeys([name, gold]):
                yield from (frame.filter(evaluated=truth) for frame in on([name, truth], [name], truth))
    elif entry.optimized == "other":
        for name in optimized:
            yield from on([name, gold], [name], gold)
    else:
        yield from on([*dict.fromkeys([gold, *optimized, *p.get("evaluated", ())])], optimized, gold)


def refused(frame: pl.DataFrame, reason: str) -> pl.DataFrame:
    """Rows that are not reliable for one more reason; as they are if it is empty."""
    if not reason:
        return frame
    verdicts = [c for c, kind in frame.schema.items() if kind == pl.Boolean and (c == "found" or "reliable" in c)]
    reasons = [c for c, kind in frame.schema.items() if kind == pl.String and c.endswith("reason")]
    bounds = [c for c in ("at_least", "at_most") if c in frame.columns]
    return frame.with_columns(
        *(pl.lit(False).alias(c) for c in verdicts),
        *(pl.lit(reason).alias(c) for c in reasons),
        *(pl.lit(np.nan).alias(c) for c in bounds),
    )
