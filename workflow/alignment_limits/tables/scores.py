"""A user's tables of scores, clusters and preference pairs, in any row order, with any number of samples per prompt.

Nothing is fixed silently: a bad row is refused with its number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from alignment_limits.errors import TableError
from alignment_limits.tables.artifacts import KEY, read_table
from alignment_limits.tables.columns import Column, Problem, numbers, raise_first, texts, whole_numbers, within
from alignment_limits.tables.schemas.samples import SAMPLES, STANDARDISED
from alignment_limits.tables.user_table import UserTable, read_user_table, stem_of

Bounds = Mapping[str, tuple[float, float]]
NO_BOUNDS: Bounds = {}
NEEDED = (
    "It needs prompt_id, sample_id and one column per reward named in the study. alignment-limits import makes such a "
    "table from replies of any tool (docs/import.md)"
)


def read_score_table(file: Path, rewards: Sequence[str], bounds: Bounds = NO_BOUNDS) -> pl.DataFrame:
    """A table with prompt_id (text), sample_id (whole number) and one number column per reward.

    Args:
        file: of any of the formats.
        rewards: columns of scores.
        bounds: the lowest and the highest score of rewards that have bounds.

    Returns:
        The key and the rewards (as float64), in key order.

    Raises:
        TableError: not readable, a column is missing or does not contain numbers, a key is missing or occurs twice, a
            score is missing, NaN, infinite or outside its bounds; with the file, the column and the first rows
            (counted from 1).
    """
    given = read_user_table(file)
    given.require([*KEY, *rewards], NEEDED)
    columns = given.read([*KEY, *rewards])
    checked = dict(checked_scores(columns, rewards, bounds))
    raise_first((problem for _, problems in checked.values() for problem in problems), given.name)
    table = pl.DataFrame({name: values for name, (values, _) in checked.items()})
    table = table.with_columns(pl.col(list(rewards)).cast(pl.Float64))
    ordered = table.with_row_index("row").sort(KEY)
    same = pl.all_horizontal(pl.col(c) == pl.col(c).shift(1) for c in KEY).fill_null(False)
    if ordered.select(same.any()).item():
        _refuse_repeats(table, given.name)
    return ordered.drop("row")


def read_pool(
    file: Path,
    rewards: Sequence[str],
    bounds: Bounds = NO_BOUNDS,
    *,
    column: str,
    base: str,
    log_ratios: Mapping[str, str],
    closed: Sequence[str] = (),
) -> pl.DataFrame:
    """A table of scores of several laws.

    Args:
        file: a table as for `read_score_table`.
        rewards: columns of scores.
        bounds: as for `read_score_table`.
        column: the column with each row's law.
        base: the base's name in that column.
        log_ratios: the column of log-ratios for each other law.
        closed: laws without log-ratios.

    Returns:
        The key, the rewards, law (the base's is "base") and log_ratio/<law>, in key order; the log-ratios of closed
        laws' rows are null.

    Raises:
        TableError: as for `read_score_table`; a law that is not in `log_ratios`; a prompt without rows of the base.
    """
    named = {f"log_ratio/{law}": given for law, given in log_ratios.items()}
    given = read_user_table(file)
    given.require([column], f"scores.pool.column is '{column}'")
    given.require([*log_ratios.values()], "scores.pool.log_ratios names the column of each law's log-ratios")
    table = read_score_table(file, [*rewards, *([] if closed else named.values())], bounds)
    laws = pl.DataFrame([given.texts("prompt_id"), given.whole_numbers("sample_id"), given.texts(column).alias("law")])
    known = [base, *log_ratios, *closed]
    if absent := [law for law in closed if law not in laws["law"]]:
        raise TableError(f"{given.name}: no row is of the law '{absent[0]}', which scores.pool.closed names")
    unknown = laws.with_row_index("row", offset=1).filter(~pl.col("law").is_in(known))
    if unknown.height:
        raise TableError(
            f"{given.name}: {unknown.height} rows are of laws without log-ratios, the first in row "
            f"{unknown['row'][0]}: '{unknown['law'][0]}'. scores.pool names the base '{base}' and "
            f"{', '.join([*log_ratios, *closed])}: correct these names, add the law to scores.pool.log_ratios (or to "
            "scores.pool.closed, if it has none), or remove its rows"
        )
    if closed:
        laws = laws.with_columns(_open_ratios(given, column_, ~laws["law"].is_in(closed)) for column_ in named.values())
    table = table.join(laws.cast({"sample_id": table.schema["sample_id"]}), on=KEY, how="left", maintain_order="left")
    alone = (
        table.group_by("prompt_id", maintain_order=True)
        .agg((pl.col("law") == base).any().alias("has"))
        .filter(~pl.col("has"))
    )
    if alone.height:
        raise TableError(
            f"{given.name}: prompt {alone['prompt_id'][0]!r} has no row of the base '{base}': "
            "add samples of the base, or remove the prompt"
        )
    ratios = [pl.col(column_).alias(name) for name, column_ in named.items()]
    law = pl.when(pl.col("law") == base).then(pl.lit("base")).otherwise(pl.col("law"))
    return table.select(*KEY, *rewards, *ratios, law=law)


def _open_ratios(given: UserTable, column: str, open_rows: pl.Series) -> pl.Series:
    """A column of numbers in some rows of a table, null in the others."""
    whole = given.read([column])[column]
    kinds = None if whole.kinds is None else whole.kinds.filter(open_rows)
    found, problems = numbers(Column(column, whole.values.filter(open_rows), kinds))
    rows = open_rows.to_numpy().nonzero()[0]
    raise_first((problem.at(rows) for problem in problems), given.name)
    values = np.full(len(open_rows), np.nan)
    values[rows] = found.to_numpy()
    return pl.Series(column, values).fill_nan(None)


def cluster_column(file: Path, wanted: str | None, rewards: Sequence[str]) -> str | None:
    """The column of clusters: the given one, or one called `cluster` that is not a reward; None if there is none."""
    if wanted is not None:
        return wanted
    return "cluster" if "cluster" in read_user_table(file).columns and "cluster" not in rewards else None


def read_clusters(file: Path, column: str) -> pl.DataFrame:
    """Clusters of dependent prompts in a table of scores: prompt_id, cluster (text; null: independent of all others).

    Raises:
        TableError: no such column, or a prompt has two clusters; with the file and the rows (counted from 1).
    """
    given = read_user_table(file)
    given.require(["prompt_id", column], NEEDED)
    table = pl.DataFrame({"prompt_id": given.texts("prompt_id"), "cluster": given.anything(column)})
    each = table.with_row_index("row", offset=1).unique(["prompt_id", "cluster"], keep="first", maintain_order=True)
    twice = each.filter(pl.col("prompt_id").is_duplicated())
    if twice.height:
        rows = twice.filter(pl.col("prompt_id") == twice["prompt_id"][0]).head(2)
        raise TableError(
            f"{given.name}: prompt {rows['prompt_id'][0]!r} has two values of '{column}': {rows['cluster'][0]!r} in "
            f"row {rows['row'][0]}, {rows['cluster'][1]!r} in row {rows['row'][1]}; all samples of a prompt belong to "
            "one cluster"
        )
    return each.select("prompt_id", "cluster").sort("prompt_id")


def checked_scores(
    columns: Mapping[str, Column], rewards: Sequence[str], bounds: Bounds = NO_BOUNDS
) -> Iterator[tuple[str, tuple[pl.Series, list[Problem]]]]:
    """The key and the rewards in the types that are used, each with its problems; also for a part of a table."""
    prompt, sample = KEY
    yield prompt, texts(columns[prompt])
    yield sample, whole_numbers(columns[sample])
    for reward in rewards:
        number, problems = numbers(columns[reward])
        if not problems and reward in bounds:
            problems = within(columns[reward], number, bounds[reward], [columns[name].values for name in KEY])
        yield reward, (number, problems)


def repeated(prompt_id: str, sample_id: int, rows: Sequence[int]) -> str:
    """The message about a key that occurs twice; rows are counted from 1."""
    return (
        f"the same prompt_id and sample_id occur more than once ({prompt_id!r}, sample {sample_id}), "
        f"in row {rows[0]} and {rows[1]}"
    )


def _refuse_repeats(table: pl.DataFrame, name: str) -> None:
    """Raise TableError if a key is repeated, with the first such prompt and sample."""
    rows = table.with_row_index("row").filter(pl.struct(KEY).is_duplicated())
    of_prompt = rows.filter(pl.col("prompt_id") == rows["prompt_id"][0])
    first = of_prompt.filter(pl.col("sample_id") == pl.col("sample_id").min())
    raise TableError(
        f"{name}: {repeated(first['prompt_id'][0], first['sample_id'][0], (first['row'][:2] + 1).to_list())}"
    )


def unnest(files: Sequence[Path], columns: Sequence[str], samples: int | None = None) -> pl.DataFrame:
    """prompt_id (file and row), sample_id and one column per list of scores.

    Args:
        files: JSON, JSONL or Parquet, with one record per row.
        columns: lists of scores, equally long within a record.
        samples: how many samples to use of each record, from the first.

    Raises:
        TableError: a record lacks a column, or its lists differ in length or contain anything but finite numbers; with
            its row.
    """
    tables = []
    for file in files:
        given = read_user_table(file, file.name)
        if lacking := [c for c in columns if c not in given.columns]:
            raise TableError(f"{file.name}: record 1 has no list '{lacking[0]}', but: {', '.join(given.columns)}")
        for row, lists in enumerate(zip(*(given.values(c) for c in columns), strict=True)):
            if absent := [c for c, scores in zip(columns, lists, strict=True) if not isinstance(scores, list)]:
                raise TableError(f"{file.name}: record {row + 1} has no list '{absent[0]}'")
            if len(set(map(len, lists))) != 1:
                raise TableError(f"{file.name}: the lists of record {row + 1} differ in length")
            one = pl.DataFrame(
                [
                    _scores(f"{file.name}: record {row + 1}", Column.of_json(c, scores[:samples]))
                    for c, scores in zip(columns, lists, strict=True)
                ]
            ).with_row_index("sample_id")
            tables.append(one.select(pl.lit(f"{stem_of(file)}-{row:05d}").alias("prompt_id"), pl.all()))
    return pl.concat(tables).with_columns(pl.col("sample_id").cast(pl.Int32))


def _scores(where: str, column: Column) -> pl.Series:
    values, problems = numbers(column)
    raise_first(problems, where)
    return values.cast(pl.Float64)


_PAIR = ("chosen_id", "rejected_id")


def judged_samples(
    standardised: str, shards: Iterable[str], *, gold: str, reward: str | None, beta: float
) -> pl.DataFrame:
    """Every sample with the values that preferences depend on.

    Args:
        shards: of the samples; none in a scores-only study, where log-probabilities are 0.
        reward: the reward that preferences follow; without it they follow gold's tilt of the base at beta.

    Returns:
        Columns prompt_id, sample_id, logprob, reward, value (log π* up to a prompt's constant, or the reward).
    """
    scores = read_table(standardised, STANDARDISED).select(*KEY, reward=reward or gold)
    samples = [read_table(file, SAMPLES).select(*KEY, "logprob") for file in shards]
    table = scores.join(pl.concat(samples), on=KEY) if samples else scores.with_columns(logprob=pl.lit(0.0))
    tilt = pl.col("reward") if reward else pl.col("logprob") + pl.col("reward") / beta
    return table.with_columns(value=tilt)


def read_preference_table(file: Path, judged: pl.DataFrame, *, gamma: float) -> pl.DataFrame:
    """A user's pairs (prompt_id, chosen_id, rejected_id) with the model's probability of each.

    Raises:
        TableError: not readable, a column is missing or does not contain sample ids, a pair has one sample twice or
            samples that are not in the study; with the file and the first rows (counted from 1).
    """
    given = read_user_table(file)
    given.require(["prompt_id", *_PAIR], "It needs prompt_id, chosen_id and rejected_id")
    table = pl.DataFrame([given.texts("prompt_id"), *(given.whole_numbers(side) for side in _PAIR)])

    def refuse(bad: pl.Series, what: str) -> None:
        raise_first(Column(bad.name, bad).problems(bad, what, "pair"), given.name)

    refuse(table["chosen_id"] == table["rejected_id"], "a sample is preferred to itself")
    for side in _PAIR:
        own = judged.select("prompt_id", pl.col("sample_id").alias(side), pl.col("value").alias(f"value of {side}"))
        table = table.join(own, on=["prompt_id", side], how="left", maintain_order="left")
        refuse(table[f"value of {side}"].is_null(), f"no sample of the study has this prompt_id and {side}")
    margin = gamma * (pl.col("value of chosen_id") - pl.col("value of rejected_id"))
    return table.select("prompt_id", *_PAIR, probability=1 / (1 + (-margin).exp()))
