"""Information gain: how much a reply increases a language model's log-probability of a text, in nats.

log p(text | "Summary: reply") − log p(text | "Summary: (none)"), the Shannon score of Egan et al. (2022,
arXiv 2103.10918) in nats. A summary is good if it makes the text less surprising. A list of keywords or an invented
fact gains little, so this reward is harder to exploit than overlap or similarity. It costs one forward pass over the
text for each reply. A longer reply can contain more information, so a price per word may be subtracted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from alignment_limits.errors import RewardError
from alignment_limits.models.load import in_batches, load_split
from alignment_limits.models.tokenizer import load_config, load_tokenizer
from alignment_limits.rewards.base import ItemReward, Scores, distinct_items, pairs
from alignment_limits.rewards.checkpoints import ROUNDED_TOLERANCE, as_text, context_of, need_checkpoint

_NOTHING = "(none)"


def load(
    folder: Path | None,
    *,
    device: str,
    text: str,
    sign: int,
    max_tokens: int | None = None,
    price: float = 0.0,
    dtype: str = "float32",
) -> ItemReward:
    """A reward in nats; `text` is not used. Several references count as one text.

    Args:
        max_tokens: only the first `max_tokens` tokens of the text count, to limit cost.
        price: nats subtracted for each word of the reply.

    Raises:
        RewardError: no causal language model, or (when scoring) a reply with its text is longer than its context.
    """
    path = need_checkpoint(folder)
    tokenizer = load_tokenizer(path)
    context = context_of(tokenizer, load_config(path))
    model = load_split(path, device=device, dtype=dtype)
    bos = tokenizer.bos_token_id
    start = [bos] if bos is not None and tokenizer("a")["input_ids"][:1] == [bos] else []
    plain = as_text(tokenizer)

    def encode(string: str) -> list[int]:
        ids: list[int] = tokenizer(plain(string), add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    def forward(ids: torch.Tensor, mask: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        """Log-probability [b, 1] of the tokens after the first `known` ones of each row."""
        hidden = model.hidden(ids, mask)[:, :-1]
        place = torch.arange(1, ids.shape[1], device=ids.device)
        counted = (place >= known[:, None]) & mask[:, 1:].bool()
        logits = model.logits(hidden[counted])
        each = torch.log_softmax(logits, 1).gather(1, ids[:, 1:][counted][:, None])[:, 0].double()
        row = counted.nonzero()[:, 0]
        return torch.zeros(len(ids), dtype=torch.float64, device=ids.device).index_add_(0, row, each)[:, None]

    def fits(tokens: int) -> None:
        if context is not None and tokens > context:
            raise RewardError(
                f"a reply and its text take {tokens} tokens, the model reads {context}; lower max_tokens, or "
                "sampling.max_new_tokens"
            )

    def log_p(before: Sequence[list[int]], after: Sequence[list[int]]) -> np.ndarray:
        ids = [b + a for b, a in zip(before, after, strict=True)]
        fits(max(map(len, ids)))
        return in_batches(ids, forward, pad=0, device=device, more=[len(b) for b in before])[:, 0]

    def target(beside: str) -> list[int]:
        return encode(" " + " ".join(beside.split()))

    # tokenised separately from the text, so that every reply predicts the same tokens
    def prefix(reply: str) -> list[int]:
        return start + encode(f"Summary: {' '.join(reply.split()) or _NOTHING}\nText:")

    def readable(item: tuple[str, str], reply_tokens: int) -> None:
        beside, reply = item
        fits(len(prefix(reply)) + reply_tokens + len(target(beside)[:max_tokens]))

    def score_pairs(items: list[tuple[str, str]]) -> Scores:
        texts, where = distinct_items([beside for beside, _ in items])
        targets = [target(t) for t in texts]
        cut = np.array([max_tokens is not None and len(t) > max_tokens for t in targets])
        targets = [t[:max_tokens] for t in targets]
        told = log_p([prefix(reply) for _, reply in items], [targets[i] for i in where])
        alone = log_p([prefix("")] * len(texts), targets)
        words = np.array([len(reply.split()) for _, reply in items])
        return Scores(told - alone[where] - price * words, cut[where])

    tolerance = None if dtype == "float32" else ROUNDED_TOLERANCE
    return ItemReward(pairs, score_pairs, sign, tolerance, readable=readable)
