"""Prompt and reply to token ids as the model's authors meant them: template, one BOS, cut where it hurts least."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2

from alignment_limits.errors import RewardError

_DATE = "26 Jul 2024"  # Llama's templates print today's date otherwise, and scores would change overnight

Encode = Callable[[str, str], tuple[list[int], bool]]


def encoder(
    tokenizer: Any,
    text: str,
    limit: int | None,
    path: Path,
    *,
    lead: str | None = None,
    wording: str = "{prompt}{reply}",
) -> Encode:
    """(prompt, reply) → token ids with exactly one BOS (if the model has one), and whether text was cut.

    Args:
        text: 'reply', 'prompt+reply' (joined) or 'chat' (the tokenizer's template).
        limit: most tokens; longer texts lose the beginning of the prompt, then of the reply.
        path: for messages.
        lead: what the model is taken to have said already when it is asked for its next token: the template then
            opens the model's turn, and these tokens follow; None: nothing is asked.
        wording: around texts that go through no template.

    Raises:
        RewardError: no chat template, or (from the returned function) a template that fails, adds BOS twice
            or does not fit into `limit`.
    """
    bos = tokenizer.bos_token_id
    said: list[int] = tokenizer(lead or "", add_special_tokens=False)["input_ids"]
    adds_bos = bos is not None and tokenizer("a")["input_ids"][:1] == [bos]

    def chat(prompt: str, reply: str) -> list[int]:
        messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": reply}]
        try:
            ids = tokenizer.apply_chat_template(
                messages, tokenize=True, return_dict=False, date_string=_DATE, add_generation_prompt=lead is not None
            )
        except jinja2.TemplateError as error:
            raise RewardError(f"{path}: the chat template refuses a prompt and a reply: {error}") from error
        ids = [bos, *ids] if adds_bos and ids[:1] != [bos] else list(ids)
        _one_bos(ids, tokenizer, path)
        return ids + said

    def plain(prompt: str, reply: str) -> list[int]:
        whole = re.sub(r"\{(prompt|reply)\}", lambda place: prompt if place[1] == "prompt" else reply, wording)
        ids: list[int] = tokenizer(whole, verbose=False)["input_ids"]
        own = adds_bos and ids[:2] == [bos, bos]  # the prompt brought its own, as chat-templated prompts do
        ids = ids[1:] if own else ids
        return ids + said or [tokenizer.eos_token_id]  # no BOS and an empty reply: all there is to read is its end

    render = chat if text == "chat" else plain
    if text == "chat" and not tokenizer.chat_template:
        raise RewardError(f"{path}: the tokenizer has no chat template; set `text: prompt+reply` or `text: reply`")

    def encode(prompt: str, reply: str) -> tuple[list[int], bool]:
        ids = render(prompt, reply)
        cut = False
        while limit is not None and len(ids) > limit:
            excess, cut = len(ids) - limit, True
            if prompt:
                prompt = drop_tokens(tokenizer, prompt, excess)
            elif reply:
                reply = drop_tokens(tokenizer, reply, excess)
            else:
                raise RewardError(f"{path}: the chat template alone takes {len(ids)} tokens; raise max_length={limit}")
            ids = render(prompt, reply)
        return ids, cut

    return encode


def drop_tokens(tokenizer: Any, text: str, count: int) -> str:
    """`text` without its first `count` tokens, at least one character shorter."""
    if not tokenizer.is_fast:  # no character offsets: keep a like share of the characters
        tokens = len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        return text[max(1, len(text) * count // max(1, tokens)) :]
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    offsets = encoded["offset_mapping"]
    return text[max(1, offsets[count][0]) :] if count < len(offsets) else ""


def _one_bos(ids: list[int], tokenizer: Any, path: Path) -> None:
    bos = tokenizer.bos_token_id
    if bos is None:
        return
    if ids[:2] == [bos, bos]:
        raise RewardError(f"{path}: the chat template puts two BOS tokens in front; mend chat_template")
    if bos != tokenizer.eos_token_id and ids.count(bos) > 1:
        raise RewardError(
            f"{path}: a prompt or reply holds a BOS token of its own, as prompts do that went through a chat "
            "template before; score the plain prompt, or set `text: prompt+reply`"
        )
