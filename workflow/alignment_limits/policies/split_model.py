"""A causal language model in two halves, tokens → hidden states → logits, so that no batch's logits are all held.

A batch's logits are tokens × vocabulary numbers, 5 GB for 8,192 tokens of a 150k vocabulary in float32, and two
models and their log-softmax are needed at once. Hidden states are a hundred times smaller. Logits are therefore
made for a few positions at a time; a position's whole vocabulary is at hand, which top-p needs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.modeling_outputs import BaseModelOutputWithPast

from alignment_limits.errors import SamplingError
from alignment_limits.rewards.checkpoints import ready

# of the largest logit; the halves run the same operations on other shapes
CLOSE = {torch.float64: 1e-4, torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 1e-2}


class SplitModel:
    """Both halves of a model on one device; the model itself stays whole, and may go on being trained.

    Raises:
        SamplingError: the halves do not give the whole model's logits (an architecture that is no plain stack).
    """

    def __init__(self, model: Any, name: str = "the model") -> None:
        self.device = model.device
        self.vocabulary = int(model.get_output_embeddings().weight.shape[0])
        probe = torch.arange(8, device=self.device)[None] % self.vocabulary
        with torch.inference_mode():
            whole = model(input_ids=probe).logits
            probed = whole[..., : self.vocabulary]
        self._body = model.get_decoder()
        place = next((key for key, module in model.named_children() if module is self._body), None)
        if place is None:
            raise SamplingError(f"{name}: {type(model).__name__} has no plain body and head to take apart")
        self._model, self._place = model, place
        halves = self.logits(self.hidden(probe, torch.ones_like(probe))[0])
        if not torch.allclose(halves, whole[0], rtol=0, atol=CLOSE[model.dtype] * float(probed.abs().max())):
            raise SamplingError(
                f"{name}: {type(model).__name__} gives other logits when taken apart; report this model"
            )

    @torch.inference_mode()
    def hidden(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Last hidden states [b, t, d] of tokens [b, t], padded on the right (mask 0)."""
        states: torch.Tensor = self._body(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        return states

    @torch.inference_mode()
    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Next-token logits [n, v] of hidden states [n, d]."""
        # the model's own forward on given hidden states: head, and whatever it does to logits (soft caps, scales)
        setattr(self._model, self._place, _Given())
        try:
            logits: torch.Tensor = self._model(inputs_embeds=hidden[None], use_cache=False).logits[0]
        finally:
            setattr(self._model, self._place, self._body)
        return logits


class _Given(torch.nn.Module):
    """Stands in for a body: its hidden states are the ones it is given."""

    def forward(self, *_: Any, inputs_embeds: torch.Tensor, **__: Any) -> BaseModelOutputWithPast:
        return BaseModelOutputWithPast(last_hidden_state=inputs_embeds)


def load_split(folder: Path, *, device: str, trust_remote_code: bool = False) -> SplitModel:
    """A plain model folder in float32, whatever precision it is sampled in."""
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=trust_remote_code
    )
    return SplitModel(ready(model, device), str(folder))
