"""Sequence classifiers, for rewards, critics and fine-tuning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

from alignment_limits.models.load import load_model


def load_classifier(
    folder: Path,
    *,
    labels: int | None = None,
    new_head: bool = False,
    dtype: torch.dtype | str = torch.float32,
    device: str = "cpu",
    trust_remote_code: bool = False,
) -> Any:
    """A sequence classifier as its configuration describes it; see `models.load` for what that settles.

    Args:
        folder: a plain transformers folder with safetensors.
        labels: how many it is to have; default: its own.
        new_head: a language model will do: it gets an untrained head.

    Raises:
        ModelError: it is none, or trained weights are missing.
    """
    shape: dict[str, Any] = {} if labels is None else {"num_labels": labels}
    return load_model(
        AutoModelForSequenceClassification,
        folder,
        dtype=dtype,
        device=device,
        trust_remote_code=trust_remote_code,
        what="sequence classifier",
        lacking="no sequence classifier (a base model?), its scores would be random",
        new_head=new_head,
        **shape,
    )
