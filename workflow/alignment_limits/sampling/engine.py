"""What engines take and give: requests for samples of one prompt, and the sampled replies."""

from __future__ import annotations

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
