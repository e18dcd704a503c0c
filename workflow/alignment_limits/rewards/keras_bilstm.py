"""Keras text classifiers Embedding → BiLSTM → max over time → Dense(ReLU) → Dense(sigmoid), run in torch.

TensorFlow is not needed. Weights come from HDF5, the tokenizer from its pickle by an allow-list. Three details
are needed to reproduce Keras' numbers:

- The recurrent activation. Keras before 2.3 / tf.keras 1 saved LSTMs with `hard_sigmoid`, which
  torch.nn.LSTM does not have. It is read from the file's `model_config` (absent in weights-only files of
  Keras 3, whose LSTM uses `sigmoid`).
- Padding. Texts are left-padded with token 0 to 100 tokens, and nothing is masked. So the padding is part of the
  input of the backward LSTM, and a shorter padding would change the scores.
- Text cleaning. Both packages give raw text to the Keras tokenizer. tox-block also defines a stop-word
  remover, but its encoder does not contain it, and its predictions do not use it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from alignment_limits.errors import RewardError
from alignment_limits.files import reading
from alignment_limits.rewards.base import ItemReward, Scores, need_file, text_reward
from alignment_limits.rewards.unpickling import Global, Stub, load_pickle, tried_in_a_child

LENGTH = 100  # tokens, as both packages were trained
BATCH = 256

_ALLOWED: frozenset[Global] = frozenset(
    {("collections", "OrderedDict"), ("collections", "defaultdict"), ("builtins", "int")}
)
_STUBS: dict[Global, type] = {
    ("tox_block.data_processing.preprocessors", "TokenSequencer"): Stub,
    ("keras_preprocessing.text", "Tokenizer"): Stub,
    ("keras.preprocessing.text", "Tokenizer"): Stub,
    ("keras.src.preprocessing.text", "Tokenizer"): Stub,
    ("keras.src.legacy.preprocessing.text", "Tokenizer"): Stub,
}


@dataclass(frozen=True)
class KerasTokenizer:
    """The part of Keras' Tokenizer that turns a text into token ids.

    Attributes:
        index: word → id, only for words that have an embedding.
        oov: id of unknown words; None: they are skipped.
        separators: table for str.translate that maps filtered characters to `split`.
    """

    index: dict[str, int]
    oov: int | None
    lower: bool
    split: str
    separators: dict[int, str]

    def __call__(self, text: str) -> list[int]:
        words = (text.lower() if self.lower else text).translate(self.separators).split(self.split)
        ids = (self.index.get(word, self.oov) for word in words if word)
        return [i for i in ids if i is not None]


@dataclass(frozen=True)
class Weights:
    """Arrays of the classifier, float32; kernels as Keras stores them (inputs × outputs), gates i, f, c, o.

    Attributes:
        embedding: [V, E].
        forward, backward: kernel [E, 4H], recurrent kernel [H, 4H], bias [4H].
        hidden, output: kernel, bias.
        recurrent_activation: 'sigmoid', 'hard_sigmoid' (Keras 2) or 'hard_sigmoid_3' (Keras 3).
    """

    embedding: NDArray[np.float32]
    forward: list[NDArray[np.float32]]
    backward: list[NDArray[np.float32]]
    hidden: list[NDArray[np.float32]]
    output: list[NDArray[np.float32]]
    recurrent_activation: str


def load(
    folder: Path | None,
    *,
    device: str,
    text: str,
    sign: int,
    weights: str,
    tokenizer: str,
    label: int | None = None,
) -> ItemReward:
    """A reward whose score is the logit of output unit `label` (before the sigmoid).

    Raises:
        RewardError: a file is missing, unsafe or of another architecture, or there is no such label.
    """
    weights_file, words = need_file(folder, weights, "weights"), need_file(folder, tokenizer, "tokenizer")
    tried_in_a_child(weights_file, lambda: read_weights(weights_file))
    arrays = read_weights(weights_file)
    vocabulary = len(arrays.embedding)
    tried_in_a_child(words, lambda: read_tokenizer(words, vocabulary))
    tokenize = read_tokenizer(words, vocabulary)
    labels = len(arrays.output[1])
    if label is None and labels > 1:
        raise RewardError(
            f"{weights_file} has {labels} output units; say which of them is the reward: label: 0 … {labels - 1}"
        )
    label = label or 0
    if label >= labels:
        raise RewardError(f"{weights_file} has {labels} output units; label must be below that, not {label}")
    classify = _Classifier(arrays, device)

    def score_texts(texts: list[str]) -> Scores:
        ids = [tokenize(t) for t in texts]
        truncated = np.array([len(i) > LENGTH for i in ids], dtype=bool)
        return Scores(classify(_left_padded(ids))[:, label], truncated)

    return text_reward(text, sign, score_texts)


def read_tokenizer(path: Path, vocabulary: int) -> KerasTokenizer:
    """The tokenizer in a pickled Keras Tokenizer, or in tox-block's wrapper of one.

    Raises:
        RewardError: the file contains something else.
    """
    pickled = load_pickle(path, _ALLOWED, _STUBS)
    state: dict[str, Any] = getattr(getattr(pickled, "tokenizer", pickled), "__dict__", {})
    wanted = {"word_index", "num_words", "filters", "lower", "split", "oov_token"}
    if not wanted <= state.keys():
        raise RewardError(f"{path} is not a pickled Keras Tokenizer; name the right file in `tokenizer`")
    if state.get("char_level") or state.get("analyzer"):
        raise RewardError(f"{path} tokenizes by characters or by a custom function; only words are supported")
    index, unknown = state["word_index"], state["oov_token"]
    kinds = {"word_index": dict, "num_words": int | None, "filters": str, "split": str, "oov_token": str | None}
    wrong = [key for key, kind in kinds.items() if not isinstance(state[key], kind)]
    if wrong or not all(type(word) is str and type(i) is int and i >= 0 for word, i in index.items()):
        raise RewardError(f"{path}: {(wrong or ['word_index'])[0]} is not as in Keras' Tokenizer; refused")
    limit = min(state["num_words"] or vocabulary, vocabulary)
    return KerasTokenizer(
        index={word: i for word, i in index.items() if i < limit},
        oov=index.get(unknown) if unknown is not None else None,
        lower=bool(state["lower"]),
        split=state["split"],
        separators={ord(c): state["split"] for c in state["filters"]},
    )


def read_weights(path: Path) -> Weights:
    """Weights in either of Keras' HDF5 layouts: a complete Keras 2 model, or Keras 3 `.weights.h5`.

    Raises:
        RewardError: not HDF5, or not this architecture.
    """
    with reading(path, RewardError):
        return _weights(path)


def _weights(path: Path) -> Weights:
    with h5py.File(path, "r") as file:
        kept = [(name, value) for name, value in _datasets(file) if not name.startswith("optimizer")]
        arrays = {name: _plain(value, path) for name, value in kept}
        model_config = json.loads(file.attrs["model_config"]) if "model_config" in file.attrs else None
        version = str(file.attrs.get("keras_version", ""))
    groups: dict[str, list[NDArray[np.float32]]] = defaultdict(list)
    # In this order: kernel before recurrent kernel before bias, and dense before dense_1.
    for name in sorted(arrays, key=lambda n: (arrays[n].ndim == 1, len(n), n)):
        groups[_layer(name)].append(arrays[name])
    embedding = [a for layer, arrays in groups.items() if layer.startswith("embedding") for a in arrays]
    dense = [arrays for layer, arrays in groups.items() if layer.startswith("dense")]
    lstms = [groups["forward"], groups["backward"]]
    if [len(g) for g in (embedding, *lstms, *dense)] != [1, 3, 3, 2, 2]:
        raise RewardError(
            f"{path} is not an Embedding → BiLSTM → Dense → Dense classifier; it contains: {', '.join(sorted(arrays))}"
        )
    gate = _recurrent_activation(model_config, version, path)
    weights = Weights(embedding[0], lstms[0], lstms[1], dense[0], dense[1], gate)
    _check_shapes(weights, path)
    return weights


def _datasets(file: h5py.File) -> list[tuple[str, h5py.Dataset]]:
    found: list[tuple[str, h5py.Dataset]] = []
    file.visititems(lambda name, item: found.append((name, item)) if isinstance(item, h5py.Dataset) else None)
    return found


def _plain(dataset: h5py.Dataset, path: Path) -> NDArray[np.float32]:
    """A dataset's numbers, which must be in this file.

    Raises:
        RewardError: they are not numbers, are in another file, or are more than the file can contain.
    """
    if dataset.dtype.kind not in "fiu" or dataset.external or dataset.is_virtual:
        raise RewardError(f"{path}: {dataset.name} is not an array of numbers in this file; refused")
    if dataset.nbytes > max(2**26, 100 * path.stat().st_size):
        raise RewardError(f"{path}: {dataset.name} claims {dataset.nbytes:,} bytes, more than the file can contain")
    return np.asarray(dataset[()])


def _layer(name: str) -> str:
    """The layer of a dataset, from its path in either layout."""
    for direction in ("forward", "backward"):
        if f"/{direction}_" in name:
            return direction
    return name.split("/")[1]  # model_weights/<layer>/… or layers/<layer>/…


def _recurrent_activation(model_config: dict[str, Any] | None, keras_version: str, path: Path) -> str:
    if model_config is None:
        return "sigmoid"
    layers = {layer["class_name"]: layer["config"] for layer in model_config["config"]["layers"]}
    lstm = layers["Bidirectional"]["layer"]["config"]
    gate = str(lstm["recurrent_activation"])
    if gate not in ("sigmoid", "hard_sigmoid") or lstm["activation"] != "tanh":
        raise RewardError(f"{path}: LSTM activations {lstm['activation']}/{gate} are not supported")
    return "hard_sigmoid_3" if gate == "hard_sigmoid" and keras_version.startswith("3") else gate


def _check_shapes(w: Weights, path: Path) -> None:
    e, h = w.embedding.shape[1], w.forward[1].shape[0]
    lstm = [(e, 4 * h), (h, 4 * h), (4 * h,)]
    shapes = [a.shape for a in (*w.forward, *w.backward)]
    heads = w.hidden[0].shape[0] == 2 * h and w.output[0].shape[0] == w.hidden[0].shape[1]
    if shapes != lstm * 2 or not heads:
        raise RewardError(f"{path}: the arrays' shapes do not fit an Embedding → BiLSTM → Dense → Dense classifier")


def _left_padded(ids: list[list[int]]) -> NDArray[np.int64]:
    """[n, LENGTH]: the last LENGTH tokens of each text, zeros before them."""
    padded = np.zeros((len(ids), LENGTH), dtype=np.int64)
    for row, tokens in zip(padded, ids, strict=True):
        if tokens:
            row[-len(tokens[-LENGTH:]) :] = tokens[-LENGTH:]
    return padded


_GATES = {
    "sigmoid": torch.sigmoid,
    "hard_sigmoid": lambda x: (0.2 * x + 0.5).clamp(0, 1),
    "hard_sigmoid_3": lambda x: (x / 6 + 0.5).clamp(0, 1),
}


class _Classifier:
    """Token ids [n, LENGTH] → logits float64 [n, labels]."""

    def __init__(self, w: Weights, device: str) -> None:
        def tensors(arrays: list[NDArray[np.float32]]) -> list[torch.Tensor]:
            return [torch.from_numpy(np.ascontiguousarray(a)).float().to(device) for a in arrays]

        (self.embedding,) = tensors([w.embedding])
        self.directions = tensors(w.forward), tensors(w.backward)
        self.hidden, self.output = tensors(w.hidden), tensors(w.output)
        self.gate = _GATES[w.recurrent_activation]

    def __call__(self, ids: NDArray[np.int64]) -> NDArray[np.float64]:
        with torch.inference_mode():
            batches = torch.from_numpy(ids).split(BATCH)
            logits = torch.cat([self._logits(batch) for batch in batches])
        out: NDArray[np.float64] = logits.double().cpu().numpy()
        return out

    def _logits(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embedding[ids.to(self.embedding.device)]
        forward, backward = self.directions
        pooled = torch.cat([self._lstm_max(x, *forward), self._lstm_max(x.flip(1), *backward)], dim=1)
        hidden = torch.relu(pooled @ self.hidden[0] + self.hidden[1])
        return hidden @ self.output[0] + self.output[1]

    def _lstm_max(
        self, x: torch.Tensor, kernel: torch.Tensor, recurrent: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        """Maximum over time of an LSTM's outputs: [n, T, E] → [n, H]."""
        inputs = x @ kernel + bias
        h = c = torch.zeros(len(x), recurrent.shape[0], device=x.device)
        highest = torch.full_like(h, -torch.inf)
        for step in inputs.unbind(1):
            i, f, g, o = (step + h @ recurrent).chunk(4, dim=1)
            c = self.gate(f) * c + self.gate(i) * torch.tanh(g)
            h = self.gate(o) * torch.tanh(c)
            highest = torch.maximum(highest, h)
        return highest
