"""ONNX text classifiers: one string input, class probabilities out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from alignment_limits.errors import RewardError
from alignment_limits.rewards.base import ItemReward, Scores, log_odds, need_file, text_reward, untruncated

BATCH = 512  # bag-of-words features are dense here: texts × vocabulary × 4 bytes


def load(
    folder: Path | None,
    *,
    device: str,
    text: str,
    sign: int,
    model: str,
    label: int,
) -> ItemReward:
    """A reward whose score is the log-odds of class `label`.

    Raises:
        RewardError: the file is missing or not an ONNX text classifier, or the class does not exist.
    """
    path = need_file(folder, model, "model")
    session = _session(path)
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(string)":
        found = ", ".join(f"{i.name}: {i.type}" for i in inputs)
        raise RewardError(f"{path} must take one string tensor, it takes {found}")
    shape = (-1, 1) if len(inputs[0].shape) == 2 else (-1,)

    def probabilities(texts: list[str]) -> NDArray[np.float64]:
        array = np.array(texts, dtype=object).reshape(shape)
        return _as_matrix(session.run(None, {inputs[0].name: array})[-1], path)

    classes = probabilities(["a", "b"]).shape[1]
    if not 0 <= label < classes:
        raise RewardError(f"{path} has {classes} classes; label must be in 0 … {classes - 1}, not {label}")

    def score_texts(texts: list[str]) -> Scores:
        p = np.concatenate([probabilities(texts[i : i + BATCH]) for i in range(0, len(texts), BATCH)])
        others = np.delete(p, label, axis=1).sum(axis=1)
        return untruncated(log_odds(p[:, label], others))

    return text_reward(text, sign, score_texts)


def _session(path: Path) -> Any:
    try:
        model = onnx.load(str(path))
        for node in model.graph.node:
            if node.op_type == "StringNormalizer":  # its default, en_US.UTF-8, is not installed on many machines
                kept = [a for a in node.attribute if a.name != "locale"]
                del node.attribute[:]
                node.attribute.extend([*kept, onnx.helper.make_attribute("locale", "C")])
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # protobuf and onnxruntime raise their own types
        raise RewardError(f"{path} cannot be loaded as an ONNX model: {error}") from error


def _as_matrix(output: Any, path: Path) -> NDArray[np.float64]:
    """[n, classes] from a tensor, or from the list of {class: probability} that scikit-learn exports give."""
    if isinstance(output, list) and output and isinstance(output[0], dict):
        output = [list(row.values()) for row in output]
    matrix = np.asarray(output, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] < 2 or not np.allclose(matrix.sum(axis=1), 1, atol=1e-3):
        raise RewardError(f"{path}: the last output must contain probabilities of two classes or more, summing to 1")
    return matrix
