"""Causal language models, for whatever reads, samples or trains one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from alignment_limits.models.load import load_model


def load_causal(
    folder: Path, *, dtype: torch.dtype | str = torch.float32, device: str = "cpu", trust_remote_code: bool = False
) -> Any:
    """A causal language model as its configuration describes it; see `models.load` for what that settles.

    Args:
        folder: a plain transformers folder with safetensors.
        dtype: of the weights; 'auto': as they are stored.

    Raises:
        ModelError: it is none, or trained weights are missing.
    """
    return load_model(
        AutoModelForCausalLM,
        folder,
        dtype=dtype,
        device=device,
        trust_remote_code=trust_remote_code,
        what="causal language model",
        lacking="no language model (a reward model, or an adapter without its adapter_config.json?)",
    )
