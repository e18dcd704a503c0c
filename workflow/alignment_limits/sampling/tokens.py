"""Prompts to token ids and back, the same for every engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jinja2

from alignment_limits.errors import PromptError, SamplingError
from alignment_limits.models.tokenizer import DATE, chat, control_tokens
from alignment_limits.tables.conversations import Messages, conversation, default_system


def render(
    prompts: Sequence[str | Messages],
    tokenizer: Any,
    *,
    system: str | None = None,
    date: str = DATE,
    ids: Sequence[str] | None = None,
) -> list[str]:
    """Prompts in the model's chat template: texts as one user turn each, conversations as they are.

    Args:
        system: the system message of prompts that bring none; None: none is given, and the template may write its own.
        date: what the template takes for today. ids: names of the prompts, for messages.

    Raises:
        SamplingError: the model has no chat template.
        PromptError: a prompt's text holds one of the model's control tokens. It would be read as that token, so the
            prompt could end its own turn and begin another; which of both was meant is the user's to say.
    """
    if not tokenizer.chat_template:
        raise SamplingError("prompts.template is 'chat', but the model has no chat template; use 'none'")
    written = ["\n".join(m["content"] for m in conversation(p, system)) for p in prompts]
    held = with_control_tokens(written, tokenizer)
    if held:
        first, token = next(iter(held.items()))
        raise PromptError(
            f"{len(held)} prompt(s) contain a control token of the model as text, the first is "
            f"{ids[first] if ids else written[first][:40]!r} with {token!r}; within a chat template it would end or "
            "begin a turn: remove or rewrite it, drop the prompt, or write the whole conversation yourself and set "
            "prompts.template: none"
        )
    return [
        chat(tokenizer, conversation(p, system), date=date, tokenize=False, add_generation_prompt=True) for p in prompts
    ]


def own_system(tokenizer: Any, date: str = DATE) -> str:
    """The system message that a model's chat template writes where none is given; "" if it writes none."""
    mark = "SYSTEM-MESSAGE"
    try:
        (plain,), (marked,) = (render(["a"], tokenizer, system=system, date=date) for system in (None, mark))
    except jinja2.TemplateError:  # has no system role
        return ""
    return default_system(plain, marked, mark)


def with_control_tokens(texts: Sequence[str], tokenizer: Any) -> dict[int, str]:
    """Of the texts that hold a control token of the model: place → the first such token."""
    tokens = control_tokens(tokenizer)
    found = {i: next((token for token in tokens if token in text), None) for i, text in enumerate(texts)}
    return {i: token for i, token in found.items() if token is not None}


def encode(texts: Sequence[str], tokenizer: Any, template: str) -> list[list[int]]:
    """Token ids as sent to the model; a chat template brings its own special tokens, so none are added then.

    Raises:
        SamplingError: a prompt would start with two BOS tokens.
    """
    ids: list[list[int]] = tokenizer(list(texts), add_special_tokens=template == "none")["input_ids"]
    bos = tokenizer.bos_token_id
    for text, row in zip(texts, ids, strict=True):
        if bos is not None and row[:2] == [bos, bos]:
            raise SamplingError(f"the prompt starting {text[:20]!r} gets two BOS tokens; drop one from the text")
    return ids


def check_lengths(
    prompt_ids: Sequence[str],
    token_ids: Sequence[Sequence[int]],
    max_new_tokens: int,
    context: int,
    whose: str = "the model",
) -> None:
    """Every prompt and its reply must fit the model's context.

    Args:
        prompt_ids, token_ids: names and tokens of the prompts.
        max_new_tokens: of a reply.
        context: tokens that the model reads at most.
        whose: the model's name, for the message.

    Raises:
        PromptError: names the prompts that do not, and by how much.
    """
    long = [(i, len(t)) for i, t in zip(prompt_ids, token_ids, strict=True) if len(t) + max_new_tokens > context]
    if long:
        shown = ", ".join(f"{i} ({n} tokens)" for i, n in long[:5]) + (" …" if len(long) > 5 else "")
        raise PromptError(
            f"{len(long)} prompt(s) leave no room for {max_new_tokens} new tokens in the context of {whose} "
            f"({context} tokens): {shown}; shorten or drop them"
        )
    empty = [i for i, t in zip(prompt_ids, token_ids, strict=True) if not t]
    if empty:
        raise PromptError(f"prompt(s) without a single token: {', '.join(empty[:5])}")


def decode(
    token_ids: Sequence[Sequence[int]], tokenizer: Any, stop: Sequence[int], template: str = "none"
) -> list[str]:
    """Replies as text, without the stop token and without control tokens.

    A reply that continues a text keeps its first space, which tokenizers of SentencePiece's kind drop at a text's
    beginning; in a conversation it is the beginning, and the template writes the space.
    """
    bare = [list(ids[:-1]) if len(ids) and ids[-1] in stop else list(ids) for ids in token_ids]
    before = _one_letter(tokenizer) if template == "none" else []
    options = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
    start = len(tokenizer.decode(before, **options))
    return [text[start:] for text in tokenizer.batch_decode([before + ids for ids in bare], **options)]


def _one_letter(tokenizer: Any) -> list[int]:
    """One token of plain text to stand before a reply; none where the tokenizer has no such token."""
    ids: list[int] = tokenizer("a", add_special_tokens=False)["input_ids"][-1:]
    return ids if tokenizer.decode(ids, skip_special_tokens=True).strip() == "a" else []
