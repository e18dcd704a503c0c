"""A user's table of samples: texts of a base model with their prompts, in any row order and of any number per prompt.

Nothing is fixed silently: a bad row is refused with its number.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from alignment_limits.errors import PromptError, TableError
from alignment_limits.tables.artifacts import KEY
from alignment_limits.tables.columns import Column, Problem, numbers, raise_first, texts, whole_numbers
from alignment_limits.tables.conversations import MESSAGES, as_text, check_messages
from alignment_limits.tables.prompts import read_prompts
from alignment_limits.tables.schemas.samples import SAMPLES
from alignment_limits.tables.scores import cluster_column, read_clusters, repeated
from alignment_limits.tables.user_table import UserTable, read_user_table

NEEDED = "It needs prompt_id, sample_id, text (the reply) and prompt"
OPTIONAL = ("token_ids", "n_tokens", "logprob", "finish_reason", "seed")


def read_sample_table(file: Path, needed: Mapping[str, str] | None = None) -> pl.DataFrame:
    """The samples of a user's table.

    Args:
        file: Parquet, CSV, TSV, JSONL or JSON with prompt_id (text), sample_id (whole number from 0) and text, the
            reply. Optional: token_ids (of the reply), n_tokens, logprob (of the reply, nats, under the law that drew
            it), finish_reason, seed. Other columns are not read.
        needed: optional columns that the study needs, with the reason of each.

    Returns:
        The columns of the contract `samples`, in key order; null where the table does not have a value.

    Raises:
        TableError: not readable, a column is missing or has values of another kind, a key is missing or occurs twice, a
            reply is missing, a log-probability is above 0, n_tokens is not the number of token_ids; with the file,
            the column and the first rows (counted from 1).

    Example:
        >>> rows = {"prompt_id": ["q1", "q1"], "sample_id": [1, 0], "text": [" No.", " Yes."]}
        >>> pl.DataFrame(rows).write_csv("replies.csv")
        >>> read_sample_table(Path("replies.csv"))["text"].to_list()
        [' Yes.', ' No.']
    """
    given = read_user_table(file)
    given.require([*KEY, "text"], NEEDED)
    for name, reason in (needed or {}).items():
        given.require([name], f"This study needs it: {reason}")
    prompt_ids, sample_ids = given.texts("prompt_id"), given.whole_numbers("sample_id")
    table = pl.DataFrame({"prompt_id": prompt_ids, "sample_id": sample_ids.cast(pl.Int32), "text": _replies(given)})
    has = {name: _optional(given, name) for name in OPTIONAL if name in given.columns}
    table = table.with_columns(pl.Series(name, values) for name, values in has.items())
    for name, reason in (needed or {}).items():
        _refuse(given, name, table[name].is_null(), f"'{name}' is missing, and this study needs it: {reason}")
    if "token_ids" in has:
        length = table["token_ids"].list.len().cast(pl.Int32)
        if "n_tokens" in has:
            _refuse(given, "n_tokens", table["n_tokens"] != length, "'n_tokens' is not the number of 'token_ids'")
        table = table.with_columns(n_tokens=length if "n_tokens" not in has else pl.coalesce("n_tokens", length))
    if "logprob" in has:
        _refuse(given, "logprob", table["logprob"] > 0, "'logprob' is above 0; give log-probabilities in nats")
    _refuse_repeats(given, table)
    absent = [pl.lit(None, kind).alias(name) for name, kind in SAMPLES.columns.items() if name not in table.columns]
    return table.with_columns(absent).select(SAMPLES.columns.keys()).sort(KEY)


def read_prompts_of(
    file: Path, samples: pl.DataFrame, columns: Sequence[str] = (), prompts: Path | None = None
) -> pl.DataFrame:
    """The prompts of a table of samples.

    Args:
        file: the table of samples. Its column `prompt` has texts, or conversations (lists of role and content, or
            these as JSON).
        samples: `read_sample_table` of it.
        columns: further columns of a prompt that rewards read, such as its answer.
        prompts: a file of prompts instead (as for `prompts.source`); those without samples are left out.

    Returns:
        prompt_id, text and prompt (both the text that rewards read), reference, source, and the columns asked for; the
        column `messages` for conversations; `cluster` if a table has this column. In the order of prompt_id.

    Raises:
        TableError: no prompts, a prompt_id with two values of a column; with the rows.
        PromptError: the file of prompts cannot be used, or lacks a prompt.
    """
    ids = samples["prompt_id"].unique().sort()
    if prompts is None:
        table = _own_prompts(read_user_table(file), columns)
    else:
        table = read_prompts(prompts, "text")
        lacking = ids.filter(~ids.is_in(table["prompt_id"].implode()))
        if len(lacking):
            raise PromptError(
                f"{prompts} lacks {len(lacking)} of the {len(ids)} prompts of {file.name}, the first is "
                f"{lacking[0]!r}; its column prompt_id has the ids of the samples"
            )
        table = table.filter(pl.col("prompt_id").is_in(ids.implode()))
    column = cluster_column(file, None, [])
    if column is not None and "cluster" not in table.columns:
        table = table.join(read_clusters(file, column), on="prompt_id", how="left")
    return table.with_columns(prompt=pl.col("text")).sort("prompt_id")


def read_replies(file: Path, prompts: pl.DataFrame) -> pl.DataFrame:
    """Replies of a policy to a study's prompts, from a user's table.

    Args:
        file: Parquet, CSV, TSV, JSONL or JSON with text (the reply) and prompt_id, or prompt (its text) instead. A
            prompt may have any number of replies, or none. Other columns are not read.
        prompts: of the study (contract `prompts`).

    Returns:
        The columns of the contract `samples`, in key order; replies are numbered in the order of the rows.

    Raises:
        TableError: not readable, a column is missing, a reply is missing, a prompt is not one of the study's; with the
            file and the first rows (counted from 1).

    Example:
        >>> asked = pl.DataFrame({"prompt_id": ["q1", "q2"], "prompt": ["One?", "Two?"]})
        >>> pl.DataFrame({"prompt": ["Two?", "Two?"], "text": ["Yes.", "No."]}).write_csv("gpt.csv")
        >>> read_replies(Path("gpt.csv"), asked).select("prompt_id", "sample_id", "text").rows()
        [('q2', 0, 'Yes.'), ('q2', 1, 'No.')]
    """
    given = read_user_table(file)
    if not {"prompt_id", "prompt"} & set(given.columns):
        given.require(["prompt_id"], "Replies of a policy need it, or the text of the prompt in a column prompt")
    given.require(["text"], "It is the reply of the policy")
    by = "prompt_id" if "prompt_id" in given.columns else "prompt"
    named = given.texts(by) if by == "prompt_id" else given.anything(by).cast(pl.String)
    known = prompts.unique(by, keep="first", maintain_order=True)
    ids = named.replace_strict(known[by], known["prompt_id"], default=None, return_dtype=pl.String)
    if ids.null_count():
        row = int(ids.is_null().arg_true()[0])
        others = "no row is" if ids.null_count() == len(ids) else f"{ids.null_count()} of {len(ids)} rows are not"
        raise TableError(
            f"{given.name}: {others} of a prompt of the study, the first in row {row + 1}: '{by}' is "
            f"{str(named[row])[:60]!r}. Prompts are in results/<study>/prompts.parquet: use its prompt_id, or remove "
            "these rows"
        )
    table = pl.DataFrame({"prompt_id": ids, "text": _replies(given)})
    table = table.with_columns(sample_id=pl.int_range(pl.len(), dtype=pl.Int32).over("prompt_id"))
    absent = [pl.lit(None, kind).alias(name) for name, kind in SAMPLES.columns.items() if name not in table.columns]
    return table.with_columns(absent).select(SAMPLES.columns.keys()).sort(KEY)


def joined_scores(scores: Mapping[str, Mapping[str, pl.DataFrame]]) -> pl.DataFrame:
    """Scores of policies' replies as one table: the key, `law` (the policy) and a column for each reward.

    A prompt's replies of all policies are numbered together.

    Args:
        scores: policy → reward → table `scores`; a policy's tables have the same rows.
    """
    parts = []
    for policy, tables in scores.items():
        keys = next(iter(tables.values())).select(*KEY, law=pl.lit(policy))
        for reward, table in tables.items():
            own = table.select(*KEY, pl.col("score").alias(reward))
            keys = keys.join(own, on=KEY, how="left", maintain_order="left")
        parts.append(keys)
    number = pl.int_range(pl.len(), dtype=pl.Int32).over("prompt_id")
    return pl.concat(parts).with_columns(sample_id=number).sort(KEY)


def divide(prompts: pl.DataFrame, samples: pl.DataFrame, parts: int) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Prompts and their samples in parts of nearly equal numbers of prompts.

    Raises:
        TableError: fewer prompts than parts.

    Example:
        >>> prompts = pl.DataFrame({"prompt_id": ["a", "b", "c"]})
        >>> samples = pl.DataFrame({"prompt_id": ["a", "a", "b", "c"], "sample_id": [0, 1, 0, 0]})
        >>> [(len(own), len(drawn)) for own, drawn in divide(prompts, samples, 2)]
        [(1, 2), (2, 2)]
    """
    if prompts.height < parts:
        raise TableError(
            f"the samples are of {prompts.height} prompts, too few for {parts} parts; set samples.parts to a number up "
            f"to {prompts.height}"
        )
    edges = [i * prompts.height // parts for i in range(parts + 1)]
    place = pl.DataFrame({"prompt_id": prompts["prompt_id"], "_place": range(prompts.height)})
    placed = samples.join(place, on="prompt_id", how="left", maintain_order="left")
    for first, end in itertools.pairwise(edges):
        yield prompts[first:end], placed.filter(pl.col("_place").is_between(first, end - 1)).drop("_place")


def _replies(given: UserTable) -> pl.Series:
    """Replies: any text, as models write anything, also an empty one; but none is missing."""
    column = given.read(["text"])["text"]
    values, problems = texts(column, empty=True)
    raise_first((problem for problem in problems if problem.rule != "nul"), given.name)
    remedy = 'leave the sample out, or write an empty reply as ""'
    _refuse(given, "text", values.is_null(), f"'text' is missing; {remedy}")
    return values


def _optional(given: UserTable, name: str) -> pl.Series:
    """An optional column in the type of the contract; null where there is no value."""
    if name == "finish_reason":
        return given.optional_texts(name)
    column = given.read([name])[name]
    if name == "token_ids":
        return _token_ids(given, column)
    present = column.values.is_not_null()
    rows = present.arg_true()
    kinds = None if column.kinds is None else column.kinds.filter(present)
    part = Column(name, column.values.filter(present), kinds)
    values, problems = _seeds(part) if name == "seed" else (numbers if name == "logprob" else whole_numbers)(part)
    raise_first((problem.at(rows.to_numpy()) for problem in problems), given.name)
    kind = SAMPLES.columns[name]
    return pl.Series(name, [None] * given.height, dtype=kind).scatter(rows, values.cast(kind)).alias(name)


def _seeds(column: Column) -> tuple[pl.Series, list[Problem]]:
    values = column.values.cast(pl.Int64, strict=False)
    return values, column.problems(values.is_null(), f"'{column.name}' is not a whole number", "whole")


def _token_ids(given: UserTable, column: Column) -> pl.Series:
    """Lists of token ids; as JSON in text formats."""
    kind, name, values = SAMPLES.columns["token_ids"], column.name, column.values
    what = f"'{name}' is not a list of whole numbers from 0"
    if isinstance(values.dtype, pl.List) and values.dtype.inner.is_integer():
        ids = values.cast(kind, strict=False)
    else:
        read = [_whole(value) for value in given.values(name)]
        _refuse(given, name, pl.Series([value is False for value in read]), what)
        ids = pl.Series(name, read, dtype=kind)
    _refuse(given, name, (ids.list.min() < 0) | (ids.list.eval(pl.element().is_null()).list.any()), what)
    return ids


def _whole(value: Any) -> list[int] | bool | None:
    """A list of whole numbers, None for a missing value, False for anything else."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return False
    if value is None:
        return None
    good = isinstance(value, list) and all(type(each) is int and 0 <= each < 2**31 for each in value)
    return value if good else False


def _own_prompts(given: UserTable, columns: Sequence[str]) -> pl.DataFrame:
    """Prompts from the column `prompt` (or `messages`) of the samples."""
    named = [name for name in ("prompt", MESSAGES) if name in given.columns]
    if not named:
        raise TableError(
            f"{given.name} has no column prompt, but: {', '.join(given.columns)}. Add it, or name a file with "
            "prompt_id and text: samples.prompts"
        )
    table = _of_prompts(given, named[0])
    if (lost := table.filter(pl.col(named[0]).fill_null("").str.strip_chars() == "")).height:
        raise TableError(f"{given.name}: '{named[0]}' is missing for prompt {lost['prompt_id'][0]!r}")
    written = table[named[0]].to_list()
    talks = [_messages(value, named[0] == MESSAGES or value.startswith("[{")) for value in written]
    if any(talks):
        where = (f"{given.name}: '{named[0]}' of prompt {name!r}" for name in table["prompt_id"])
        checked = [check_messages(talk, place) for talk, place in zip(talks, where, strict=True)]
        kept = [json.dumps(talk, ensure_ascii=False) for talk in checked]
        table = table.with_columns(pl.Series(MESSAGES, kept), text=pl.Series([as_text(talk) for talk in checked]))
    else:
        table = table.with_columns(text=pl.Series(written, dtype=pl.String))
    for name in columns:
        table = table.join(_of_prompts(given, name), on="prompt_id", how="left")
    kept = ["prompt_id", "text", *([MESSAGES] if any(talks) else []), *columns]
    return table.select(kept).with_columns(reference=pl.lit(None, pl.String), source=pl.lit(given.name))


def _messages(value: str, talk: bool) -> Any:
    """A conversation that was written as JSON; None for a text."""
    if not talk:
        return None
    try:
        read = json.loads(value)
    except ValueError:
        return None
    return read if isinstance(read, list) else None


def _of_prompts(given: UserTable, column: str) -> pl.DataFrame:
    """A column with one value for each prompt: prompt_id and the value as text."""
    given.require([column], "Rewards read it with the prompt")
    table = pl.DataFrame({"prompt_id": given.texts("prompt_id"), column: given.anything(column)})
    each = table.with_row_index("row", offset=1).unique(["prompt_id", column], keep="first", maintain_order=True)
    twice = each.filter(pl.col("prompt_id").is_duplicated())
    if twice.height:
        first = twice.filter(pl.col("prompt_id") == twice["prompt_id"][0]).head(2)
        raise TableError(
            f"{given.name}: prompt {first['prompt_id'][0]!r} has two values of '{column}', in row {first['row'][0]} "
            f"and {first['row'][1]}; give samples of another prompt another prompt_id"
        )
    return each.select("prompt_id", column)


def _refuse(given: UserTable, name: str, bad: pl.Series, what: str) -> None:
    raise_first(Column(name, bad).problems(bad.fill_null(False), what, "table"), given.name)


def _refuse_repeats(given: UserTable, table: pl.DataFrame) -> None:
    rows = table.select(KEY).with_row_index("row", offset=1).filter(pl.struct(KEY).is_duplicated())
    if rows.height:
        first = rows.filter(
            (pl.col("prompt_id") == rows["prompt_id"][0]) & (pl.col("sample_id") == rows["sample_id"][0])
        )
        raise TableError(
            f"{given.name}: {repeated(rows['prompt_id'][0], rows['sample_id'][0], first['row'].to_list())}"
        )
