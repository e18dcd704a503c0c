"""What is known of each sample in addition to its scores, as numbers: length, whether it was cut, whether it refuses.

From samples of this workflow, or from a user's table, which may have further columns of any meaning.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from alignment_limits.errors import TableError
from alignment_limits.tables.artifacts import KEY
from alignment_limits.tables.columns import Column, numbers, raise_first
from alignment_limits.tables.user_table import UserTable, read_user_table

TOKENS, CHARACTERS, TRUNCATED, REFUSAL = BUILT_IN = ("tokens", "characters", "truncated", "refusal")
SHARES = (TRUNCATED, REFUSAL)  # 1 or 0 for each sample
ANSWER = "answer"  # of each reply, found by a verifier
OPENING = 200  # characters of a reply in which a refusal is looked for


def sample_columns(samples: pl.DataFrame, refusals: Sequence[str]) -> pl.DataFrame:
    """Columns of samples of this workflow.

    Args:
        samples: with prompt_id, sample_id, and any of n_tokens, text, finish_reason.
        refusals: phrases that mark a refusal, in the first 200 characters of a reply, in any case.

    Returns:
        The key; tokens and characters of the reply; 1 where it was cut at the token limit (`truncated`) and where it
        refuses (`refusal`), else 0. A column is left out if the samples lack what it needs, and null where they do.

    Example:
        >>> samples = pl.DataFrame({"prompt_id": ["a"], "sample_id": [0], "text": ["I’m sorry, no."]})
        >>> sample_columns(samples, ["I'm sorry"]).row(0)
        ('a', 0, 14.0, 1.0)
    """
    opening = pl.col("text").str.slice(0, OPENING).str.to_lowercase().str.replace_all("’", "'")
    found = {
        TOKENS: ("n_tokens", pl.col("n_tokens")),
        CHARACTERS: ("text", pl.col("text").str.len_chars()),
        TRUNCATED: ("finish_reason", pl.col("finish_reason") == "length"),
        REFUSAL: ("text", opening.str.contains(_any_of(refusals))),
    }
    made = [
        values.cast(pl.Float64).alias(name) for name, (needed, values) in found.items() if needed in samples.columns
    ]
    return samples.select(*KEY, *made)


def with_answers(columns: pl.DataFrame, scores: pl.DataFrame) -> pl.DataFrame:
    """Columns of samples with the answers that a verifier found in them, from its table of scores.

    Returns:
        `columns` with a column `answer`, null where a reply has none; unchanged if the verifier found none at all.
    """
    if ANSWER not in scores.columns or not scores[ANSWER].is_not_null().any():
        return columns
    return columns.join(scores.select(*KEY, ANSWER), on=KEY, how="left", maintain_order="left")


def _any_of(phrases: Sequence[str]) -> str:
    """A pattern that matches any of these phrases; nothing if there are none."""
    return "|".join(re.escape(phrase.lower().replace("’", "'")) for phrase in phrases) or r"[^\s\S]"


def table_columns(
    file: Path, refusals: Sequence[str], named: Sequence[str] = (), texts: Sequence[str] = ()
) -> pl.DataFrame:
    """Columns of a user's table of scores.

    Args:
        file: the table; `n_tokens`, `text` and `finish_reason` are used where it has them.
        refusals: as for `sample_columns`.
        named: further columns of numbers (or true and false); a value may be missing. One that is made from the
            samples, such as `tokens`, need not be a column of the table.
        texts: further columns of text; a value may be missing.

    Returns:
        The key and these columns, in key order.

    Raises:
        TableError: no such column, or values that are not numbers; with the file, the column and the row.
    """
    given = read_user_table(file)
    given.require(KEY)
    table = pl.DataFrame([given.texts("prompt_id"), given.whole_numbers("sample_id")])
    known = {"n_tokens": _numbers, "text": UserTable.anything, "finish_reason": UserTable.anything}
    table = table.with_columns(read(given, name) for name, read in known.items() if name in given.columns)
    made = sample_columns(table, refusals)
    named = [name for name in named if name not in made.columns or name in given.columns]
    given.require([*named, *texts], "The study's `tradeoffs:` names it")
    if twice := [name for name in (*named, *texts) if name in made.columns]:
        raise TableError(
            f"{given.name}: '{twice[0]}' is a column that is made from the samples; rename the table's own"
        )
    made = made.with_columns([_numbers(given, name) for name in named])
    return made.with_columns([given.anything(name) for name in texts]).sort(KEY)


def _numbers(given: UserTable, name: str) -> pl.Series:
    """A column of numbers as Float64, null where a value is missing."""
    column = given.read([name])[name]
    if column.values.dtype == pl.Boolean:
        return column.values.cast(pl.Float64)
    if column.kinds is not None:  # JSON: true and false have no text
        raw = given.values(name)
        if all(isinstance(value, bool) or value is None for value in raw):
            return pl.Series(name, raw, dtype=pl.Float64, strict=False)
    if column.values.dtype == pl.String and column.values.drop_nulls().is_in(["true", "false", "True", "False"]).all():
        return column.values.replace_strict(
            {"true": 1.0, "True": 1.0, "false": 0.0, "False": 0.0}, return_dtype=pl.Float64
        )
    found, problems = numbers(column)
    raise_first((problem for problem in problems if problem.rule != "finite"), given.name)
    values = found.cast(pl.Float64)
    if (infinite := values.is_infinite().fill_null(False)).any():
        raise_first(Column(name, values).problems(infinite, f"'{name}' is infinite", "finite"), given.name)
    return values.fill_nan(None)
