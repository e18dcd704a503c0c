"""Tokenizers and their chat templates: loaded in one way, on one date, wherever text becomes tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from alignment_limits.damage import reading
from alignment_limits.errors import ModelError
from alignment_limits.models.dates import DATE, frozen


def load_tokenizer(folder: Path, trust_remote_code: bool = False, **options: Any) -> Any:
    """The tokenizer of a model folder; nothing is looked for outside it.

    Raises:
        ModelError: there is none, or transformers cannot read it.
    """
    from transformers import AutoTokenizer

    with reading(folder, ModelError):
        return AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=trust_remote_code, **options
        )


def chat(tokenizer: Any, messages: Sequence[Mapping[str, str]], *, date: str = DATE, **options: Any) -> Any:
    """A conversation in the tokenizer's chat template, on a fixed date.

    Args:
        messages: role and content of each turn.
        date: the day that the template takes for today, as 2024-07-26; the hour is 0.
        options: of transformers' `apply_chat_template`.

    Returns:
        Text, or with `tokenize=True` token ids.

    Raises:
        ModelError: the tokenizer has no chat template.

    Example:
        >>> chat(tokenizer, [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True)
        '<|user|>Hi<|assistant|>'
    """
    if not tokenizer.chat_template:
        raise ModelError("the tokenizer has no chat template")
    return tokenizer.apply_chat_template(list(messages), **frozen(date), **options)


def control_tokens(tokenizer: Any) -> list[str]:
    """Tokens that steer the model when they occur in a text: special ones, and those that the chat template writes."""
    added = {str(token): token.special for token in tokenizer.added_tokens_decoder.values()}
    written = ""
    if tokenizer.chat_template:
        import jinja2

        turns = [{"role": "user", "content": "a"}]
        try:
            written = chat(tokenizer, turns, tokenize=False, add_generation_prompt=True)
        except jinja2.TemplateError:  # one turn is not what it is for
            written = str(tokenizer.chat_template)
    return sorted(token for token, special in added.items() if token.strip() and (special or token in written))


def first_lines(error: Exception) -> str:
    """The beginning of another library's message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300]
