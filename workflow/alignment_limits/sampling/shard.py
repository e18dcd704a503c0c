"""Sample one shard: prompts → token ids → replies of an engine → a table; the same for every engine."""

from __future__ import annotations

import functools
import importlib
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import polars as pl
from tqdm import tqdm

from alignment_limits.errors import PromptError, SamplingError
from alignment_limits.jobs.job import intervals
from alignment_limits.models.tokenizer import DATE, chat, context_length, control_tokens, load_tokenizer, stop_tokens
from alignment_limits.study.sampling import Model, Sampling, block_seed
from alignment_limits.tables.conversations import Messages, conversation, default_system


@dataclass(frozen=True)
class Request:
    """`n` samples to draw from one seed as continuations of `token_ids`, of the study's length or of its own."""

    prompt_id: str
    token_ids: list[int]
    n: int
    seed: int
    max_new_tokens: int | None = None


@dataclass(frozen=True)
class Completion:
    """One sampled reply: its tokens (the stop token included), their log-probability under the sampling law."""

    token_ids: list[int]
    logprob: float
    finish_reason: str  # 'stop' or 'length'


def render(
    prompts: Sequence[str | Messages],
    tokenizer: Any,
    *,
    system: str | None = None,
    date: str = DATE,
    ids: Sequence[str] | None = None,
    variables: Mapping[str, Any] | None = None,
) -> list[str]:
    """Prompts in the model's chat template: each text as one user turn, each conversation unchanged.

    Args:
        system: the system message of prompts that have none; None: no message, and the template may write its own.
        date: the current day for the template. ids: names of the prompts, for messages.
        variables: further variables of the template, such as {"enable_thinking": False}.

    Raises:
        SamplingError: the model has no chat template, or one that does not use a variable.
        PromptError: a prompt's text contains a control token of the model. The model would read it as that token, so
            the prompt could end its turn and begin another. Only the user knows if that was intended.
    """
    if not tokenizer.chat_template:
        raise SamplingError("prompts.template is 'chat', but the model has no chat template; use 'none'")
    check_variables(tokenizer, variables or {})
    written = ["\n".join(m["content"] for m in conversation(p, system)) for p in prompts]
    held = with_control_tokens(written, tokenizer)
    if held:
        first, token = next(iter(held.items()))
        raise PromptError(
            f"{len(held)} prompt(s) contain a control token of the model as text, the first is "
            f"{ids[first] if ids else written[first][:40]!r} with {token!r}; within a chat template it would end or "
            "begin a turn: remove or rewrite it, drop the prompt, or write the full conversation yourself and set "
            "prompts.template: none"
        )
    how = {"date": date, "tokenize": False, "add_generation_prompt": True, **(variables or {})}
    return [chat(tokenizer, conversation(p, system), **how) for p in prompts]


def check_variables(tokenizer: Any, variables: Mapping[str, Any]) -> None:
    """Check that a chat template uses variables: one that it does not know would be ignored.

    Raises:
        SamplingError: names the variable, and those of the template.
    """
    template = tokenizer.chat_template
    text = "\n".join(template.values()) if isinstance(template, dict) else str(template)
    used = set(re.findall(r"\w+", " ".join(re.findall(r"\{[{%].*?[}%]\}", text, re.DOTALL))))
    if unused := [name for name in variables if name not in used]:
        raise SamplingError(
            f"chat: the model's chat template does not use '{unused[0]}', so it would change nothing; correct the "
            "name, or leave it out"
        )


def own_system(tokenizer: Any, date: str = DATE, variables: Mapping[str, Any] | None = None) -> str:
    """The system message that a model's chat template writes for prompts without one; "" if it writes none."""
    mark = "SYSTEM-MESSAGE"
    try:
        (plain,), (marked,) = (
            render(["a"], tokenizer, system=system, date=date, variables=variables) for system in (None, mark)
        )
    except jinja2.TemplateError:  # the template has no system role
        return ""
    return default_system(plain, marked, mark)


def with_control_tokens(texts: Sequence[str], tokenizer: Any) -> dict[int, str]:
    """Position of each text that contains a control token of the model → the first such token."""
    tokens = control_tokens(tokenizer)
    found = {i: next((token for token in tokens if token in text), None) for i, text in enumerate(texts)}
    return {i: token for i, token in found.items() if token is not None}


def encode(texts: Sequence[str], tokenizer: Any, template: str) -> list[list[int]]:
    """Token ids as sent to the model; no special tokens are added to a chat template, which has its own.

    Raises:
        SamplingError: a prompt would start with two BOS tokens.
    """
    ids: list[list[int]] = tokenizer(list(texts), add_special_tokens=template == "none")["input_ids"]
    bos = tokenizer.bos_token_id
    for text, row in zip(texts, ids, strict=True):
        if bos is not None and row[:2] == [bos, bos]:
            raise SamplingError(f"the prompt that starts {text[:20]!r} gets two BOS tokens; remove one from the text")
    return ids


def check_lengths(
    prompt_ids: Sequence[str],
    token_ids: Sequence[Sequence[int]],
    max_new_tokens: int,
    context: int,
    whose: str = "the model",
) -> None:
    """Check that every prompt fits the model's context together with its reply.

    Args:
        prompt_ids, token_ids: names and tokens of the prompts.
        max_new_tokens: of a reply.
        context: maximum number of tokens that the model reads.
        whose: the model's name, for the message.

    Raises:
        PromptError: names the prompts that do not fit, with their lengths.
    """
    long = [(i, len(t)) for i, t in zip(prompt_ids, token_ids, strict=True) if len(t) + max_new_tokens > context]
    if long:
        shown = ", ".join(f"{i} ({n} tokens)" for i, n in long[:5]) + (" …" if len(long) > 5 else "")
        raise PromptError(
            f"{len(long)} prompt(s) leave no room for {max_new_tokens} new tokens in the context of {whose} "
            f"({context} tokens): {shown}; shorten or remove them"
        )
    empty = [i for i, t in zip(prompt_ids, token_ids, strict=True) if not t]
    if empty:
        raise PromptError(f"prompt(s) without a single token: {', '.join(empty[:5])}; remove them")


def decode(
    token_ids: Sequence[Sequence[int]], tokenizer: Any, stop: Sequence[int], template: str = "none"
) -> list[str]:
    """Replies as text, without the stop token and without control tokens.

    A reply that continues a text keeps its first space; tokenizers of SentencePiece's kind remove it at the beginning
    of a text. A reply in a conversation is such a beginning, and the template writes the space.
    """
    bare = [list(ids[:-1]) if len(ids) and ids[-1] in stop else list(ids) for ids in token_ids]
    before = _one_letter(tokenizer) if template == "none" else []
    options = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
    start = len(tokenizer.decode(before, **options))
    return [text[start:] for text in tokenizer.batch_decode([before + ids for ids in bare], **options)]


def _one_letter(tokenizer: Any) -> list[int]:
    """One token of plain text to put before a reply; empty if the tokenizer has no such token."""
    ids: list[int] = tokenizer("a", add_special_tokens=False)["input_ids"][-1:]
    return ids if tokenizer.decode(ids, skip_special_tokens=True).strip() == "a" else []


def sample_shard(
    prompts: pl.DataFrame,
    folder: Path,
    model: Model,
    sampling: Sampling,
    *,
    template: str,
    study_seed: int,
    block: int,
    threads: int = 1,
    label: str = "",
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Sample `sampling.block` replies to every prompt; the block's number decides their sample ids and seeds.

    Returns:
        the table `samples`, and numbers of the run. The table has for each reply the number of tokens that the
        tokenizer does not know (padding rows of the vocabulary; they have no text). The numbers are tokens, seconds,
        tokens per second (without start-up), truncation rate, share of duplicates within a prompt, share of unknown
        tokens; and how the engine ran.

    Raises:
        PromptError: a prompt does not fit the model's context.
    """
    tokenizer = load_tokenizer(folder, model.trust_remote_code)
    ids = encode(prompts["text"].to_list(), tokenizer, template)
    context = context_length(folder, model.trust_remote_code, model.context)
    check_lengths(prompts["prompt_id"].to_list(), ids, sampling.max_new_tokens, context)
    needed = max(map(len, ids)) + sampling.max_new_tokens
    requests = [
        Request(prompt_id, row, sampling.block, block_seed(study_seed, prompt_id, block))
        for prompt_id, row in zip(prompts["prompt_id"], ids, strict=True)
    ]
    stop = stop_tokens(folder, tokenizer)
    engine = engine_class(sampling.engine)(folder, model, sampling, needed, threads)
    start = time.perf_counter()
    completions = engine.generate(requests, stop, progress(label))
    seconds = time.perf_counter() - start

    rows: dict[str, list[Any]] = {
        "prompt_id": [r.prompt_id for r in requests for _ in range(r.n)],
        "sample_id": [block * r.n + i for r in requests for i in range(r.n)],
        "token_ids": [c.token_ids for cs in completions for c in cs],
        "logprob": [c.logprob for cs in completions for c in cs],
        "finish_reason": [c.finish_reason for cs in completions for c in cs],
        "seed": [r.seed for r in requests for _ in range(r.n)],
    }
    rows["text"] = decode(rows["token_ids"], tokenizer, stop, template)
    rows["n_tokens"] = [len(t) for t in rows["token_ids"]]
    known = set(tokenizer.get_vocab().values())
    rows["n_unknown"] = [sum(token not in known for token in t) for t in rows["token_ids"]]
    table = pl.DataFrame(rows)
    return table, _figures(table, seconds) | engine_of(engine)


def engine_of(engine: Any) -> dict[str, Any]:
    """How an engine ran, for provenance; empty for engines that do not say."""
    return {"engine": engine.description()} if hasattr(engine, "description") else {}


def _figures(table: pl.DataFrame, seconds: float) -> dict[str, float]:
    n_tokens = int(table["n_tokens"].sum())
    distinct = table.n_unique(subset=["prompt_id", "text"])
    return {
        "tokens": n_tokens,
        "seconds": round(seconds, 2),
        "tokens_per_second": round(n_tokens / seconds, 1),
        "truncation_rate": table.filter(pl.col("finish_reason") == "length").height / table.height,
        "duplicate_rate": 1 - distinct / table.height,
        "unknown_rate": int(table["n_unknown"].sum()) / max(1, n_tokens),
    }


_ENGINES = {"vllm": "VllmEngine", "transformers": "TransformersEngine", "endpoint": "EndpointEngine"}


def engine_class(name: str) -> Any:
    """The engine's class; only its module is imported, and only this module counts in the fingerprint."""
    return getattr(importlib.import_module(f"alignment_limits.sampling.{name}_engine"), _ENGINES[name])


def progress(label: str) -> Any:
    """A progress bar with its shard's name; a class, as vLLM requires."""

    class Labelled(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            # vLLM also has a bar for tokenising, which takes no time
            options["disable"] = options.get("desc") not in (None, "Processed prompts")
            options["desc"] = f"sampling {label}".strip()
            super().__init__(*args, **options)

    return functools.partial(Labelled, **intervals(), unit="sample")
