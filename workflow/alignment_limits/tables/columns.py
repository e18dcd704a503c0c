"""Columns of a user's tables and their allowed values: ids, texts, numbers. The rules are the same for every format."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from alignment_limits.errors import TableError

TEXT, WHOLE, NUMBER, BROKEN = "text", "a whole number", "a number", "text with half a surrogate pair"
_NAMES = {str: TEXT, type(None): TEXT, int: WHOLE, float: NUMBER, bool: "true or false", list: "a list"}


RULES = (
    "kind",
    "number",
    "missing",
    "nul",
    "clash",
    "whole",
    "finite",
    "bounds",
)  # in the order in which they are checked
_SHOWN = 5


@dataclass(frozen=True)
class Problem:
    """A rule that rows of a column break.

    what: the message about the first of them. rows: counted from 0; empty if the entire column breaks it.
    """

    column: str
    rule: str
    what: str
    rows: list[int]
    count: int

    def after(self, earlier: Problem | None, first: int) -> Problem:
        """The same problem for the table up to here, from a part that begins at row `first` and the parts before."""
        rows = [row + first for row in self.rows]
        if earlier is None:
            return Problem(self.column, self.rule, self.what, rows, self.count)
        rows = (earlier.rows + rows)[:_SHOWN]
        return Problem(self.column, self.rule, earlier.what, rows, earlier.count + self.count)

    def at(self, rows: np.ndarray) -> Problem:
        """The same problem, for values that are in these rows (values,) of a table."""
        return Problem(self.column, self.rule, self.what, rows[self.rows].tolist(), self.count)

    def error(self, name: str) -> TableError:
        """The message, with the first five rows counted from 1."""
        more = self.count - len(self.rows)
        shown = ", ".join(str(row + 1) for row in self.rows) + (f" and {more} more" if more else "")
        return TableError(f"{name}: {self.what}" + (f", in row {shown}" if self.rows else ""))


def raise_first(problems: Iterable[Problem], name: str) -> None:
    """Raise the first problem of a table, if there is one."""
    for problem in problems:
        raise problem.error(name)


@dataclass(frozen=True)
class Column:
    """A column as the user gave it.

    values: of any type; for JSON, the text of each value.
    kinds: the kind of each value, where they may differ (JSON).
    """

    name: str
    values: pl.Series
    kinds: pl.Series | None = None

    @classmethod
    def of_json(cls, name: str, given: Sequence[Any]) -> Column:
        """Parsed JSON values, of any types."""
        kinds, values = [], []
        for value in given:
            kind = _NAMES.get(type(value), "an object")
            text = value if isinstance(value, str) else None if value is None else _json_text(value)
            if kind is TEXT and text is not None and not text.isascii():
                try:
                    text.encode()
                except UnicodeEncodeError:
                    kind, text = BROKEN, "\ufffd"
            kinds.append(kind)
            values.append(text)
        return cls(name, pl.Series(name, values, dtype=pl.String), pl.Series(kinds, dtype=pl.String))

    @property
    def kind(self) -> str:
        """The kind of the values, where all have the same."""
        dtype = self.values.dtype
        if dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null):
            return TEXT
        if dtype.is_integer():
            return WHOLE
        if dtype.is_numeric():
            return NUMBER
        names: list[tuple[Any, str]] = [(pl.Boolean, "true or false"), (pl.List, "a list"), (pl.Array, "a list")]
        names += [(pl.Struct, "an object"), (pl.Binary, "bytes")]
        return next((n for t, n in names if dtype == t), "a date or time" if dtype.is_temporal() else str(dtype))

    def not_of(self, kinds: Sequence[str], wanted: str) -> list[Problem]:
        """Rows with values of other kinds."""
        given = self.values.is_not_null()
        if self.kinds is None:
            what = _not_of(self.name, self.kind, wanted)
            return [] if self.kind in kinds else [Problem(self.name, "kind", what, [], 0)]
        bad = given & ~self.kinds.is_in(list(kinds))
        if not bad.any():
            return []
        what = _not_of(self.name, self.kinds.filter(bad)[0], wanted)
        return (
            [Problem(self.name, "kind", what, [], 0)] if bad.sum() == given.sum() else self.problems(bad, what, "kind")
        )

    def problems(self, bad: pl.Series, what: str, rule: str) -> list[Problem]:
        """The problem of the rows where `bad` is true, if there are any."""
        rows = bad.arg_true()
        return [Problem(self.name, rule, what, rows[:_SHOWN].to_list(), len(rows))] if len(rows) else []


def _not_of(name: str, kind: str, wanted: str) -> str:
    remedy = "; write 1 and 0" if (kind, wanted) == (_NAMES[bool], "numbers") else ""
    return f"'{name}' contains {kind}, not {wanted}{remedy}"


def texts(column: Column, empty: bool = False) -> tuple[pl.Series, list[Problem]]:
    """Texts, or ids. Whole numbers are read as their digits: 7 is '7' in every format, and differs from '007'.

    Args:
        empty: a value may be missing; an empty text is a missing one.

    Returns:
        The column as text, and its problems: other types, a missing value, a NUL character or half a surrogate pair,
        an id that is a number in one row and the same text in another.
    """
    name = column.name
    problems = column.not_of((TEXT, WHOLE), "text; give texts or whole numbers")
    values = column.values
    if not problems and values.dtype != pl.String:
        values = values.cast(pl.String)
    if problems:
        return values, problems
    runs = values.rle()  # ids repeat, so each run is checked once
    each, lengths = runs.struct.field("value"), runs.struct.field("len")

    def rows(bad: pl.Series) -> pl.Series:
        return pl.Series(np.repeat(bad.fill_null(False).to_numpy(), lengths.to_numpy()))

    if not empty and (lost := each.is_null() | (each.str.strip_chars() == "").fill_null(True)).any():
        problems += column.problems(rows(lost), f"'{name}' is missing", "missing")
    if (nul := each.str.contains("\0", literal=True).fill_null(False)).any():
        problems += column.problems(rows(nul), f"'{name}' contains a NUL character", "nul")
    if column.kinds is not None:
        both = pl.DataFrame({"value": values, "kind": column.kinds}).drop_nulls().unique()
        twice = both.filter(pl.col("value").is_duplicated())["value"]
        if len(twice):
            first = values.filter(values.is_in(twice.implode()))[0]
            what = f"'{name}' is the number {first} in one row and the text '{first}' in another: write it in one way"
            problems += column.problems(values == first, what, "clash")
    return values, problems


def numbers(column: Column) -> tuple[pl.Series, list[Problem]]:
    """Finite numbers, also written as text.

    Returns:
        The column as Float64 (Float32 stays), and its problems: not a number, or missing, NaN or infinite.
    """
    name, values = column.name, column.values
    number, problems = _as_float(column)
    if problems:
        return number, problems
    bad = number.is_null() & values.is_not_null()
    if bad.any():
        first = values.filter(bad)[0]
        hint = "; write decimals with a point" if "," in first else ""
        return number, column.problems(bad, f"'{name}' is not a number ({first!r}{hint})", "number")
    finite = number.is_finite()
    if number.null_count() or not finite.all():
        what = f"'{name}' is missing, NaN or infinite"
        problems = column.problems(~finite.fill_null(False), what, "finite")
    return number, problems


def within(column: Column, number: pl.Series, bounds: tuple[float, float], key: Sequence[pl.Series]) -> list[Problem]:
    """The problem of finite numbers outside of bounds, if there are any, with the key of the first."""
    bad = (number < bounds[0]) | (number > bounds[1])
    if not bad.any():
        return []
    first = int(bad.arg_true()[0])
    prompt, sample = (values[first] for values in key)
    what = (
        f"'{column.name}' is outside its bounds, {bounds[0]:g} to {bounds[1]:g}: {number[first]:g} (prompt {prompt!r}, "
        f"sample {sample})"
    )
    return column.problems(bad, what, "bounds")


def whole_numbers(column: Column) -> tuple[pl.Series, list[Problem]]:
    """Sample ids: whole numbers from 0 to 2^31 - 1, in any type.

    Returns:
        The column as Int32, and its problems.
    """
    name, values = column.name, column.values
    number, problems = (values, []) if values.dtype.is_integer() else _as_float(column)
    if problems:
        return number, problems
    if values.null_count():
        return values, column.problems(values.is_null(), f"'{name}' is missing", "missing")
    whole = number.cast(pl.Int32, strict=False)  # null beyond its range
    bad = whole.is_null() | (whole < 0).fill_null(True)
    if number.dtype.is_float():
        bad = bad | (number != number.round())
    if bad.any():
        what = f"'{name}' is not a whole number from 0 to 2^31 - 1 ({values.filter(bad)[0]})"
        return number, column.problems(bad, what, "whole")
    return whole, []


def _as_float(column: Column) -> tuple[pl.Series, list[Problem]]:
    values = column.values
    problems = column.not_of((TEXT, WHOLE, NUMBER), "numbers")
    if problems or values.dtype in (pl.Float32, pl.Float64):
        return values, problems
    if not values.dtype.is_numeric():
        values = values.cast(pl.String).str.strip_chars(" \t")
    return values.cast(pl.Float64, strict=False), []


def _json_text(value: Any) -> str:
    """A number as it was written; for other values an empty text."""
    return str(value) if type(value) is int else repr(value) if type(value) is float else ""
