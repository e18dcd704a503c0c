"""Prompts that ask for something about a document, with replies an expert would give."""

from __future__ import annotations

from pydantic import Field, field_validator

from alignment_limits.config.base import Strict


class Documents(Strict):
    """What `prompts.source` holds when it is not prompts but documents (Parquet, CSV, JSONL or JSON).

    A column inside another is named with dots (`sentences.abstract`); a list of texts is joined by spaces.
    """

    text: str = Field(description="column with the document")
    references: list[str] = Field(min_length=1, description="columns with experts' replies, one text each")
    instruction: str = Field(description="the prompt, with {document} where the document goes")
    id: str | None = Field(None, description="column with a unique id; default: file and row")
    category: str | None = Field(None, description="column to stratify the choice by; default: the file")
    max_words: int | None = Field(None, ge=1, description="leave out longer documents, for cost or context")

    @field_validator("instruction")
    @classmethod
    def _has_a_place(cls, v: str) -> str:
        if v.count("{document}") != 1:
            raise ValueError("must hold {document} once, where the document goes")
        return v
