"""What models loaded by transformers share: are all files there, how much can the model read, its fastest kernels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.utils import mkldnn

from alignment_limits.errors import RewardError
from alignment_limits.rewards.base import need_file

_UNBOUNDED = 10**9  # tokenizers without a limit of their own say 10**30
_SHIFTED_POSITIONS = {"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet", "longformer"}


def need_checkpoint(folder: Path | None) -> Path:
    """The folder of a transformers checkpoint with all of its files (safetensors only).

    Raises:
        RewardError: a file is missing; it is named.
    """
    path = need_file(folder, "config.json", "source").parent
    index = path / "model.safetensors.index.json"
    if index.is_file():
        for shard in sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values())):
            need_file(path, shard, "source")
    elif not (path / "model.safetensors").is_file() and list(path.glob("pytorch_model*.bin")):
        raise RewardError(
            f"{path} has its weights as pickles (pytorch_model.bin), which can run code on loading; "
            "convert them to safetensors, or take a revision that has them"
        )
    else:
        need_file(path, "model.safetensors", "source")
    transformers.utils.logging.disable_progress_bar()  # a bar per load drowns the study's own
    return path


def load_trained(auto: Any, path: Path, dtype: str, trust_remote_code: bool, *, kind: str, lacking: str) -> Any:
    """A model of one of transformers' auto classes, none of whose weights is made up.

    Args:
        kind: what it should be, for messages. lacking: what it is when trained weights are missing.

    Raises:
        RewardError: transformers cannot load it as that, or weights are missing.
    """
    try:
        model, info = auto.from_pretrained(
            path,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
            dtype=getattr(torch, dtype),
            output_loading_info=True,
        )
    except (OSError, ValueError) as error:
        raise RewardError(f"{path} is not a {kind} transformers can load: {error}") from error
    if info["missing_keys"]:
        missing = ", ".join(sorted(info["missing_keys"])[:4])
        raise RewardError(f"{path} lacks trained weights for {missing}; it is {lacking}")
    return model


def context_length(tokenizer: Any, config: Any) -> int | None:
    """Tokens the model can read, special tokens included; None: no limit is known."""
    text_config = config.get_text_config()
    positions = getattr(text_config, "max_position_embeddings", None)
    if positions and text_config.model_type in _SHIFTED_POSITIONS:
        positions -= text_config.pad_token_id + 1  # their positions start behind the padding token's id
    limits = [limit for limit in (positions, tokenizer.model_max_length) if limit and limit < _UNBOUNDED]
    return min(limits, default=None)


def ready(model: Any, device: str) -> Any:
    """The model in evaluation mode on its device, with the fastest exact kernels there are for it.

    torch multiplies float32 matrices on a CPU with MKL, which leaves AVX-512 unused outside Intel's own
    processors; oneDNN, which torch ships too, uses it: 2.4 × the matrix rate on AMD's, the same float32.
    """
    model = model.eval().to(device)
    if device.startswith("cpu") and torch.backends.mkldnn.is_available() and model.dtype == torch.float32:
        model = mkldnn.to_mkldnn(model)
    return model
