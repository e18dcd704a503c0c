"""Prompts from text files, tables and documents, and a seeded choice of them that is even over strata.

A larger count keeps the prompts already chosen, in order, so a larger study samples only the new ones. A document
becomes a prompt through an instruction around it. Experts' replies stay with it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from alignment_limits.errors import PromptError
from alignment_limits.tables.columns import Column, raise_first, texts
from alignment_limits.tables.conversations import MESSAGES, Messages, as_text, check_messages
from alignment_limits.tables.user_table import FORMATS, UserTable, read_lines, read_user_table, stem_of, suffix_of

OWN = ("prompt_id", "text", "reference", "source", "category", "prompt")  # columns that this project writes


def files_of(source: Path, formats: Sequence[str]) -> list[Path]:
    """The files of a source (a file or a folder), without hidden ones.

    Raises:
        PromptError: no file has one of these formats.
    """
    there = sorted(source.iterdir()) if source.is_dir() else [source]
    files = [file for file in there if suffix_of(file) in formats and file.name[0] != "."]
    if not files:
        raise PromptError(f"no prompt file ({', '.join(formats)}) in {[file.name for file in there]}")
    return files


def read_prompts(folder: Path, text_column: str = "text") -> pl.DataFrame:
    """All prompts of a file or a folder of files.

    Returns:
        Columns prompt_id, text, reference (nullable), source, category, and others.

    A `.txt` file has one prompt per line; its name is the category, and ids are `<file>-<line>`. A table
    (`.parquet`, `.csv`, `.tsv`, `.jsonl`, `.json`) has a text column and optionally prompt_id, reference, category.
    Its prompts may be conversations: in the text column, or in a column `messages` if there is no text column. The
    column `messages` of the result then contains them as JSON. Other columns are kept as text for rewards
    that use them (`columns`): lists and structs as JSON, and null where a file has no such column.

    Raises:
        PromptError: no file, empty file, not UTF-8, missing column, empty prompt, duplicate id; with its row.
    """
    files = files_of(folder, (".txt", *FORMATS))
    tables = [_read_text(f) if suffix_of(f) == ".txt" else _read_table(f, text_column) for f in files]
    table = pl.concat(tables, how="diagonal")
    if table["prompt_id"].is_duplicated().any():
        _refuse_repeats(tables)
    return table


def repeats(table: pl.DataFrame) -> str:
    """A warning about prompts whose text occurs more than once; "" if there are none."""
    again = table.filter(~pl.col("text").is_first_distinct())
    if not again.height:
        return ""
    first = again.row(0, named=True)
    earlier = table.filter(pl.col("text") == first["text"])["prompt_id"][0]
    return (
        f"{again.height} of {table.height} prompts repeat the text of another one (first: {first['prompt_id']} repeats "
        f"{earlier}). They are kept, and intervals count them as independent. If that is a mistake, remove them from "
        "the file"
    )


def conversations(table: pl.DataFrame, template: str) -> list[str | Messages]:
    """The model's inputs: each prompt's messages, or its text if it has none.

    Raises:
        PromptError: messages without a chat template.
    """
    if MESSAGES not in table.columns or not table[MESSAGES].is_not_null().any():
        return table["text"].to_list()
    if template != "chat":
        first = table.filter(pl.col(MESSAGES).is_not_null())["prompt_id"][0]
        raise PromptError(f"prompt {first} is a conversation (messages); set prompts.template: chat")
    pairs = zip(table[MESSAGES].to_list(), table["text"].to_list(), strict=True)
    return [text if messages is None else json.loads(messages) for messages, text in pairs]


def _refuse_repeats(tables: list[pl.DataFrame]) -> None:
    """Raise PromptError if an id occurs more than once, with its files and rows."""
    places = pl.concat([t.select("prompt_id", "source").with_row_index("row", offset=1) for t in tables])
    twice = places.filter(pl.col("prompt_id").is_duplicated())
    first = twice.filter(pl.col("prompt_id") == twice["prompt_id"][0])
    shown = ", ".join(f"{row['source']} row {row['row']}" for row in first.head(3).iter_rows(named=True))
    more = twice["prompt_id"].n_unique() - 1
    raise PromptError(
        f"prompt_id '{first['prompt_id'][0]}' occurs {first.height} times ({shown})"
        + (f" (and {more} more ids)" if more else "")
        + "; ids must be unique across all files"
    )


def choose_prompts(table: pl.DataFrame, count: int, seed: int, stratify_by: str | None) -> pl.DataFrame:
    """The first `count` prompts of a seeded order that alternates between the strata.

    Raises:
        PromptError: fewer prompts than `count`, or no such column.
    """
    if table.height < count:
        raise PromptError(f"prompts.count is {count}, but the source has only {table.height} prompts")
    if stratify_by is not None and stratify_by not in table.columns:
        raise PromptError(f"prompts.stratify_by: no column '{stratify_by}'; there are: {', '.join(table.columns)}")
    stratum = pl.col(stratify_by) if stratify_by else pl.lit("")
    # a hash per prompt, not a shuffle: the order of the chosen ones does not depend on the others
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
    rows = [(f"{stem_of(file)}-{i:04d}", line.strip(" \t")) for i, line in enumerate(read_lines(file, file.name))]
    rows = [(name, text) for name, text in rows if text.strip()]
    ids, texts = zip(*rows, strict=True)
    return _table(list(ids), list(texts), [None] * len(rows), file, [stem_of(file)] * len(rows))


def _read_table(file: Path, text_column: str) -> pl.DataFrame:
    given = read_user_table(file, file.name)
    conversations = text_column not in given.columns and MESSAGES in given.columns
    column = MESSAGES if conversations else text_column
    if column not in given.columns:
        raise PromptError(
            f"{file.name} has no column '{text_column}', but: {', '.join(given.columns)}. Set prompts.text_column to "
            f"one of them, or give conversations in a column '{MESSAGES}'"
        )
    given.require([column])
    further: list[pl.Series] = []
    messages = _messages(given, column, needed=conversations)
    if messages:
        texts = [as_text(conversation) for conversation in messages]
        kept = [json.dumps(conversation, ensure_ascii=False) for conversation in messages]
        further = [pl.Series(MESSAGES, kept, dtype=pl.String)]
    else:
        texts = given.texts(column).to_list()
    ids = given.texts("prompt_id").to_list() if "prompt_id" in given.columns else None
    own = {name: given.optional_texts(name).to_list() for name in ("reference", "category") if name in given.columns}
    category = [stem_of(file) if c is None else c for c in own.get("category", [None] * given.height)]
    others = [name for name in dict.fromkeys(given.columns) if name not in (*OWN, MESSAGES, column)]
    further += [given.anything(name) for name in others]
    ids = ids or [f"{stem_of(file)}-{i:04d}" for i in range(given.height)]
    return _table(ids, texts, own.get("reference", [None] * given.height), file, category).with_columns(further)


def _messages(given: UserTable, column: str, needed: bool) -> list[Messages]:
    """The conversations of a column; none if it contains texts."""
    values = given.values(column)
    if not needed and not any(isinstance(value, list) for value in values):
        return []
    out: list[Messages] = []
    for row, value in enumerate(values, start=1):
        out.append(check_messages(_parsed(value), f"{given.name}: '{column}' in row {row}"))
    return out


def _parsed(value: Any) -> Any:
    """A conversation in a CSV file, as JSON."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _table(
    ids: list[str], texts: list[str], references: list[str | None], file: Path, category: list[str]
) -> pl.DataFrame:
    return pl.DataFrame(
        {"prompt_id": ids, "text": texts, "reference": references, "source": file.name, "category": category},
        schema_overrides={"reference": pl.String},
    )


def read_documents(
    folder: Path,
    *,
    text: str,
    references: Sequence[str],
    instruction: str,
    id: str | None = None,
    category: str | None = None,
    max_words: int | None = None,
) -> pl.DataFrame:
    """All documents of a folder's tables as prompts.

    Args:
        folder: a file, or a folder of Parquet, CSV, TSV, JSONL or JSON files.
        text, references, id, category: names of columns. Dots lead into nested ones; lists are joined by spaces.
        instruction: the prompt, with `{document}` in place of the document.
        max_words: documents with more words are left out.

    Returns:
        Columns prompt_id, text (the instruction with its document), document (one line), reference (one line per
        reference), category.

    Raises:
        PromptError: no file, missing column, empty document or reference (with its row), or all are too long.
    """
    tables = []
    for file in files_of(folder, FORMATS):
        table = read_user_table(file, file.name)
        table.require([])
        documents = _texts(table, text)
        experts = [[_line(t) for t in _texts(table, column)] for column in references]
        rows = range(len(documents))
        tables.append(
            pl.DataFrame(
                {
                    "prompt_id": _texts(table, id) if id else [f"{stem_of(file)}-{i:05d}" for i in rows],
                    "text": [instruction.replace("{document}", document) for document in documents],
                    "document": [_line(document) for document in documents],
                    "reference": ["\n".join(e[i] for e in experts) for i in rows],
                    "category": _texts(table, category) if category else [stem_of(file)] * len(documents),
                }
            )
        )
    whole = pl.concat(tables)
    if max_words is not None:
        whole = whole.filter(pl.col("document").str.count_matches(r"\S+") <= max_words)
        if not whole.height:
            raise PromptError(f"all documents have more than documents.max_words = {max_words} words")
    return whole


def _texts(table: UserTable, path: str) -> list[str]:
    """A column, perhaps nested, as texts."""
    name, *inside = [path] if path in table.columns else path.split(".")
    if name not in table.columns:
        raise PromptError(f"{table.name} has no column '{path}', but: {', '.join(table.columns)}")
    rows = []
    for row, value in enumerate(table.values(name), start=1):
        for key in inside:
            if not isinstance(value, dict) or key not in value:
                raise PromptError(f"{table.name} has no column '{path}' in row {row}")
            value = value[key]
        rows.append([part for part in (value if isinstance(value, list) else [value]) if part is not None])
    place = np.repeat(np.arange(len(rows)), [len(parts) for parts in rows])
    checked, problems = texts(Column.of_json(path, [part for parts in rows for part in parts]), empty=True)
    raise_first((problem.at(place) for problem in problems), table.name)
    joined, start = [], 0
    for row, parts in enumerate(rows, start=1):
        joined.append(" ".join(checked[start : start + len(parts)]))
        start += len(parts)
        if not joined[-1].strip():
            raise PromptError(f"{table.name}: '{path}' in row {row} is empty")
    return joined


def _line(text: str) -> str:
    return " ".join(text.split())
