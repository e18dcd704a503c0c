"""Guard models: the log-odds that a causal language model would answer 'safe' rather than 'unsafe'.

The answer is not generated: its two first tokens are compared where the model would begin it, so that a
score is a number without ties, and no parsing can fail.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from alignment_limits.errors import RewardError
from alignment_limits.rewards.base import ItemReward, Scores, pairs
from alignment_limits.rewards.batching import in_batches
from alignment_limits.rewards.causal import load_causal
from alignment_limits.rewards.conversation import encoder

_BFLOAT16_TOLERANCE = 0.05  # of the spread of scores


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
) -> ItemReward:
    """A reward in nats: log p(first token of `safe`) − log p(first token of `unsafe`); `text` is not used.

    Raises:
        RewardError: no causal language model or chat template, the two answers begin with the same token, or
            `max_length` exceeds what the model can read.
    """
    tokenizer, body, head, context = load_causal(folder, device, dtype, trust_remote_code)
    path = Path(str(folder))
    if max_length is not None and context is not None and max_length > context:
        raise RewardError(f"{path} reads at most {context} tokens; lower max_length={max_length}")
    good, bad = (tokenizer(answer, add_special_tokens=False)["input_ids"][0] for answer in (safe, unsafe))
    if good == bad:
        raise RewardError(
            f"{path}: '{safe}' and '{unsafe}' begin with the same token; choose answers that differ there"
        )
    style = {"text": "chat"} if wording is None else {"text": "prompt+reply", "wording": wording}
    encode = encoder(tokenizer, limit=max_length or context, path=path, lead=lead, **style)

    def forward(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        rows = torch.arange(len(ids), device=ids.device)
        last: torch.Tensor = head(body(ids, mask)[rows, mask.sum(1) - 1]).double()
        return last[:, [good]] - last[:, [bad]]

    def score_pairs(items: list[tuple[str, str]]) -> Scores:
        encoded = [encode(prompt, reply) for prompt, reply in items]
        score = in_batches([ids for ids, _ in encoded], forward, pad=0, device=device)[:, 0]
        return Scores(score, np.array([cut for _, cut in encoded], dtype=bool))

    return ItemReward(pairs, score_pairs, sign, None if dtype == "float32" else _BFLOAT16_TOLERANCE)
