"""Static word embeddings: a text is the mean of its tokens' vectors, whatever their order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alignment_limits.errors import RewardError
from alignment_limits.files import reading
from alignment_limits.rewards.base import need_file
from alignment_limits.rewards.checkpoints import without


def load_static_encoder(
    folder: Path | None, weights: str, tokenizer: str
) -> Callable[[list[str]], tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    """Texts → unit vectors float64 [n, d] (zero for a text without a known token), and False for each.

    Args:
        weights: safetensors file inside the folder with one matrix (tokens × d).
        tokenizer: tokenizers' JSON file inside the folder.

    Raises:
        RewardError: a file is missing, or the matrix does not fit the tokenizer.
    """
    from safetensors import safe_open
    from tokenizers import Tokenizer

    path = need_file(folder, weights, "static.weights")
    with reading(path, RewardError), safe_open(path, "pt") as file:
        names = list(file.keys())
        if len(names) != 1:
            raise RewardError(f"{path} holds {len(names)} arrays; static embeddings are one matrix")
        matrix = file.get_tensor(names[0]).double().numpy()
    words = need_file(folder, tokenizer, "static.tokenizer")
    with reading(words, RewardError):
        tokens = Tokenizer.from_file(str(words))
    plain = without([t.content for t in tokens.get_added_tokens_decoder().values() if t.special])
    tokens.no_padding()
    tokens.no_truncation()
    if matrix.ndim != 2 or tokens.get_vocab_size() > len(matrix):
        raise RewardError(f"{path}: {matrix.shape} vectors for {tokens.get_vocab_size()} tokens")

    def encode(texts: list[str]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        out = np.zeros((len(texts), matrix.shape[1]))
        for row, encoded in enumerate(tokens.encode_batch([plain(text) for text in texts], add_special_tokens=False)):
            if encoded.ids:
                mean = matrix[encoded.ids].mean(axis=0)
                out[row] = mean / max(float(np.linalg.norm(mean)), 1e-12)
        return out, np.zeros(len(texts), dtype=bool)

    return encode
