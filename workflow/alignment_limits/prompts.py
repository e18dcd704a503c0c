"""Read prompts from text or table files and choose from them, evenly over their strata and seeded.

The choice is stable under growth: asking for more prompts keeps the ones already chosen, in order, so
that a larger study samples only the new ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import polars as pl

from alignment_limits.errors import PromptError

TABLES: dict[str, Callable[[Path], pl.DataFrame]] = {
    ".parquet": pl.read_parquet,
    ".csv": pl.read_csv,
    ".jsonl": pl.read_ndjson,
    ".ndjson": pl.read_ndjson,
}


OWN = ("prompt_id", "text", "reference", "source", "category", "prompt")  # columns that this project writes itself


def read_prompts(folder: Path, text_column: str = "text") -> pl.DataFrame:
    """All prompts of a folder's files: columns prompt_id, text, reference (nullable), source, category, and others.

    A `.txt` file has one prompt a line, its name is the category and ids are `<file>-<line>`; a table
    (`.parquet`, `.csv`, `.jsonl`) has a text column and optionally prompt_id, reference, category. Any further
    column is kept as text for rewards that ask for it (`columns`): numbers as written by polars, lists and structs as
    JSON, and null where a file has no such column.

    Raises:
        PromptError: no file, empty file, not UTF-8, missing column, empty prompt, duplicate id; named with its row.
    """
    files = sorted(p for p in folder.iterdir() if p.suffix in {".txt", *TABLES})
    if not files:
        raise PromptError(f"no prompt file (.txt, {', '.join(TABLES)}) in {[p.name for p in folder.iterdir()]}")
    table = pl.concat(
        [_read_text(f) if f.suffix == ".txt" else _read_table(f, text_column) for f in files], how="diagonal"
    )
    twice = table.group_by("prompt_id", maintain_order=True).len().filter(pl.col("len") > 1)
    if twice.height:
        raise PromptError(
            f"prompt_id '{twice['prompt_id'][0]}' occurs {twice['len'][0]} times"
            + (f" (and {twice.height - 1} more ids)" if twice.height > 1 else "")
            + "; ids must be unique over all files"
        )
    return table


def choose_prompts(table: pl.DataFrame, count: int, seed: int, stratify_by: str | None) -> pl.DataFrame:
    """The first `count` prompts of a seeded order that takes the strata in turn.

    Raises:
        PromptError: fewer prompts than asked for, or no such column.
    """
    if table.height < count:
        raise PromptError(f"prompts.count is {count}, but the source has only {table.height} prompts")
    if stratify_by is not None and stratify_by not in table.columns:
        raise PromptError(f"prompts.stratify_by: no column '{stratify_by}'; there are: {', '.join(table.columns)}")
    stratum = pl.col(stratify_by) if stratify_by else pl.lit("")
    # a hash per prompt, not a shuffle: the order of the ones chosen does not depend on the others
    keys = [hashlib.sha256(f"{seed}/{i}".encode()).hexdigest() for i in table["prompt_id"]]
    return (
        table.with_columns(_key=pl.Series(keys), _stratum=stratum)
        .sort("_key")
        .with_columns(_turn=pl.int_range(pl.len()).over("_stratum"))
        .sort("_turn", "_stratum")
        .head(count)
        .drop("_key", "_turn", "_stratum")
    )


def _read_text(file: Path) -> pl.DataFrame:
    try:
        lines = file.read_text("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise PromptError(f"{file.name} is not UTF-8 (byte {error.start}); convert it, e.g. with `iconv`") from error
    rows = [(f"{file.stem}-{i:04d}", line.strip()) for i, line in enumerate(lines) if line.strip()]
    if not rows:
        raise PromptError(f"{file.name} is empty; it should hold one prompt a line")
    ids, texts = zip(*rows, strict=True)
    return _table(list(ids), list(texts), [None] * len(rows), file, [file.stem] * len(rows))


def _read_table(file: Path, text_column: str) -> pl.DataFrame:
    try:
        table = TABLES[file.suffix](file)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise PromptError(f"{file.name} cannot be read as {file.suffix[1:]}: {error}") from error
    if text_column not in table.columns:
        raise PromptError(f"{file.name} has no column '{text_column}', but: {', '.join(table.columns)}")
    if not table.height:
        raise PromptError(f"{file.name} has no rows")
    texts = table[text_column].cast(pl.String)
    empty = texts.fill_null("").str.strip_chars() == ""
    if empty.any():
        raise PromptError(f"{file.name}: the prompt in row {empty.arg_true()[0] + 1} is empty")
    own = [name for name in ("prompt_id", "reference", "category") if name in table.columns]
    column = {name: table[name].cast(pl.String).to_list() for name in own}
    ids = column.get("prompt_id") or [f"{file.stem}-{i:04d}" for i in range(table.height)]
    if any(i is None for i in ids):
        raise PromptError(f"{file.name}: prompt_id is missing in row {ids.index(None) + 1}")
    category = column.get("category") or [file.stem] * table.height
    reference = column.get("reference") or [None] * table.height
    others = [_as_text(table[name]) for name in table.columns if name not in (*OWN, text_column)]
    return _table(ids, texts.to_list(), reference, file, category).with_columns(others)


def _as_text(column: pl.Series) -> pl.Series:
    """A column of any type as text, nested values as JSON."""
    if not column.dtype.is_nested():
        return column.cast(pl.String)
    rows = [None if value is None else json.dumps(value, ensure_ascii=False, default=str) for value in column.to_list()]
    return pl.Series(column.name, rows, dtype=pl.String)


def _table(
    ids: list[str], texts: list[str], references: list[str | None], file: Path, category: list[str]
) -> pl.DataFrame:
    return pl.DataFrame(
        {"prompt_id": ids, "text": texts, "reference": references, "source": file.name, "category": category},
        schema_overrides={"reference": pl.String},
    )
