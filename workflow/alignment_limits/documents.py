"""Documents with references as prompts: an instruction around each document, experts' replies beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from alignment_limits.errors import PromptError
from alignment_limits.prompts import files_of
from alignment_limits.tables.columns import Column, raise_first, texts
from alignment_limits.tables.opening import stem_of
from alignment_limits.tables.user_table import FORMATS, UserTable, read_user_table


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
        folder: a file, or a folder that holds Parquet, CSV, TSV, JSONL or JSON files.
        text, references, id, category: names of columns; dots lead into nested ones, lists are joined by spaces.
        instruction: the prompt, `{document}` standing for the document.
        max_words: documents with more words are left out.

    Returns:
        prompt_id, text (the instruction with its document), document (one line), reference (one line per
        reference), category.

    Raises:
        PromptError: no file, missing column, empty document or reference, or all are too long; named with its row.
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
