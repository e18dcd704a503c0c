"""Tokenizers, their chat templates and stop tokens: the same wherever text becomes tokens, for every engine.

Templates may print today's date. Prompts of two days would then differ under one name, so the date is frozen: a
template that asks for it gets the study's own (`prompts.date`), in prompts and in rewards alike. `DATE` is its default:
the day that Llama's templates fall back on, our choice for all.
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
    """What templates read of a clock: both names in use, `date_string` and the function `strftime_now`."""
    now = datetime.datetime.fromisoformat(date)
    strftime: Callable[[str], str] = now.strftime
    return {"date_string": now.strftime("%d %b %Y"), "strftime_now": strftime}


# names of the same number in different architectures; with rotary or learned positions each model has one
_CONTEXT = ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len", "n_ctx")


def stop_tokens(folder: Path, tokenizer: Any) -> list[int]:
    """Tokens that end a reply: the tokenizer's EOS, and all that config.json and generation_config.json name."""
    ids = {tokenizer.eos_token_id}
    for name in ("config.json", "generation_config.json"):
        file = Path(folder) / name
        if file.is_file():
            with reading(file, ModelError):
                ids |= _named(json.loads(file.read_text("utf-8")))
    return sorted(i for i in ids if i is not None)


def _named(settings: dict[str, Any]) -> set[int]:
    """EOS ids of a configuration: a number or a list, there or in the part that is about text."""
    out: set[int] = set()
    for part in (settings, settings.get("text_config")):
        eos = part.get("eos_token_id") if isinstance(part, dict) else None
        out |= set(eos) if isinstance(eos, list) else {eos} if isinstance(eos, int) else set()
    return out


def stated_context(config: Any) -> int | None:
    """Positions a model was built for, as its configuration (or the part about text) says; None: it does not say."""
    text = config.get_text_config()
    for name in _CONTEXT:
        if isinstance(positions := getattr(text, name, None), int) and positions > 0:
            return positions
    return None


def context_length(
    folder: Path, trust_remote_code: bool = False, asked: int | None = None, whose: str = "the model"
) -> int:
    """Tokens of a prompt and its reply, at most.

    Args:
        folder: of the checkpoint.
        whose: the model's name, for messages.
        asked: `model.context` of the study; needed where the model has no positions of its own (ALiBi).

    Raises:
        ModelError: neither the model nor the study says, or the study asks for more than the model has.
    """
    stated = stated_context(load_config(folder, trust_remote_code))
    if asked is not None and stated is not None and asked > stated:
        raise ModelError(f"model.context is {asked}, but {whose} was built for {stated} positions; lower it")
    if asked is None and stated is None:
        raise ModelError(
            f"{folder}/config.json does not say how long the model's context is; set model.context to the number of "
            "tokens it was trained on"
        )
    return int(asked or stated or 0)


def load_config(folder: Path, trust_remote_code: bool = False) -> Any:
    """A model's configuration.

    Raises:
        ModelError: there is none, or transformers does not know the architecture.
    """
    from transformers import AutoConfig

    with reading(folder, ModelError):
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)


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
