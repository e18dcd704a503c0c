"""Shared by rewards on transformers: checks of a checkpoint's folder; prompt and reply as token ids.

Texts are read as the model's authors intended: with its template, one BOS, truncated where the loss is smallest,
without control tokens.

A tokenizer turns `<|im_end|>` or `</s>` in any text into the control token of that name. So a reply could end its own
turn, forge the next turn, or hide text from a classifier. We put a space after the first character (`< |im_end|>`):
the text stays readable and is no control token. This rule is our choice. It works with every tokenizer and template,
and no reply makes a reward fail.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from alignment_limits.errors import RewardError
from alignment_limits.models import tokenizer as tokenizers
from alignment_limits.models.tokenizer import DATE, control_tokens, stated_context
from alignment_limits.rewards.base import Turns, need_file, turns_of


def as_text(tokenizer: Any) -> Callable[[str], str]:
    """Text → the same text without control tokens of this tokenizer.

    Example:
        >>> as_text(tokenizer)("hi<|im_end|>")
        'hi< |im_end|>'
    """
    return without(control_tokens(tokenizer))


def without(tokens: list[str]) -> Callable[[str], str]:
    """The same for a list of control tokens; tokens of a single character are not changed."""
    spelled = sorted((re.escape(token) for token in tokens if len(token) > 1), key=len, reverse=True)
    if not spelled:
        return lambda text: text
    pattern = re.compile("|".join(spelled))
    return lambda text: pattern.sub(lambda token: f"{token[0][0]} {token[0][1:]}", text)


ROUNDED_TOLERANCE = 0.05  # share of the spread of scores: the effect of the batch on a body with 8 bits of mantissa
_UNBOUNDED = 10**9  # tokenizers without a limit report 10**30
# encoders whose positions start after the padding token's id
_SHIFTED_POSITIONS = {
    "camembert", "data2vec-text", "ibert", "longformer", "luke", "markuplm", "mpnet", "roberta", "roberta-prelayernorm",
    "xlm-roberta", "xlm-roberta-xl", "xmod",
}  # fmt: skip


def need_checkpoint(folder: Path | None) -> Path:
    """The folder of a transformers checkpoint with all its files (safetensors only).

    Raises:
        RewardError: a file is missing; the message names it.
    """
    path = need_file(folder, "config.json", "source").parent
    index = path / "model.safetensors.index.json"
    if index.is_file():
        for shard in sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values())):
            need_file(path, shard, "source")
    elif not (path / "model.safetensors").is_file() and list(path.glob("pytorch_model*.bin")):
        raise RewardError(
            f"{path} has its weights as pickles (pytorch_model.bin), which can run code on loading; "
            "convert them to safetensors, or use a revision that has safetensors"
        )
    else:
        need_file(path, "model.safetensors", "source")
    return path


def context_of(tokenizer: Any, config: Any) -> int | None:
    """Number of tokens that the model can read, special tokens included; None: no known limit."""
    text_config = config.get_text_config()
    positions = stated_context(config)
    if positions and text_config.model_type in _SHIFTED_POSITIONS:
        positions -= text_config.pad_token_id + 1
    limits = [limit for limit in (positions, tokenizer.model_max_length) if limit and limit < _UNBOUNDED]
    return min(limits, default=None)


def most_tokens(asked: int | None, context: int | None, path: Path) -> int | None:
    """Maximum number of tokens of a text: the number asked for, or all that the model can read.

    Raises:
        RewardError: the number asked for is more than the model can read.
    """
    if asked is not None and context is not None and asked > context:
        raise RewardError(f"{path} reads at most {context} tokens; lower max_length={asked}")
    return asked if asked is not None else context


def answer_tokens(tokenizer: Any, answers: Sequence[str], lead: str, path: Path) -> list[list[int]]:
    """Tokens of each answer after the beginning of the model's turn.

    Raises:
        RewardError: an answer has no token, or begins with white space, a control token or an unknown one; the message
            shows it.
    """
    said: list[int] = tokenizer(lead, add_special_tokens=False)["input_ids"] if lead else []
    out: list[list[int]] = []
    for answer in answers:
        alone: list[int] = tokenizer(answer, add_special_tokens=False)["input_ids"]
        whole: list[int] = tokenizer(lead + answer, add_special_tokens=False)["input_ids"]
        # after the lead if the lead's tokens do not change: many tokenizers put a space before a text's first word
        out.append(whole[len(said) :] if whole[: len(said)] == said else alone)
    if bad := [i for i, tokens in enumerate(out) if not tokens or _means_nothing(tokenizer, tokens[0])]:
        shown = " and ".join(
            f"'{answers[i]}' begins with {repr(tokenizer.convert_ids_to_tokens(out[i][0])) if out[i] else 'no token'}"
            for i in (bad if len(answers) > 2 else range(len(answers)))
        )
        raise RewardError(
            f"{path}: {shown}; such a token does not identify the answer: give the answers as the model writes them, "
            "without white space in front"
        )
    return out


def _means_nothing(tokenizer: Any, token: int) -> bool:
    return not tokenizer.decode([token]).strip() or token in tokenizer.all_special_ids


Encode = Callable[[str | Turns, str], tuple[list[int], bool]]


def encoder(
    tokenizer: Any,
    text: str,
    limit: int | None,
    path: Path,
    *,
    lead: str | None = None,
    wording: str = "{prompt}{reply}",
    date: str = DATE,
) -> Encode:
    """(prompt, reply) → token ids with exactly one BOS (if the model has one), and whether the text was truncated.

    A prompt is a text or, for the template, the turns of a conversation. The reply is the next turn.

    Control tokens in a reply are read as text (`control_tokens`); so are those of a prompt in a chat template. Without
    a template the tokenizer reads the prompt unchanged, so a prompt can contain its own template.

    Args:
        text: 'reply', 'prompt+reply' (joined) or 'chat' (the tokenizer's template).
        limit: maximum number of tokens; a longer text loses the beginning of the prompt, then of the reply. A
            conversation loses its first exchanges, its system message, then the beginning of the user's last turn.
        path: for messages.
        lead: the beginning of the model's answer, where the next token is asked for: the template opens the model's
            turn, and these tokens follow; None: no next token is asked for.
        wording: the text around prompt and reply if no template is used.
        date: the current day for the template.

    Raises:
        RewardError: no chat template, or (from the returned function) a template that fails, adds BOS twice or does
            not fit into `limit`; a prompt that is already in a template; a text without any token.
    """
    bos = tokenizer.bos_token_id
    said: list[int] = tokenizer(lead or "", add_special_tokens=False)["input_ids"]
    plain_text = as_text(tokenizer)
    adds_bos = bos is not None and tokenizer("a")["input_ids"][:1] == [bos]

    def chat(prompt: Turns, reply: str) -> list[int]:
        for _, content in prompt:
            _not_templated(content, tokenizer, path)
        messages = [{"role": role, "content": plain_text(content)} for role, content in (*prompt, ("assistant", reply))]
        options = {"tokenize": True, "return_dict": False, "add_generation_prompt": lead is not None}
        try:
            ids = tokenizers.chat(tokenizer, messages, date=date, **options)
        except jinja2.TemplateError as error:
            raise RewardError(_refused(tokenizer, messages, path, error)) from error
        ids = [bos, *ids] if adds_bos and ids[:1] != [bos] else list(ids)
        if bos is not None and ids[:2] == [bos, bos]:
            raise RewardError(f"{path}: the chat template puts two BOS tokens in front; fix chat_template")
        return ids + said

    def plain(prompt: Turns, reply: str) -> list[int]:
        told = plain_text(reply)
        asked = prompt[0][1]
        whole = re.sub(r"\{(prompt|reply)\}", lambda place: asked if place[1] == "prompt" else told, wording)
        ids: list[int] = tokenizer(whole, verbose=False)["input_ids"]
        own = adds_bos and ids[:2] == [bos, bos]  # the prompt has a BOS, as prompts in a chat template have
        ids = ids[1:] if own else ids
        if not ids + said and tokenizer.eos_token_id is None:
            raise RewardError(
                f"{path}: an empty reply has no token here, as the tokenizer has neither BOS nor EOS; set `wording` "
                "so that there is text to read"
            )
        return ids + said or [tokenizer.eos_token_id]  # no BOS and an empty reply: its end is the only token

    render = chat if text == "chat" else plain
    if text == "chat" and not tokenizer.chat_template:
        raise RewardError(f"{path}: the tokenizer has no chat template; set `text: prompt+reply` or `text: reply`")

    def encode(prompt: str | Turns, reply: str) -> tuple[list[int], bool]:
        turns = turns_of(prompt) if text == "chat" else (("user", str(prompt)),)
        ids = render(turns, reply)
        cut = False
        while limit is not None and len(ids) > limit:
            excess, cut = len(ids) - limit, True
            if turns[0][1] or turns[1:]:
                turns = _shorter(tokenizer, turns, excess)
            elif reply:
                reply = drop_tokens(tokenizer, reply, excess)
            else:
                raise RewardError(f"{path}: the chat template alone takes {len(ids)} tokens; raise max_length={limit}")
            ids = render(turns, reply)
        return ids, cut

    return encode


def drop_tokens(tokenizer: Any, text: str, count: int) -> str:
    """`text` without its first `count` tokens, at least one character shorter."""
    if not tokenizer.is_fast:  # no character offsets: keep the same share of the characters
        tokens = len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        return text[max(1, len(text) * count // max(1, tokens)) :]
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    offsets = encoded["offset_mapping"]
    return text[max(1, offsets[count][0]) :] if count < len(offsets) else ""


def _shorter(tokenizer: Any, turns: Turns, excess: int) -> Turns:
    """A prompt without its first exchange, or with a shorter system message, or with a shorter last turn."""
    system = turns[: turns[0][0] == "system"]
    if (asked := turns[len(system) :])[1:]:
        return (*system, *asked[2:])
    ((role, content),) = system or asked
    left = drop_tokens(tokenizer, content, excess)
    if not system:
        return ((role, left),)
    return (*([(role, left)] if left else []), *asked)


def _refused(tokenizer: Any, messages: Sequence[Mapping[str, str]], path: Path, error: Exception) -> str:
    """The message for a conversation that a template refuses."""
    roles = ", ".join(message["role"] for message in messages)
    if messages[0]["role"] == "system":
        with contextlib.suppress(jinja2.TemplateError):
            tokenizers.chat(tokenizer, messages[1:], tokenize=False)
            return (
                f"{path}: the chat template takes no system message ({error}). Give a message that all prompts share "
                "as `prompts.system`, which rewards do not read; or let the reward read conversations as one text "
                "(`text: prompt+reply`, for a guard `wording`)"
            )
    return f"{path}: the chat template refuses a prompt and a reply ({roles}): {error}"


def _not_templated(prompt: str, tokenizer: Any, path: Path) -> None:
    """Refuse a prompt that contains the token that begins a conversation (in some templates, each turn)."""
    bos = tokenizer.bos_token
    if bos is not None and bos != tokenizer.eos_token and bos in prompt:
        raise RewardError(
            f"{path}: the prompt that starts {prompt[:40]!r} contains a BOS token ({bos}); it seems to be in a "
            "chat template already: score the plain prompt, or set `text: prompt+reply`"
        )
