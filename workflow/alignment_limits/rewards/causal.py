"""What rewards that read a causal language model share: loading it, and log-probabilities at chosen places."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from alignment_limits.errors import RewardError
from alignment_limits.rewards.checkpoints import context_length, load_trained, need_checkpoint, ready

Hidden = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def load_causal(
    folder: Path | None, device: str, dtype: str = "float32", trust_remote_code: bool = False
) -> tuple[Any, Hidden, Any, int | None]:
    """Tokenizer, body (ids [b, t], mask [b, t] → hidden [b, t, d]), head (hidden → logits), and context length.

    Body and head are apart so that logits (as wide as the vocabulary) are made only where they are read.

    Raises:
        RewardError: a file is missing, it is no causal model, or its logits are not its head on its body.
    """
    path = need_checkpoint(folder)
    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=trust_remote_code)
    lacking = "no causal language model, its probabilities would be random"
    model = load_trained(
        AutoModelForCausalLM, path, dtype, trust_remote_code, kind="causal language model", lacking=lacking
    )
    model.config.use_cache = False
    model = ready(model, device)
    head = model.get_output_embeddings()
    if dtype != "float32":  # logits of 8 bits would tie different texts
        head = copy.deepcopy(head).float()

    def body(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = model.base_model(input_ids=ids, attention_mask=mask).last_hidden_state
        return hidden.float()

    with torch.inference_mode():  # some models cap or scale their logits
        probe = torch.tensor([[1, 2, 3]], device=device)
        ones = torch.ones_like(probe)
        own = model(input_ids=probe, attention_mask=ones).logits.float()
        near = (1e-3 if dtype == "float32" else 0.05) * float(own.abs().max())
        if not torch.allclose(own, head(body(probe, ones)), rtol=0, atol=near):
            raise RewardError(f"{path}: {type(model).__name__} changes its logits behind the head: not supported")
    return tokenizer, body, head, context_length(tokenizer, model.config)


def first_tokens(tokenizer: Any) -> list[int]:
    """The BOS token where the tokenizer puts one in front, else nothing."""
    bos = tokenizer.bos_token_id
    return [bos] if bos is not None and tokenizer("a")["input_ids"][:1] == [bos] else []
