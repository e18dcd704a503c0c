"""The unit of sampling, and its seed.

A block is `block` samples of one prompt drawn from one seed; a shard is one block of a chunk of prompts.
Seeds depend on the study's seed, the prompt and the block alone, and the chunk's size on neither the
number of prompts nor of samples: a larger study keeps the shards it has, and no layout changes a sample.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Request:
    """`n` samples to draw after `token_ids` from one seed."""

    prompt_id: str
    token_ids: list[int]
    n: int
    seed: int


@dataclass(frozen=True)
class Completion:
    """One sampled reply: its tokens (the stop token included), their log-probability under the sampling law."""

    token_ids: list[int]
    logprob: float
    finish_reason: str  # 'stop' or 'length'


def block_seed(study_seed: int, prompt_id: str, block: int) -> int:
    """63-bit seed of one block of one prompt; equal seeds on different prompts would share their noise."""
    digest = hashlib.sha256(f"{study_seed}/{prompt_id}/{block}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def chunk_size(shard_tokens: int, block: int, max_new_tokens: int) -> int:
    """Prompts per shard so that a shard is about `shard_tokens` new tokens."""
    return max(1, shard_tokens // (block * max_new_tokens))


def chunk_names(n_prompts: int, size: int) -> list[str]:
    return [f"p{i:05d}" for i in range(-(-n_prompts // size))]


def block_names(samples_per_prompt: int, block: int) -> list[str]:
    return [f"b{i:05d}" for i in range(samples_per_prompt // block)]


def chunk_range(chunk: str, size: int, n_prompts: int) -> tuple[int, int]:
    """First and one-past-last prompt of a chunk, of `n_prompts` in all."""
    first = int(chunk[1:]) * size
    return first, min(first + size, n_prompts)
