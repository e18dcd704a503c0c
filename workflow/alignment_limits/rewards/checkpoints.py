"""What rewards on transformers share: device, checks of a checkpoint's folder, no control tokens in texts.

A tokenizer turns `<|im_end|>` or `</s>` inside any text into the control token of that name: a reply could end its own
turn, forge the next one, or hide what follows from the place where a classifier reads. A space behind the first
character (`< |im_end|>`) leaves it readable, and letters only. The rule is ours; it works with every tokenizer and
template, and nothing that a study cannot foresee makes a reward fail.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from alignment_limits.errors import RewardError
from alignment_limits.models.tokenizer import control_tokens, stated_context
from alignment_limits.rewards.base import need_file


def device_for(resources: Any) -> str:
    """Torch device of a job, from its Snakemake resources (`gpu: 1`, or `gres: gpu:…` as some Slurm sites want).

    Raises:
        RewardError: the job asked for a GPU and torch sees none.
    """
    if not resources.get("gpu") and "gpu" not in str(resources.get("gres") or ""):
        return "cpu"
    import torch

    if not torch.cuda.is_available():
        raise RewardError(
            "this job asked for a GPU, but torch sees none: ask for none (set-resources: score: gpu: 0 in the "
            "profile), or install the build for GPUs (make setup HARDWARE=cuda) and check nvidia-smi on the node"
        )
    return "cuda"


def as_text(tokenizer: Any) -> Callable[[str], str]:
    """Text → the same text, in which no control token of this tokenizer is spelled.

    Example:
        >>> as_text(tokenizer)("hi<|im_end|>")
        'hi< |im_end|>'
    """
    return without(control_tokens(tokenizer))


def without(tokens: list[str]) -> Callable[[str], str]:
    """The same for a list of control tokens; one of a single character has no inside, and stays."""
    spelled = sorted((re.escape(token) for token in tokens if len(token) > 1), key=len, reverse=True)
    if not spelled:
        return lambda text: text
    pattern = re.compile("|".join(spelled))
    return lambda text: pattern.sub(lambda token: f"{token[0][0]} {token[0][1:]}", text)


ROUNDED_TOLERANCE = 0.05  # of the spread of scores: what a body of 8 bits of mantissa makes of another batch
_UNBOUNDED = 10**9  # tokenizers without a limit of their own say 10**30
# encoders whose positions start behind the padding token's id
_SHIFTED_POSITIONS = {
    "camembert", "data2vec-text", "ibert", "longformer", "luke", "markuplm", "mpnet", "roberta", "roberta-prelayernorm",
    "xlm-roberta", "xlm-roberta-xl", "xmod",
}  # fmt: skip


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
    return path


def context_of(tokenizer: Any, config: Any) -> int | None:
    """Tokens the model can read, special tokens included; None: no limit is known."""
    text_config = config.get_text_config()
    positions = stated_context(config)
    if positions and text_config.model_type in _SHIFTED_POSITIONS:
        positions -= text_config.pad_token_id + 1
    limits = [limit for limit in (positions, tokenizer.model_max_length) if limit and limit < _UNBOUNDED]
    return min(limits, default=None)


def most_tokens(asked: int | None, context: int | None, path: Path) -> int | None:
    """Tokens of a text at most: what is asked for, or all the model can read.

    Raises:
        RewardError: more is asked for than the model can read.
    """
    if asked is not None and context is not None and asked > context:
        raise RewardError(f"{path} reads at most {context} tokens; lower max_length={asked}")
    return asked if asked is not None else context
