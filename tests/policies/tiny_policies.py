"""Policies made of the tiny base model: noise on its weights, LoRA adapters with random weights."""

from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer


def perturbed(base: Path, folder: Path, noise: float) -> Path:
    """A checkpoint: every weight moved by `noise` of the spread of its matrix."""
    model = AutoModelForCausalLM.from_pretrained(base)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight += noise * weight.std() * torch.randn(weight.shape, generator=generator)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder


def adapter(base: Path, folder: Path, *, trained: bool = True) -> Path:
    """A LoRA adapter of rank 4 on queries and values; random weights, or those before training: no change."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(base)
    config = LoraConfig(r=4, lora_alpha=4, target_modules=["q_proj", "v_proj"], init_lora_weights=not trained)
    get_peft_model(model, config).save_pretrained(folder)
    return folder
