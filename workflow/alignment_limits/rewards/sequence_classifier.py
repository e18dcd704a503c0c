"""transformers sequence classifiers (reward models): the raw logit of one label.

Where comparable code goes wrong, and what is done here:

- Two BOS, the chat template's and the tokenizer's: the ids of the template are taken as they are, and one
  BOS is put before them only if the tokenizer would and the template did not.
- pad = EOS: decoders pool the last token that is not padding, so a reply that ends with EOS would be read
  one token early. Padding here is an id that no text can produce.
- bfloat16 heads give ties between different texts: the head is always float32.
- A checkpoint without a trained head loads with a random one and a warning: refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from alignment_limits.errors import RewardError
from alignment_limits.rewards.base import ItemReward, Scores
from alignment_limits.rewards.batching import in_batches
from alignment_limits.rewards.checkpoints import context_length, need_checkpoint, ready

Pair = tuple[str, str]  # prompt, reply

_HEADS = ("score", "classifier", "classification_head")
_BFLOAT16_TOLERANCE = 0.05  # of the spread of scores; 8 bits of mantissa through the body
_DATE = "26 Jul 2024"  # Llama's templates print today's date otherwise, and scores would change overnight


def load(
    folder: Path | None,
    *,
    device: str,
    text: str,
    sign: int,
    label: int,
    max_length: int | None = None,
    dtype: str = "float32",
    trust_remote_code: bool = False,
) -> ItemReward:
    """A reward whose score is the logit of `label`; never a sigmoid or softmax.

    Raises:
        RewardError: a file or the trained head is missing, there is no such label, the tokenizer has no chat
            template, or `max_length` exceeds what the model can read.
    """
    path = need_checkpoint(folder)
    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=trust_remote_code)
    model = _load_model(path, dtype, trust_remote_code)
    if label >= model.config.num_labels:
        raise RewardError(f"{path} has {model.config.num_labels} labels; label must be below that, not {label}")
    pad = _set_padding(model, tokenizer, path)
    model.config.use_cache = False
    model = ready(model, device)
    encode = encoder(tokenizer, text, _limit(max_length, context_length(tokenizer, model.config), path), path)

    def forward(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = model(input_ids=ids, attention_mask=mask).logits
        return logits[:, label : label + 1]

    def score_pairs(pairs: list[Pair]) -> Scores:
        encoded = [encode(prompt, reply) for prompt, reply in pairs]
        score = in_batches([ids for ids, _ in encoded], forward, pad=pad, device=device)[:, 0]
        return Scores(score, np.array([cut for _, cut in encoded], dtype=bool))

    tolerance = None if dtype == "float32" else _BFLOAT16_TOLERANCE
    return ItemReward(_pairs if text != "reply" else _replies_only, score_pairs, sign, tolerance)


def encoder(tokenizer: Any, text: str, limit: int | None, path: Path) -> Callable[[str, str], tuple[list[int], bool]]:
    """(prompt, reply) → token ids with exactly one BOS (if the model has one), and whether text was cut.

    Args:
        text: 'reply', 'prompt+reply' (joined) or 'chat' (the tokenizer's template).
        limit: most tokens; longer texts lose the beginning of the prompt, then of the reply.
        path: for messages.

    Raises:
        RewardError: no chat template, or (from the returned function) a template that fails, adds BOS twice
            or does not fit into `limit`.
    """
    bos = tokenizer.bos_token_id
    adds_bos = bos is not None and tokenizer("a")["input_ids"][:1] == [bos]

    def chat(prompt: str, reply: str) -> list[int]:
        messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": reply}]
        try:
            ids = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False, date_string=_DATE)
        except jinja2.TemplateError as error:
            raise RewardError(f"{path}: the chat template refuses a prompt and a reply: {error}") from error
        ids = [bos, *ids] if adds_bos and ids[:1] != [bos] else list(ids)
        _one_bos(ids, tokenizer, path)
        return ids

    def plain(prompt: str, reply: str) -> list[int]:
        ids: list[int] = tokenizer(prompt + reply, verbose=False)["input_ids"]
        own = adds_bos and ids[:2] == [bos, bos]  # the prompt brought its own, as chat-templated prompts do
        ids = ids[1:] if own else ids
        return ids or [tokenizer.eos_token_id]  # no BOS and an empty reply: all there is to read is its end

    render = chat if text == "chat" else plain
    if text == "chat" and not tokenizer.chat_template:
        raise RewardError(f"{path}: the tokenizer has no chat template; set `text: prompt+reply` or `text: reply`")

    def encode(prompt: str, reply: str) -> tuple[list[int], bool]:
        ids = render(prompt, reply)
        cut = False
        while limit is not None and len(ids) > limit:
            excess, cut = len(ids) - limit, True
            if prompt:
                prompt = drop_tokens(tokenizer, prompt, excess)
            elif reply:
                reply = drop_tokens(tokenizer, reply, excess)
            else:
                raise RewardError(f"{path}: the chat template alone takes {len(ids)} tokens; raise max_length={limit}")
            ids = render(prompt, reply)
        return ids, cut

    return encode


def drop_tokens(tokenizer: Any, text: str, count: int) -> str:
    """`text` without its first `count` tokens, at least one character shorter."""
    if not tokenizer.is_fast:  # no character offsets: keep a like share of the characters
        tokens = len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        return text[max(1, len(text) * count // max(1, tokens)) :]
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    offsets = encoded["offset_mapping"]
    return text[max(1, offsets[count][0]) :] if count < len(offsets) else ""


def _one_bos(ids: list[int], tokenizer: Any, path: Path) -> None:
    bos = tokenizer.bos_token_id
    if bos is None:
        return
    if ids[:2] == [bos, bos]:
        raise RewardError(f"{path}: the chat template puts two BOS tokens in front; mend chat_template")
    if bos != tokenizer.eos_token_id and ids.count(bos) > 1:
        raise RewardError(
            f"{path}: a prompt or reply holds a BOS token of its own, as prompts do that went through a chat "
            "template before; score the plain prompt, or set `text: prompt+reply`"
        )


def _load_model(path: Path, dtype: str, trust_remote_code: bool) -> Any:
    try:
        model, info = AutoModelForSequenceClassification.from_pretrained(
            path,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=trust_remote_code,
            dtype=getattr(torch, dtype),
            output_loading_info=True,
        )
    except (OSError, ValueError) as error:
        raise RewardError(f"{path} is not a sequence classifier transformers can load: {error}") from error
    if info["missing_keys"]:
        raise RewardError(
            f"{path} lacks trained weights for {', '.join(sorted(info['missing_keys'])[:4])}; it is no "
            "sequence classifier (a base model?), its scores would be random"
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


def _set_padding(model: Any, tokenizer: Any, path: Path) -> int:
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


def _limit(asked: int | None, context: int | None, path: Path) -> int | None:
    if asked is not None and context is not None and asked > context:
        raise RewardError(f"{path} reads at most {context} tokens; lower max_length={asked}")
    return asked if asked is not None else context


def _pairs(prompts: Sequence[str], replies: Sequence[str]) -> list[Pair]:
    return list(zip(prompts, replies, strict=True))


def _replies_only(prompts: Sequence[str], replies: Sequence[str]) -> list[Pair]:
    return [("", reply) for reply in replies]
