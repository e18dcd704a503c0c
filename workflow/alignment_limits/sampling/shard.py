"""Sample one shard: prompts in, a table of replies out."""

from __future__ import annotations

import functools
import importlib
import time
from pathlib import Path
from typing import Any

import polars as pl
from tqdm import tqdm

from alignment_limits.jobs.job import intervals
from alignment_limits.models.tokenizer import context_length, load_tokenizer, stop_tokens
from alignment_limits.sampling import tokens
from alignment_limits.sampling.engine import Request
from alignment_limits.study.sampling import Model, Sampling
from alignment_limits.study.shards import block_seed


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
) -> tuple[pl.DataFrame, dict[str, float]]:
    """`sampling.block` replies to every prompt: the block's number decides their sample ids and seeds.

    Returns:
        the table `samples` of the contract, with the number of each reply's tokens that the tokenizer does not know
        (rows of a padded vocabulary; they have no text), and figures of the run: tokens, seconds, tokens per second
        (start-up apart), truncation rate, share of duplicates within a prompt, share of unknown tokens.

    Raises:
        PromptError: a prompt does not fit the model's context.
    """
    tokenizer = load_tokenizer(folder, model.trust_remote_code)
    ids = tokens.encode(prompts["text"].to_list(), tokenizer, template)
    context = context_length(folder, model.trust_remote_code, model.context)
    tokens.check_lengths(prompts["prompt_id"].to_list(), ids, sampling.max_new_tokens, context)
    needed = max(map(len, ids)) + sampling.max_new_tokens
    requests = [
        Request(prompt_id, row, sampling.block, block_seed(study_seed, prompt_id, block))
        for prompt_id, row in zip(prompts["prompt_id"], ids, strict=True)
    ]
    stop = stop_tokens(folder, tokenizer)
    engine = _engine(sampling.engine)(folder, model, sampling, needed, threads)
    start = time.perf_counter()
    completions = engine.generate(requests, stop, _progress(label))
    seconds = time.perf_counter() - start

    rows: dict[str, list[Any]] = {
        "prompt_id": [r.prompt_id for r in requests for _ in range(r.n)],
        "sample_id": [block * r.n + i for r in requests for i in range(r.n)],
        "token_ids": [c.token_ids for cs in completions for c in cs],
        "logprob": [c.logprob for cs in completions for c in cs],
        "finish_reason": [c.finish_reason for cs in completions for c in cs],
        "seed": [r.seed for r in requests for _ in range(r.n)],
    }
    rows["text"] = tokens.decode(rows["token_ids"], tokenizer, stop, template)
    rows["n_tokens"] = [len(t) for t in rows["token_ids"]]
    known = set(tokenizer.get_vocab().values())
    rows["n_unknown"] = [sum(token not in known for token in t) for t in rows["token_ids"]]
    table = pl.DataFrame(rows)
    return table, _figures(table, seconds)


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


_ENGINES = {"vllm": "VllmEngine", "transformers": "TransformersEngine"}


def _engine(name: str) -> Any:
    """The engine's class; only its own module is imported, and only that one counts in the fingerprint."""
    return getattr(importlib.import_module(f"alignment_limits.sampling.{name}_engine"), _ENGINES[name])


def _progress(label: str) -> Any:
    """A progress bar named after its shard, as vLLM wants it: a class."""

    class Labelled(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            # vLLM has a bar for tokenising too, which is over at once
            options["disable"] = options.get("desc") not in (None, "Processed prompts")
            options["desc"] = f"sampling {label}".strip()
            super().__init__(*args, **options)

    return functools.partial(Labelled, **intervals(), unit="sample")
