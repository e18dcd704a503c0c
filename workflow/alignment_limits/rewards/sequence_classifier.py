"""transformers sequence classifiers (reward models): the raw logit of one label, or a weighted sum of logits.

Four common errors in such code, and how they are avoided here:

- Two BOS tokens, from the chat template and the tokenizer. Here the template's ids are not changed. One BOS is
  added only if the tokenizer adds one and the template has none.
- pad = EOS. Decoders pool the last token that is not padding, so a reply that ends with EOS would be read
  one token early. Here padding is an id that no text can produce.
- bfloat16 heads give ties between different texts. Here the head is always float32.
- A checkpoint without a trained head loads with a random head and a warning. Here it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from alignment_limits.errors import RewardError
from alignment_limits.models.load import in_batches, load_classifier, ready
from alignment_limits.models.tokenizer import DATE, load_tokenizer
from alignment_limits.rewards.base import ItemReward, Scores, Turns, conversations, pairs
from alignment_limits.rewards.checkpoints import ROUNDED_TOLERANCE, context_of, encoder, most_tokens, need_checkpoint

Pair = tuple[str | Turns, str]  # prompt, reply

_HEADS = ("score", "classifier", "classification_head")


def load(
    folder: Path | None,
    *,
    device: str,
    text: str,
    sign: int,
    label: int | str | None = None,
    weights: Sequence[float] | None = None,
    wording: str | None = None,
    max_length: int | None = None,
    dtype: str = "float32",
    trust_remote_code: bool = False,
    date: str = DATE,
) -> ItemReward:
    """A reward whose score is the logit of `label`; never a sigmoid or softmax.

    Args:
        label: number or name of a label; not needed for a classifier with one label.
        weights: one for each label; the score is the weighted sum of the logits, and `label` is not used. [−1, 1] is
            the log-odds of the second of two classes. Heads with several objectives are added with these weights.
        wording: text around prompt and reply without a chat template; contains `{prompt}` and `{reply}`.
        date: the current day for the chat template.

    Raises:
        RewardError: a file or the trained head is missing, labels and settings do not fit, the tokenizer has no
            chat template, or `max_length` is more than the model can read.
    """
    path = need_checkpoint(folder)
    tokenizer = load_tokenizer(path, trust_remote_code)
    model = load_classifier(path, dtype=dtype, device=device, trust_remote_code=trust_remote_code)
    weigh = label_weights(model.config, label, weights, path)
    if dtype != "float32":
        _float32_head(model, path)
    pad = set_padding(model, tokenizer, path)
    model.config.use_cache = False
    model = ready(model)
    limit = most_tokens(max_length, context_of(tokenizer, model.config), path)
    encode = encoder(tokenizer, text, limit, path, wording=wording or "{prompt}{reply}", date=date)

    def forward(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = model(input_ids=ids, attention_mask=mask).logits
        return logits

    def score_pairs(items: list[Pair]) -> Scores:
        encoded = [encode(prompt, reply) for prompt, reply in items]
        score = in_batches([ids for ids, _ in encoded], forward, pad=pad, device=device) @ weigh
        return Scores(score, np.array([cut for _, cut in encoded], dtype=bool))

    tolerance = None if dtype == "float32" else ROUNDED_TOLERANCE
    readable = (lambda pair, _: encode(*pair)) if text == "chat" else None
    return ItemReward(what_is_read(text), score_pairs, sign, tolerance, readable=readable)


def what_is_read(text: str) -> Callable[[Sequence[str], Sequence[str]], list[Any]]:
    """(prompts, replies) → the items that `encoder` gets."""
    return {"chat": conversations, "reply": _replies_only}.get(text, pairs)


def label_weights(
    config: Any, label: int | str | None, weights: Sequence[float] | None, path: Path
) -> NDArray[np.float64]:
    """Weight of each label's logit [labels].

    Raises:
        RewardError: neither `label` nor `weights` selects from several labels, or the label does not exist.
    """
    count = int(config.num_labels)
    names = [str((config.id2label or {}).get(i, f"LABEL_{i}")) for i in range(count)]
    listed = ", ".join(f"{i}: {name}" for i, name in enumerate(names))
    if weights is not None:
        if len(weights) != count:
            raise RewardError(f"{path} has {count} labels ({listed}); give one weight for each, not {len(weights)}")
        return np.asarray(weights, dtype=np.float64)
    if label is None and count > 1:
        raise RewardError(
            f"{path} has {count} labels ({listed}); say which of them is the reward: label: <number or name>, or "
            "weights: [one for each] ([-1, 1] is the log-odds of the second of two)"
        )
    if isinstance(label, str):
        if names.count(label) != 1:
            found = "none of them" if label not in names else f"the name of {names.count(label)} of them"
            raise RewardError(f"{path} has {count} labels ({listed}); '{label}' is {found}: give label as a number")
        label = names.index(label)
    if (label or 0) >= count:
        raise RewardError(f"{path} has {count} labels ({listed}); label must be below that, not {label}")
    return np.asarray(np.eye(count)[label or 0])


def _float32_head(model: Any, path: Path) -> None:
    head = next((getattr(model, name) for name in _HEADS if hasattr(model, name)), None)
    if head is None:
        raise RewardError(f"{path}: the head of {type(model).__name__} is not known; set dtype: float32")
    head.float()

    def widen(_module: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return tuple(x.float() for x in inputs)

    head.register_forward_pre_hook(widen)


def set_padding(model: Any, tokenizer: Any, path: Path) -> int:
    """Choose the padding id and set it in the model; decoders get an id that no text can produce."""
    if not hasattr(model, "score"):  # encoders: only the mask matters, and some count positions by this id
        own = model.config.get_text_config().pad_token_id
        own = tokenizer.pad_token_id if own is None else own
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


def _replies_only(prompts: Sequence[str], replies: Sequence[str]) -> list[Pair]:
    return [("", reply) for reply in replies]
