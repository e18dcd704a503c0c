"""transformers sequence classifiers (reward models): the raw logit of one label, or a weighted sum of logits.

Where comparable code goes wrong, and what is done here:

- Two BOS, the chat template's and the tokenizer's: the ids of the template are taken as they are, and one
  BOS is put before them only if the tokenizer would and the template did not.
- pad = EOS: decoders pool the last token that is not padding, so a reply that ends with EOS would be read
  one token early. Padding here is an id that no text can produce.
- bfloat16 heads give ties between different texts: the head is always float32.
- A checkpoint without a trained head loads with a random one and a warning: refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from alignment_limits.errors import RewardError
from alignment_limits.rewards.base import ItemReward, Scores, pairs
from alignment_limits.rewards.batching import in_batches
from alignment_limits.rewards.checkpoints import context_length, load_trained, need_checkpoint, ready
from alignment_limits.rewards.conversation import encoder

Pair = tuple[str, str]  # prompt, reply

_HEADS = ("score", "classifier", "classification_head")
_BFLOAT16_TOLERANCE = 0.05  # of the spread of scores; 8 bits of mantissa through the body


def load(
    folder: Path | None,
    *,
    device: str,
    text: str,
    sign: int,
    label: int = 0,
    weights: Sequence[float] | None = None,
    wording: str | None = None,
    max_length: int | None = None,
    dtype: str = "float32",
    trust_remote_code: bool = False,
) -> ItemReward:
    """A reward whose score is the logit of `label`; never a sigmoid or softmax.

    Args:
        weights: one for each label; the score is then the weighted sum of the logits: [−1, 1] is the log-odds of
            the second of two classes, and heads with several objectives are weighed by it. `label` is not used.
        wording: around prompt and reply where there is no chat template, `{prompt}` and `{reply}` in it.

    Raises:
        RewardError: a file or the trained head is missing, labels and settings do not fit, the tokenizer has no
            chat template, or `max_length` exceeds what the model can read.
    """
    path = need_checkpoint(folder)
    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=trust_remote_code)
    model = _load_model(path, dtype, trust_remote_code)
    labels = model.config.num_labels
    if weights is None and label >= labels:
        raise RewardError(f"{path} has {labels} labels; label must be below that, not {label}")
    if weights is not None and len(weights) != labels:
        raise RewardError(f"{path} has {labels} labels; give one weight for each, not {len(weights)}")
    weigh = np.eye(labels)[label] if weights is None else np.asarray(weights, dtype=np.float64)
    pad = set_padding(model, tokenizer, path)
    model.config.use_cache = False
    model = ready(model, device)
    limit = most_tokens(max_length, context_length(tokenizer, model.config), path)
    encode = encoder(tokenizer, text, limit, path, wording=wording or "{prompt}{reply}")

    def forward(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = model(input_ids=ids, attention_mask=mask).logits
        return logits

    def score_pairs(items: list[Pair]) -> Scores:
        encoded = [encode(prompt, reply) for prompt, reply in items]
        score = in_batches([ids for ids, _ in encoded], forward, pad=pad, device=device) @ weigh
        return Scores(score, np.array([cut for _, cut in encoded], dtype=bool))

    tolerance = None if dtype == "float32" else _BFLOAT16_TOLERANCE
    return ItemReward(pairs if text != "reply" else _replies_only, score_pairs, sign, tolerance)


def _load_model(path: Path, dtype: str, trust_remote_code: bool) -> Any:
    lacking = "no sequence classifier (a base model?), its scores would be random"
    model = load_trained(
        AutoModelForSequenceClassification, path, dtype, trust_remote_code, kind="sequence classifier", lacking=lacking
    )
    if dtype != "float32":
        _float32_head(model, path)
    return model


def _float32_head(model: Any, path: Path) -> None:
    head = next((getattr(model, name) for name in _HEADS if hasattr(model, name)), None)
    if head is None:
        raise RewardError(f"{path}: {type(model).__name__} has no known head to keep in float32; set dtype: float32")
    head.float()

    def widen(_module: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return tuple(x.float() for x in inputs)

    head.register_forward_pre_hook(widen)


def set_padding(model: Any, tokenizer: Any, path: Path) -> int:
    """Choose the padding id and tell the model; decoders get one that no text can produce."""
    own = tokenizer.pad_token_id
    if not hasattr(model, "score"):  # encoders: the mask alone decides, and some count positions by this id
        if own is None:
            raise RewardError(f"{path}: the tokenizer has no padding token; add the one the model was trained with")
        return int(own)
    rows = model.get_input_embeddings().num_embeddings
    unused = max(tokenizer.get_vocab().values()) + 1
    if unused >= rows:  # no spare row; padding is masked, so the new row's values never matter
        model.resize_token_embeddings(unused + 1, mean_resizing=False)
    for config in {id(c): c for c in (model.config, model.config.get_text_config())}.values():
        config.pad_token_id = unused
    return unused


def most_tokens(asked: int | None, context: int | None, path: Path) -> int | None:
    """Tokens of a text at most: what is asked for, or all the model can read."""
    if asked is not None and context is not None and asked > context:
        raise RewardError(f"{path} reads at most {context} tokens; lower max_length={asked}")
    return asked if asked is not None else context


def _replies_only(prompts: Sequence[str], replies: Sequence[str]) -> list[Pair]:
    return [("", reply) for reply in replies]
