"""Guard models: the log-odds that a causal language model answers 'safe' rather than 'unsafe'.

The answer is not generated. The probabilities of the two possible first tokens are compared at the beginning of the
answer. So scores have no ties, and no parsing can fail.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from alignment_limits.errors import RewardError
from alignment_limits.models.load import in_batches, load_split
from alignment_limits.models.tokenizer import DATE, load_config, load_tokenizer
from alignment_limits.rewards.base import ItemReward, Scores, Turns, conversations, pairs
from alignment_limits.rewards.checkpoints import (
    ROUNDED_TOLERANCE,
    answer_tokens,
    context_of,
    encoder,
    most_tokens,
    need_checkpoint,
)


def load(
    folder: Path | None,
    *,
    device: str,
    text: str,
    sign: int,
    safe: str = "safe",
    unsafe: str = "unsafe",
    lead: str = "",
    wording: str | None = None,
    max_length: int | None = None,
    dtype: str = "float32",
    trust_remote_code: bool = False,
    date: str = DATE,
) -> ItemReward:
    """A reward in nats: log p(first token of `safe`) − log p(first token of `unsafe`); `text` is not used.

    Args:
        date: the current day for the chat template.

    Raises:
        RewardError: no causal language model or chat template; the two answers begin with the same token or with a
            token without meaning; or `max_length` is more than the model can read.
    """
    path = need_checkpoint(folder)
    tokenizer = load_tokenizer(path, trust_remote_code)
    context = context_of(tokenizer, load_config(path, trust_remote_code))
    limit = most_tokens(max_length, context, path)
    good, bad = answers(tokenizer, safe, unsafe, lead, path)
    model = load_split(path, device=device, trust_remote_code=trust_remote_code, dtype=dtype)
    style = {"text": "chat"} if wording is None else {"text": "prompt+reply", "wording": wording}
    encode = encoder(tokenizer, limit=limit, path=path, lead=lead, date=date, **style)

    def forward(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        rows = torch.arange(len(ids), device=ids.device)
        last = model.logits(model.hidden(ids, mask)[rows, mask.sum(1) - 1]).double()
        return last[:, [good]] - last[:, [bad]]

    def score_pairs(items: list[tuple[str | Turns, str]]) -> Scores:
        encoded = [encode(prompt, reply) for prompt, reply in items]
        score = in_batches([ids for ids, _ in encoded], forward, pad=0, device=device)[:, 0]
        return Scores(score, np.array([cut for _, cut in encoded], dtype=bool))

    tolerance = None if dtype == "float32" else ROUNDED_TOLERANCE
    if wording is not None:
        return ItemReward(pairs, score_pairs, sign, tolerance)
    return ItemReward(conversations, score_pairs, sign, tolerance, readable=lambda pair, _: encode(*pair))


def answers(tokenizer: Any, safe: str, unsafe: str, lead: str, path: Path) -> tuple[int, int]:
    """First tokens of the two answers after the beginning of the model's turn.

    Raises:
        RewardError: the two are the same token, or one of them is white space, a control token or unknown; the message
            shows both.
    """
    good, bad = (tokens[0] for tokens in answer_tokens(tokenizer, [safe, unsafe], lead, path))
    if good == bad:
        shown = "; ".join(f"'{a}' begins with {tokenizer.convert_ids_to_tokens(good)!r}" for a in (safe, unsafe))
        raise RewardError(
            f"{path}: the two answers begin with the same token ({shown}), so their log-odds would be 0 "
            "for every reply; choose answers that differ there"
        )
    return good, bad
