"""Shards: the unit of sampling, its seed, and the names in paths and rules.

A block is `block` samples of one prompt drawn from one seed. A shard is one block of a chunk of prompts.
Seeds depend only on the study's seed, the prompt and the block. The size of a chunk does not depend on the number of
prompts or samples. So a larger study keeps its shards, and the layout changes no sample.
A chunk is named by its first and one-past-last prompt, so shards of one name contain the same keys in every study.
Its size is a power of two, as the number of prompts often is. Then no chunk is incomplete, and more prompts only add
chunks (an incomplete chunk is sampled again at its new length).
"""

from __future__ import annotations

import hashlib


def block_seed(study_seed: int, prompt_id: str, block: int) -> int:
    """63-bit seed of one block of one prompt; prompts with equal seeds would share their noise."""
    digest = hashlib.sha256(f"{study_seed}/{prompt_id}/{block}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def chunk_size(shard_tokens: int, block: int, max_new_tokens: int) -> int:
    """Prompts per shard: the largest power of two with at most `shard_tokens` new tokens per shard."""
    most = max(1, shard_tokens // (block * max_new_tokens))
    return int(2 ** (most.bit_length() - 1))


def chunk_names(n_prompts: int, size: int, first: int = 0) -> list[str]:
    """Chunks of `n_prompts` prompts after the first ones.

    Example:
        >>> chunk_names(40, 16)
        ['p00000-00016', 'p00016-00032', 'p00032-00040']
    """
    end = first + n_prompts
    return [f"p{i:05d}-{min(i + size, end):05d}" for i in range(first, end, size)]


def block_names(samples_per_prompt: int, block: int) -> list[str]:
    """Names of all blocks of samples of a prompt.

    Example:
        >>> block_names(48, 16)
        ['b00000', 'b00001', 'b00002']
    """
    return [f"b{i:05d}" for i in range(samples_per_prompt // block)]


def chunk_range(chunk: str) -> tuple[int, int]:
    """First and one-past-last prompt of a chunk."""
    first, end = chunk[1:].split("-")
    return int(first), int(end)
