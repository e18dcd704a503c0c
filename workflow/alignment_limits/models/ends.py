"""Where replies end: the stop tokens and the context of a model, the same for every engine and for training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from alignment_limits.damage import reading
from alignment_limits.errors import ModelError

# names of the same number in different architectures; with rotary or learned positions each model has one
_CONTEXT = ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len", "n_ctx")


def stop_tokens(folder: Path, tokenizer: Any) -> list[int]:
    """Tokens that end a reply: the tokenizer's EOS, and all that config.json and generation_config.json name."""
    ids = {tokenizer.eos_token_id}
    for name in ("config.json", "generation_config.json"):
        file = Path(folder) / name
        if file.is_file():
            with reading(file, ModelError):
                ids |= _named(json.loads(file.read_text("utf-8")))
    return sorted(i for i in ids if i is not None)


def _named(settings: dict[str, Any]) -> set[int]:
    """EOS ids of a configuration: a number or a list, there or in the part that is about text."""
    out: set[int] = set()
    for part in (settings, settings.get("text_config")):
        eos = part.get("eos_token_id") if isinstance(part, dict) else None
        out |= set(eos) if isinstance(eos, list) else {eos} if isinstance(eos, int) else set()
    return out


def stated_context(config: Any) -> int | None:
    """Positions a model was built for, as its configuration (or the part about text) says; None: it does not say."""
    text = config.get_text_config()
    for name in _CONTEXT:
        if isinstance(positions := getattr(text, name, None), int) and positions > 0:
            return positions
    return None


def context_length(folder: Path, trust_remote_code: bool = False, asked: int | None = None) -> int:
    """Tokens of a prompt and its reply, at most.

    Args:
        asked: `model.context` of the study; needed where the model has no positions of its own (ALiBi).

    Raises:
        ModelError: neither the model nor the study says, or the study asks for more than the model has.
    """
    stated = stated_context(load_config(folder, trust_remote_code))
    if asked is not None and stated is not None and asked > stated:
        raise ModelError(f"model.context is {asked}, but the model was built for {stated} positions; lower it")
    if asked is None and stated is None:
        raise ModelError(
            f"{folder}/config.json does not say how long the model's context is; set model.context to the number of "
            "tokens it was trained on"
        )
    return int(asked or stated or 0)


def load_config(folder: Path, trust_remote_code: bool = False) -> Any:
    """A model's configuration.

    Raises:
        ModelError: there is none, or transformers does not know the architecture.
    """
    from transformers import AutoConfig

    with reading(folder, ModelError):
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
