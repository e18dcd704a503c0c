"""Batches for transformers: texts of like length together, a fixed budget of tokens per batch.

Batches in file order are padded to their longest text, and reply lengths have a long tail: most of the
work is then padding. Sorting removes nearly all of it, and a token budget keeps memory level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from alignment_limits.jobs.job import progress_bar

TOKENS_CPU = 1024  # fastest of 256 … 8192 for MiniLM; larger batches fall out of the cache
TOKENS_GPU = 32768


def token_budget(device: str) -> int:
    """Tokens of one batch, padding included."""
    return TOKENS_CPU if device.startswith("cpu") else TOKENS_GPU


def batches(lengths: Sequence[int], budget: int) -> Iterator[NDArray[np.intp]]:
    """Indices of each batch, longest first, so that running out of memory happens at once or never.

    Args:
        lengths: tokens of each text [n].
        budget: tokens of a batch, padding included; a longer text makes a batch of its own.
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    start = 0
    while start < len(order):
        longest = max(1, lengths[order[start]])
        stop = start + max(1, budget // longest)
        yield order[start:stop]
        start = stop


def in_batches(
    ids: Sequence[Sequence[int]],
    forward: Callable[..., torch.Tensor],
    *,
    pad: int,
    device: str,
    more: Sequence[int] | None = None,
) -> NDArray[np.float64]:
    """Run a model over token ids in length-sorted batches, padded on the right.

    Args:
        ids: token ids of each text, special tokens included.
        forward: (input ids [b, t], attention mask [b, t]) → [b, k].
        pad: id of the padding token.
        more: an integer of each text, which `forward` then gets as a third argument [b].

    Returns:
        float64 [n, k], in the order of `ids`.
    """
    lengths = [len(i) for i in ids]
    rows: list[NDArray[np.float64]] = []
    order: list[NDArray[np.intp]] = []
    with torch.inference_mode(), progress_bar(len(ids), "text", "scoring") as bar:
        for batch in batches(lengths, token_budget(device)):
            width = lengths[batch[0]]
            tokens = torch.full((len(batch), width), pad, dtype=torch.long)
            mask = torch.zeros_like(tokens)
            for row, i in enumerate(batch):
                tokens[row, : lengths[i]] = torch.tensor(ids[i], dtype=torch.long)
                mask[row, : lengths[i]] = 1
            extra = () if more is None else (torch.tensor([more[i] for i in batch], device=device),)
            rows.append(forward(tokens.to(device), mask.to(device), *extra).double().cpu().numpy())
            order.append(batch)
            bar.update(len(batch))
    out = np.concatenate(rows)
    result = np.empty_like(out)
    result[np.concatenate(order)] = out
    return result
