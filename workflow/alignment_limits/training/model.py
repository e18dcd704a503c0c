"""The base as a model to be trained, its adapter, and padding that can be mistaken for nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from torch.nn import functional
from transformers import GenerationConfig
from transformers.pytorch_utils import Conv1D

from alignment_limits.models.causal import load_causal
from alignment_limits.models.load import device_of_job
from alignment_limits.models.split_model import SplitModel
from alignment_limits.models.tokenizer import load_tokenizer

NEVER = -1e4  # a logit whose probability is 0 in every precision, and 0 · log 0 still 0
PADDING = "<|padding of training|>"


def load(folder: Path, dtype: str, stop: list[int], trust_remote_code: bool = False) -> Any:
    """The base with one token more than its vocabulary, for padding, which it never says; logits in float32.

    A model's own padding token may be its stop token (then TRL's PPO drops the stop from the reply) or one that it
    says (then it ends there).
    """
    model = load_causal(folder, dtype=dtype, device=device_of_job(), trust_remote_code=trust_remote_code)
    padding = int(model.get_output_embeddings().weight.shape[0])
    model.generation_config = GenerationConfig(eos_token_id=stop or None, pad_token_id=padding)
    model.get_input_embeddings().register_forward_pre_hook(lambda _, ids: (ids[0].clamp(max=padding - 1),))
    head = model.get_output_embeddings()
    # hidden states of a few positions are a slice; torch would copy a frozen head for every reply to multiply them
    head.register_forward_pre_hook(lambda _, states: (states[0].contiguous(),))
    head.register_forward_hook(lambda _module, _input, logits: functional.pad(logits.float(), (0, 1), value=NEVER))
    return model


def padding_tokenizer(folder: Path, vocabulary: int, trust_remote_code: bool = False) -> Any:
    """The base's tokenizer, whose padding token is the first id beyond the vocabulary, on the left."""
    tokenizer = load_tokenizer(folder, trust_remote_code)
    tokenizer.add_tokens([f"<|unused {i}|>" for i in range(len(tokenizer), vocabulary)], special_tokens=True)
    tokenizer.add_special_tokens({"pad_token": PADDING})
    tokenizer.padding_side = "left"
    assert tokenizer.pad_token_id == vocabulary
    return tokenizer


def lora(settings: dict[str, Any] | None, model: Any, task: str = "CAUSAL_LM") -> LoraConfig | None:
    """An adapter on all linear layers of the last blocks; None: all weights are trained."""
    if settings is None:
        return None
    blocks = model.config.num_hidden_layers
    body = getattr(model, model.base_model_prefix)
    linear = {name.split(".")[-1] for name, m in body.named_modules() if isinstance(m, torch.nn.Linear | Conv1D)}
    return LoraConfig(
        r=settings["rank"],
        lora_alpha=settings["alpha"],
        target_modules=sorted(linear),
        layers_to_transform=list(range(max(0, blocks - (settings["layers"] or blocks)), blocks)),
        task_type=task,
    )


class WithoutAdapter(SplitModel):
    """The base inside a policy that is an adapter on it."""

    def __init__(self, policy: PeftModel) -> None:
        self._policy = policy
        super().__init__(policy.get_base_model(), "the base")

    def hidden(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """See `SplitModel.hidden`."""
        with self._policy.disable_adapter():
            return super().hidden(ids, mask)
