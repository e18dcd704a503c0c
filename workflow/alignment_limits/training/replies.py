"""Replies of a model in training, drawn by the study's sampling law."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from alignment_limits.errors import TrainingError
from alignment_limits.policies.next_token import SamplingLaw


def left_padded(prompts: Sequence[Sequence[int]], padding: int) -> torch.Tensor:
    """Prompts as one tensor [n, t]."""
    width = max(map(len, prompts))
    return torch.tensor([[padding] * (width - len(p)) + list(p) for p in prompts])


def cut(replies: torch.Tensor, stop: Sequence[int], padding: int) -> list[list[int]]:
    """Token ids of each reply up to its first stop token, which belongs to it; without padding."""
    out = []
    for row in replies.tolist():
        end = next((t + 1 for t, token in enumerate(row) if token in stop), len(row))
        out.append([token for token in row[:end] if token != padding])
    return out


@torch.no_grad()
def draw(
    model: Any, prompts: Sequence[Sequence[int]], law: SamplingLaw, longest: int, stop: Sequence[int], padding: int
) -> list[list[int]]:
    """One reply to each prompt, token ids with the stop token; one that meets none is cut at `longest`."""
    ids = left_padded(prompts, padding).to(model.device)
    made = model.generate(
        input_ids=ids,
        attention_mask=(ids != padding).long(),
        do_sample=True,
        temperature=law.temperature,
        top_p=law.top_p,
        top_k=0,
        max_new_tokens=longest,
        eos_token_id=list(stop) or None,
        pad_token_id=padding,
    )
    return cut(made[:, ids.shape[1] :], stop, padding)


def refuse_absolute_positions(model: Any, padding: int) -> None:
    """Prompts of unequal lengths are padded on the left, and TRL's GRPO and RLOO do not say where they begin.

    Raises:
        TrainingError: the model's logits depend on how much padding stands in front.
    """
    ids = torch.arange(8, device=model.device)[None] % padding  # the padding's row comes after the vocabulary's
    padded = torch.cat([torch.full((1, 5), padding, device=model.device), ids], 1)
    with torch.inference_mode():
        alone = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, :, :padding]
        behind = model(input_ids=padded, attention_mask=(padded != padding).long()).logits[0, 5:, :padding]
    allowed = 1e-3 if model.dtype == torch.float32 else 0.05
    if float((alone - behind).abs().max()) > allowed * float(alone.abs().max()):
        raise TrainingError(
            f"{type(model).__name__} counts positions from the padding on, which TRL's GRPO and RLOO put in front of "
            "shorter prompts, so they would train on other log-probabilities than the model's; train it by ppo or dpo"
        )
