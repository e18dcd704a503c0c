"""Sentence-embedding rewards: similarity of a text to good prototypes minus similarity to bad ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel

from alignment_limits.errors import RewardError
from alignment_limits.models.load import in_batches, load_model, ready
from alignment_limits.models.tokenizer import load_tokenizer
from alignment_limits.rewards.base import ItemReward, Scores, text_reward
from alignment_limits.rewards.checkpoints import as_text, context_of, need_checkpoint

Encoder = Callable[[list[str]], tuple[NDArray[np.float64], NDArray[np.bool_]]]


def load(
    folder: Path | None,
    *,
    device: str,
    text: str,
    sign: int,
    toward: list[str],
    away: list[str],
) -> ItemReward:
    """A reward in cosine units, [−2, 2]: max cosine to `toward` minus max cosine to `away`.

    Raises:
        RewardError: the folder is not a mean-pooled transformers encoder.
    """
    # where prompt and reply are one text, its end (the reply) must not be truncated
    encode = load_encoder(folder, device, truncation_side="left" if text == "prompt+reply" else "right")
    good, _ = encode(list(toward))
    bad = encode(list(away))[0] if away else None

    def score_texts(texts: list[str]) -> Scores:
        embedded, truncated = encode(texts)
        score = (embedded @ good.T).max(axis=1)
        if bad is not None:
            score = score - (embedded @ bad.T).max(axis=1)
        return Scores(score, truncated)

    return text_reward(text, sign, score_texts)


def load_encoder(folder: Path | None, device: str, truncation_side: str = "right") -> Encoder:
    """Texts → unit vectors float64 [n, d] (mean over tokens) and which texts were truncated [n].

    Raises:
        RewardError: config.json or the weights are missing, or the encoder is not mean-pooled.
    """
    path = need_checkpoint(folder)
    _refuse_other_pooling(path)
    tokenizer = load_tokenizer(path, truncation_side=truncation_side)
    if tokenizer.pad_token_id is None:
        raise RewardError(f"{path}: the tokenizer has no padding token; this does not look like an encoder")
    model = ready(load_model(AutoModel, path, device=device, what="encoder", unread=("pooler.",)))
    limit = _context(path, context_of(tokenizer, model.config))
    plain = as_text(tokenizer)

    def forward(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state.double()
        weight = mask.unsqueeze(-1).double()
        return torch.nn.functional.normalize((hidden * weight).sum(1) / weight.sum(1), dim=1)

    def encode(texts: list[str]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        texts = [plain(text) for text in texts]
        ids = tokenizer(texts, truncation=False, padding=False, verbose=False)["input_ids"]
        truncated = np.array([limit is not None and len(i) > limit for i in ids], dtype=bool)
        for row in np.flatnonzero(truncated):
            ids[row] = tokenizer(texts[row], truncation=True, max_length=limit)["input_ids"]
        # if a tokenizer adds no special tokens, an empty text has no token, and the mean would be NaN
        ids = [i or [tokenizer.pad_token_id] for i in ids]
        return in_batches(ids, forward, pad=tokenizer.pad_token_id, device=device), truncated

    return encode


def _context(path: Path, limit: int | None) -> int | None:
    """Number of tokens that the encoder reads: the setting of sentence-transformers, within the model's limit."""
    file = path / "sentence_bert_config.json"
    told = json.loads(file.read_text("utf-8")).get("max_seq_length") if file.is_file() else None
    return min((n for n in (told, limit) if n), default=None)


def _refuse_other_pooling(path: Path) -> None:
    file = path / "1_Pooling" / "config.json"
    if file.is_file() and not json.loads(file.read_text("utf-8")).get("pooling_mode_mean_tokens", True):
        raise RewardError(f"{file} asks for another pooling than the mean over tokens; only the mean is supported")
