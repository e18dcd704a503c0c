"""Prompts to token ids and back, the same for every engine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from alignment_limits.conversations import Messages, conversation, default_system
from alignment_limits.errors import PromptError, SamplingError


def load_tokenizer(folder: Path, trust_remote_code: bool = False) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)


def render(prompts: Sequence[str | Messages], tokenizer: Any, *, system: str | None = None) -> list[str]:
    """Prompts in the model's chat template: texts as one user turn each, conversations as they are.

    Args:
        system: the system message of prompts that bring none; None: none is given, and the template may write its own.

    Raises:
        SamplingError: the model has no chat template.
    """
    if not tokenizer.chat_template:
        raise SamplingError("prompts.template is 'chat', but the model has no chat template; use 'none'")
    return [
        tokenizer.apply_chat_template(conversation(p, system), tokenize=False, add_generation_prompt=True)
        for p in prompts
    ]


def own_system(tokenizer: Any) -> str:
    """The system message that a model's chat template writes where none is given; "" if it writes none."""
    mark = "SYSTEM-MESSAGE"
    try:
        (plain,), (marked,) = render(["a"], tokenizer), render(["a"], tokenizer, system=mark)
    except jinja2.TemplateError:  # has no system role
        return ""
    return default_system(plain, marked, mark)


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
    prompt_ids: Sequence[str], token_ids: Sequence[Sequence[int]], max_new_tokens: int, context: int
) -> None:
    """Every prompt and its reply must fit the model's context.

    Raises:
        PromptError: names the prompts that do not, and by how much.
    """
    long = [(i, len(t)) for i, t in zip(prompt_ids, token_ids, strict=True) if len(t) + max_new_tokens > context]
    if long:
        shown = ", ".join(f"{i} ({n} tokens)" for i, n in long[:5]) + (" …" if len(long) > 5 else "")
        raise PromptError(
            f"{len(long)} prompt(s) leave no room for {max_new_tokens} new tokens in the model's context of "
            f"{context}: {shown}; shorten or drop them"
        )
    empty = [i for i, t in zip(prompt_ids, token_ids, strict=True) if not t]
    if empty:
        raise PromptError(f"prompt(s) without a single token: {', '.join(empty[:5])}")


def context_length(folder: Path, trust_remote_code: bool = False) -> int:
    """Positions the model was built for.

    Raises:
        SamplingError: the model's config does not say.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    for name in ("max_position_embeddings", "n_positions", "max_sequence_length"):
        if getattr(config, name, None):
            return int(getattr(config, name))
    raise SamplingError(f"{folder}/config.json does not say how long the model's context is")


def stop_ids(folder: Path, tokenizer: Any) -> list[int]:
    """Tokens that end a reply: the tokenizer's EOS and those of the model's generation config."""
    from transformers import GenerationConfig

    ids = {tokenizer.eos_token_id}
    if (folder / "generation_config.json").is_file():
        eos = GenerationConfig.from_pretrained(folder).eos_token_id
        ids |= set(eos) if isinstance(eos, list) else {eos}
    return sorted(i for i in ids if i is not None)


def decode(token_ids: Sequence[Sequence[int]], tokenizer: Any, stop: Sequence[int]) -> list[str]:
    """Replies as text, without the stop token."""
    bare = [ids[:-1] if ids and ids[-1] in stop else ids for ids in token_ids]
    texts: list[str] = tokenizer.batch_decode(bare, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return texts
