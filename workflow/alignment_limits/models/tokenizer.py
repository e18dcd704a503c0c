"""Tokenizers, their chat templates and stop tokens: the same for every engine and for rewards.

A chat template may print the current date, so the same prompt would differ between two days. The date is therefore
fixed by the study (`prompts.date`), for prompts and rewards. `DATE` is the default: the fallback of Llama's templates,
which we use for all.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from alignment_limits.errors import ModelError
from alignment_limits.files import reading

DATE = "2024-07-26"


def frozen(date: str) -> dict[str, Any]:
    """The two names by which templates ask for the date: `date_string` and the function `strftime_now`."""
    now = datetime.datetime.fromisoformat(date)
    strftime: Callable[[str], str] = now.strftime
    return {"date_string": now.strftime("%d %b %Y"), "strftime_now": strftime}


# names of this number in different architectures; a model with rotary or learned positions has one of them
_CONTEXT = ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len", "n_ctx")


def stop_tokens(folder: Path, tokenizer: Any) -> list[int]:
    """Tokens that end a reply: the tokenizer's EOS, and those in config.json and generation_config.json."""
    ids = {tokenizer.eos_token_id}
    for name in ("config.json", "generation_config.json"):
        file = Path(folder) / name
        if file.is_file():
            with reading(file, ModelError):
                ids |= _named(json.loads(file.read_text("utf-8")))
    return sorted(i for i in ids if i is not None)


def _named(settings: dict[str, Any]) -> set[int]:
    """EOS ids of a configuration or of its text part: one number or a list."""
    out: set[int] = set()
    for part in (settings, settings.get("text_config")):
        eos = part.get("eos_token_id") if isinstance(part, dict) else None
        out |= set(eos) if isinstance(eos, list) else {eos} if isinstance(eos, int) else set()
    return out


def stated_context(config: Any) -> int | None:
    """Number of positions a model was built for, from its configuration or its text part; None if not stated."""
    text = config.get_text_config()
    for name in _CONTEXT:
        if isinstance(positions := getattr(text, name, None), int) and positions > 0:
            return positions
    return None


def context_length(
    folder: Path, trust_remote_code: bool = False, asked: int | None = None, whose: str = "the model"
) -> int:
    """Maximum number of tokens of a prompt with its reply.

    Args:
        folder: of the checkpoint.
        whose: the model's name, for messages.
        asked: `model.context` of the study; needed for models without position embeddings (ALiBi).

    Raises:
        ModelError: neither the model nor the study states it, or the study asks for more than the model has.
    """
    stated = stated_context(load_config(folder, trust_remote_code))
    if asked is not None and stated is not None and asked > stated:
        raise ModelError(f"model.context is {asked}, but {whose} was built for {stated} positions; lower it")
    if asked is None and stated is None:
        raise ModelError(
            f"{folder}/config.json does not state the length of the model's context; set model.context to the number "
            "of tokens that it was trained on"
        )
    return int(asked or stated or 0)


def load_config(folder: Path, trust_remote_code: bool = False) -> Any:
    """A model's configuration.

    Raises:
        ModelError: the folder has none, or transformers does not know the architecture.
    """
    from transformers import AutoConfig

    with reading(folder, ModelError):
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)


def load_tokenizer(folder: Path, trust_remote_code: bool = False, **options: Any) -> Any:
    """The tokenizer in a model folder; only this folder is read.

    Raises:
        ModelError: the folder has none, or transformers cannot read it.
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
        date: the current day for the template, such as 2024-07-26; the hour is 0.
        options: further arguments of transformers' `apply_chat_template`.

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
    """Tokens that control the model when a text contains them: special tokens, and those of the chat template."""
    added = {str(token): token.special for token in tokenizer.added_tokens_decoder.values()}
    written = ""
    if tokenizer.chat_template:
        import jinja2

        turns = [{"role": "user", "content": "a"}]
        try:
            written = chat(tokenizer, turns, tokenize=False, add_generation_prompt=True)
        except jinja2.TemplateError:  # a template may refuse a single turn
            written = str(tokenizer.chat_template)
    return sorted(token for token, special in added.items() if token.strip() and (special or token in written))


def first_lines(error: Exception) -> str:
    """The first lines of another library's message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300]
