"""Documents with references as prompts: an instruction around each document, experts' replies beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from alignment_limits.errors import PromptError
from alignment_limits.prompts import TABLES


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
        folder: holds Parquet, CSV or JSONL files.
        text, references, id, category: names of columns; dots lead into nested ones, lists are joined by spaces.
        instruction: the prompt, `{document}` standing for the document.
        max_words: documents with more words are left out.

    Returns:
        prompt_id, text (the instruction with its document), document (one line), reference (one line per
        reference), category.

    Raises:
        PromptError: no file, missing column, empty document or reference, or all are too long; named with its row.
    """
    files = sorted(p for p in folder.iterdir() if p.suffix in TABLES)
    if not files:
        raise PromptError(f"no table of documents ({', '.join(TABLES)}) in {[p.name for p in folder.iterdir()]}")
    tables = []
    for file in files:
        try:
            table = TABLES[file.suffix](file)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise PromptError(f"{file.name} cannot be read as {file.suffix[1:]}: {error}") from error
        documents = _texts(table, text, file)
        experts = [[_line(t) for t in _texts(table, column, file)] for column in references]
        rows = range(len(documents))
        tables.append(
            pl.DataFrame(
                {
                    "prompt_id": _texts(table, id, file) if id else [f"{file.stem}-{i:05d}" for i in rows],
                    "text": [instruction.replace("{document}", document) for document in documents],
                    "document": [_line(document) for document in documents],
                    "reference": ["\n".join(e[i] for e in experts) for i in rows],
                    "category": _texts(table, category, file) if category else [file.stem] * len(documents),
                }
            )
        )
    whole = pl.concat(tables)
    if max_words is not None:
        whole = whole.filter(pl.col("document").str.count_matches(r"\S+") <= max_words)
        if not whole.height:
            raise PromptError(f"all documents have more than documents.max_words = {max_words} words")
    return whole


def _texts(table: pl.DataFrame, path: str, file: Path) -> list[str]:
    """A column, perhaps nested, as texts."""
    name, *inside = path.split(".")
    if name not in table.columns:
        raise PromptError(f"{file.name} has no column '{path}', but: {', '.join(table.columns)}")
    texts = []
    for row, value in enumerate(table[name].to_list(), start=1):
        for key in inside:
            if not isinstance(value, dict) or key not in value:
                raise PromptError(f"{file.name} has no column '{path}' in row {row}")
            value = value[key]
        parts = value if isinstance(value, list) else [value]
        texts.append(" ".join(str(part) for part in parts if part is not None))
        if not texts[-1].strip():
            raise PromptError(f"{file.name}: '{path}' in row {row} is empty")
    return texts


def _line(text: str) -> str:
    return " ".join(text.split())
