"""ONNX scorers: a bag of words with a linear head, built node by node."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from alignment_limits.errors import RewardError
from alignment_limits.rewards.load import load_reward

VOCABULARY = ["bad", "day", "good", "kind"]
COEFFICIENTS = np.array([[1.5, 0.1, -1.0, -2.0], [0.3, 0.0, 0.2, 0.1], [-2.0, 0.2, 1.0, 1.5]], dtype="float32")
INTERCEPTS = np.array([-0.5, 0.1, 0.4], dtype="float32")
SPEC = {"kind": "onnx", "model": "m.onnx", "label": 0, "text": "reply", "sign": -1}
TEXTS = ["Good day", "a bad, bad DAY", "", "kind words, good words", "Grüße 😀"]


def _model(zipmap: bool, locale: str | None = None) -> onnx.ModelProto:
    ml, ms = "ai.onnx.ml", "com.microsoft"
    extra = {"locale": locale} if locale else {}
    nodes = [
        helper.make_node(
            "StringNormalizer", ["text"], ["low"], case_change_action="LOWER", is_case_sensitive=0, **extra
        ),
        helper.make_node(
            "Tokenizer", ["low"], ["words"], domain=ms, mark=0, mincharnum=1, pad_value="#", tokenexp="[a-z]+"
        ),
        helper.make_node(
            "TfIdfVectorizer",
            ["words"],
            ["counts"],
            mode="TF",
            min_gram_length=1,
            max_gram_length=1,
            max_skip_count=0,
            ngram_counts=[0],
            ngram_indexes=list(range(4)),
            pool_strings=VOCABULARY,
        ),
        helper.make_node(
            "LinearClassifier",
            ["counts"],
            ["label", "p"],
            domain=ml,
            classlabels_ints=[0, 1, 2],
            coefficients=COEFFICIENTS.ravel().tolist(),
            intercepts=INTERCEPTS.tolist(),
            multi_class=1,
            post_transform="SOFTMAX",
        ),
    ]
    output = helper.make_tensor_value_info("p", TensorProto.FLOAT, [None, 3])
    if zipmap:
        nodes.append(helper.make_node("ZipMap", ["p"], ["maps"], domain=ml, classlabels_int64s=[0, 1, 2]))
        map_type = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
        output = helper.make_value_info("maps", helper.make_sequence_type_proto(map_type))
    outputs = [helper.make_tensor_value_info("label", TensorProto.INT64, [None]), output]
    inputs = [helper.make_tensor_value_info("text", TensorProto.STRING, [None])]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(ml, 3), helper.make_opsetid(ms, 1)]
    return helper.make_model(helper.make_graph(nodes, "g", inputs, outputs), opset_imports=opsets, ir_version=9)


@pytest.mark.parametrize("zipmap", [True, False])
@pytest.mark.parametrize("label", [0, 2])
def test_scores_are_log_odds_of_the_class(tmp_path, zipmap, label):
    onnx.save(_model(zipmap), str(tmp_path / "m.onnx"))
    scores = load_reward(SPEC | {"label": label, "sign": 1}, tmp_path).score([""] * 5, TEXTS)
    counts = [[t.lower().replace(",", "").split().count(w) for w in VOCABULARY] for t in TEXTS]
    logits = np.array(counts) @ COEFFICIENTS.T + INTERCEPTS
    others = np.delete(logits, label, axis=1)
    expected = logits[:, label] - np.log(np.exp(others).sum(axis=1))  # log p/(1−p) of a softmax
    np.testing.assert_allclose(scores.score, expected, rtol=1e-5, atol=1e-6)


def test_a_locale_the_machine_lacks_is_no_obstacle(tmp_path):
    onnx.save(_model(True, locale="xx_XX.UTF-8"), str(tmp_path / "m.onnx"))
    assert np.isfinite(load_reward(SPEC, tmp_path).score([""] * 5, TEXTS).score).all()


def test_bad_models_and_labels_are_refused(tmp_path):
    with pytest.raises(RewardError, match=r"m.onnx is missing \(model: m.onnx\); the folder contains: nothing"):
        load_reward(SPEC, tmp_path)
    onnx.save(_model(True), str(tmp_path / "m.onnx"))
    with pytest.raises(RewardError, match="has 3 classes; label must be in 0 … 2, not 3"):
        load_reward(SPEC | {"label": 3}, tmp_path)
    (tmp_path / "m.onnx").write_bytes(b"no model")
    with pytest.raises(RewardError, match=r"m.onnx cannot be loaded as an ONNX model"):
        load_reward(SPEC, tmp_path)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 2])
    graph = helper.make_graph([helper.make_node("Softmax", ["x"], ["y"])], "g", [x], [y])
    numeric = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(numeric, str(tmp_path / "m.onnx"))
    with pytest.raises(RewardError, match=r"must take one string tensor, it takes x: tensor\(float\)"):
        load_reward(SPEC, tmp_path)
