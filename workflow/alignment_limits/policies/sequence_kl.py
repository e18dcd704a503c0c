"""KL(π‖π₀) of replies drawn from π, reply by reply, in nats: two estimates from one pass of both models.

A reply of tokens y₁…y_T after a prompt x, its stop token included, or cut at the study's longest, has

    Rao-Blackwellised   Σ_t KL(π(·|x,y_<t) ‖ π₀(·|x,y_<t))          never negative,
    log-ratio           Σ_t log π(y_t|x,y_<t) − log π₀(y_t|x,y_<t)  of either sign, a cross-check.

Both are unbiased for the KL of the truncated laws (theory §6); the first has the lower variance. Nothing is
clipped. Both models are read with one set of batches, in one precision.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from alignment_limits.errors import SamplingError
from alignment_limits.models.split_model import SplitModel
from alignment_limits.policies.next_token import SamplingLaw, next_token_kl
from alignment_limits.rewards.base import distinct_items
from alignment_limits.rewards.batching import batches, token_budget

LOGITS_CPU = 2**22  # numbers held at once per tensor: 16 MB in float32, near a cache
LOGITS_GPU = 2**28


@dataclass(frozen=True)
class SequenceKL:
    """Per reply, float64 [n], nats: both estimates, and each model's log-probability of the reply."""

    kl: NDArray[np.float64]
    log_ratio: NDArray[np.float64]
    logprob: NDArray[np.float64]
    logprob_base: NDArray[np.float64]


def sequence_kl(
    policy: SplitModel,
    base: SplitModel,
    prompts: Sequence[Sequence[int]],
    replies: Sequence[Sequence[int]],
    law: SamplingLaw,
    *,
    tokens: int | None = None,
    logits: int | None = None,
    progress: Callable[[int], object] = lambda replies: None,
) -> SequenceKL:
    """Both estimates of every reply.

    Args:
        policy, base: the same object, if only its log-probabilities are wanted.
        prompts, replies: token ids, one prompt per reply; replies as drawn, stop token included.
        tokens: tokens of a batch, padding included. logits: numbers of a logits tensor held at once; at least
            one position is. Defaults suit the device.
        progress: told the number of replies of each batch done.

    Raises:
        SamplingError: the policy has tokens that the base lacks, or a prompt or reply is empty.
    """
    if policy.vocabulary > base.vocabulary:
        raise SamplingError(f"the policy predicts {policy.vocabulary} tokens, the base {base.vocabulary}")
    if not all(map(len, prompts)) or not all(map(len, replies)):
        raise SamplingError("every prompt and every reply needs at least one token")
    device = base.device
    rows = max(1, (logits or (LOGITS_CPU if device.type == "cpu" else LOGITS_GPU)) // base.vocabulary)
    pairs, where = distinct_items([(tuple(p), tuple(r)) for p, r in zip(prompts, replies, strict=True)])
    out = np.empty((3, len(pairs)))
    alone = policy is base  # only its log-probabilities are wanted: it runs once
    for batch in batches([len(p) + len(r) for p, r in pairs], tokens or token_budget(device.type)):
        chosen = [pairs[i] for i in batch]
        ids, mask, row, position = (x.to(device) for x in _layout(chosen))
        own = policy.hidden(ids, mask)[row, position]
        others = own if alone else base.hidden(ids, mask)[row, position]
        drawn = ids[row, position + 1]
        sums = torch.zeros(3, len(chosen), dtype=torch.float64, device=device)
        for start in range(0, len(row), rows):
            some = slice(start, start + rows)
            with torch.inference_mode():
                logits_own = policy.logits(own[some])
                logits_base = logits_own if alone else base.logits(others[some])
                at = next_token_kl(logits_own, logits_base, drawn[some], law)
            sums.index_add_(1, row[some], torch.stack([at.kl, at.logprob, at.logprob_base]))
        out[:, batch] = sums.cpu().numpy()
        progress(len(chosen))
    kl, logprob, logprob_base = out[:, where]
    with np.errstate(invalid="ignore"):
        return SequenceKL(kl, logprob - logprob_base, logprob, logprob_base)


def _layout(
    pairs: Sequence[tuple[tuple[int, ...], tuple[int, ...]]],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """A batch padded on the right, [b, t] and its mask; row and position of every reply token's prediction [n].

    The token at position j is predicted at j − 1, so a reply's first one at the prompt's last.
    """
    width = max(len(p) + len(r) for p, r in pairs)
    ids = torch.zeros(len(pairs), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    row: list[int] = []
    position: list[int] = []
    for i, (prompt, reply) in enumerate(pairs):
        length = len(prompt) + len(reply)
        ids[i, :length] = torch.tensor([*prompt, *reply])
        mask[i, :length] = 1
        row += [i] * len(reply)
        position += range(len(prompt) - 1, length - 1)
    return ids, mask, torch.tensor(row), torch.tensor(position)
