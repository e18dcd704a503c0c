"""The Keras BiLSTM in torch against a NumPy LSTM written from Keras' equations."""

import json
import pickle
import sys
import types
from collections import OrderedDict, defaultdict
from pathlib import Path

import h5py
import numpy as np
import pytest

from alignment_limits.errors import RewardError
from alignment_limits.rewards.keras_bilstm import LENGTH, read_tokenizer, read_weights
from alignment_limits.rewards.load import load_reward

V, E, H, D, LABELS = 12, 3, 4, 5, 2
WORDS = ["the", "to", "of", "kind", "rude", "day", "good", "bad", "you", "are", "rare", "rarer", "rarest"]
TEXTS = [
    "The good, kind day!",
    "you are RUDE",
    "",
    "rare rarer rarest day",
    "unknown words only",
    "bad " * 130,
]


def _arrays(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = {
        "embedding": [(V, E)],
        "forward": [(E, 4 * H), (H, 4 * H), (4 * H,)],
        "backward": [(E, 4 * H), (H, 4 * H), (4 * H,)],
        "dense": [(2 * H, D), (D,)],
        "dense_1": [(D, LABELS), (LABELS,)],
    }
    return {k: [rng.normal(size=s).astype("float32") for s in v] for k, v in shapes.items()}


def _write_keras2(path: Path, arrays: dict, gate: str, version: str = "2.2.4-tf") -> None:
    layers = [
        {
            "class_name": "Bidirectional",
            "config": {"layer": {"config": {"activation": "tanh", "recurrent_activation": gate}}},
        }
    ]
    with h5py.File(path, "w") as f:
        f.attrs["model_config"] = json.dumps({"config": {"layers": layers}})
        f.attrs["keras_version"] = version
        f["model_weights/embedding/embedding/embeddings:0"] = arrays["embedding"][0]
        for d in ("forward", "backward"):
            for name, a in zip(("kernel:0", "recurrent_kernel:0", "bias:0"), arrays[d], strict=True):
                f[f"model_weights/bidirectional/bidirectional/{d}_lstm/{name}"] = a
        for layer in ("dense", "dense_1"):
            for name, a in zip(("kernel:0", "bias:0"), arrays[layer], strict=True):
                f[f"model_weights/{layer}/{layer}/{name}"] = a
        f["optimizer_weights/Adam/Variable:0"] = np.zeros((V, E))


def _write_keras3(path: Path, arrays: dict) -> None:
    with h5py.File(path, "w") as f:
        f["layers/embedding/vars/0"] = arrays["embedding"][0]
        for d in ("forward", "backward"):
            for i, a in enumerate(arrays[d]):
                f[f"layers/bidirectional/{d}_layer/cell/vars/{i}"] = a
        for layer in ("dense", "dense_1"):
            for i, a in enumerate(arrays[layer]):
                f[f"layers/{layer}/vars/{i}"] = a
        f["optimizer/vars/0"] = np.zeros((V, E))


def _write_tokenizer(path: Path, *, wrapped: bool, **changes) -> None:
    """A pickle as Keras makes it, from a stand-in module that is gone again when it is read."""
    module = types.ModuleType("keras_preprocessing.text")
    module.Tokenizer = type("Tokenizer", (), {"__module__": "keras_preprocessing.text"})
    outer = types.ModuleType("tox_block.data_processing.preprocessors")
    outer.TokenSequencer = type("TokenSequencer", (), {"__module__": outer.__name__})
    names = ("keras_preprocessing", "tox_block", "tox_block.data_processing")
    stand_ins = {name: types.ModuleType(name) for name in names} | {m.__name__: m for m in (module, outer)}
    tokenizer = module.Tokenizer()
    tokenizer.__dict__.update(
        word_index={w: i for i, w in enumerate(WORDS, start=1)},
        word_counts=OrderedDict(the=1),
        word_docs=defaultdict(int, the=1),
        num_words=V,
        filters='!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n',
        lower=True,
        split=" ",
        oov_token=None,
        char_level=False,
    )
    tokenizer.__dict__.update(changes)
    pickled = outer.TokenSequencer() if wrapped else tokenizer
    if wrapped:
        pickled.tokenizer = tokenizer
    with pytest.MonkeyPatch.context() as patch:
        for name, m in stand_ins.items():
            patch.setitem(sys.modules, name, m)
        path.write_bytes(pickle.dumps(pickled, protocol=4))


def _reference(text: str, a: dict, hard: float, label: int) -> tuple[float, bool]:
    """Logit in float64, one word and one time step at a time; `hard`: the slope of a hard sigmoid, 0: a plain one."""
    cleaned = "".join(" " if c in '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n' else c for c in text.lower())
    ids = [WORDS.index(w) + 1 for w in cleaned.split(" ") if w in WORDS and WORDS.index(w) + 1 < V]
    padded = [0] * (LENGTH - len(ids)) + ids[-LENGTH:]

    def gate(x):
        return np.clip(hard * x + 0.5, 0, 1) if hard else 1 / (1 + np.exp(-x))

    def run(steps, kernel, recurrent, bias):
        h, c, out = np.zeros(H), np.zeros(H), []
        for i in steps:
            z = a["embedding"][0][i].astype("float64") @ kernel + h @ recurrent + bias
            zi, zf, zg, zo = z[:H], z[H : 2 * H], z[2 * H : 3 * H], z[3 * H :]
            c = gate(zf) * c + gate(zi) * np.tanh(zg)
            h = gate(zo) * np.tanh(c)
            out.append(h)
        return np.max(out, axis=0)

    pooled = np.concatenate([run(padded, *a["forward"]), run(padded[::-1], *a["backward"])])
    hidden = np.maximum(pooled @ a["dense"][0] + a["dense"][1], 0)
    return float((hidden @ a["dense_1"][0] + a["dense_1"][1])[label]), len(ids) > LENGTH


def _spec(**changes) -> dict:
    spec = {
        "kind": "keras-bilstm",
        "weights": "w.h5",
        "tokenizer": "t.pkl",
        "label": 0,
        "text": "reply",
        "sign": 1,
    }
    return spec | changes


@pytest.mark.parametrize("layout", ["keras 2 hard_sigmoid", "keras 2 sigmoid", "keras 3", "keras 3 hard_sigmoid"])
@pytest.mark.parametrize("label", [0, 1])
def test_logits_equal_a_numpy_lstm(tmp_path, layout, label):
    arrays, hard = _arrays(), {"keras 2 hard_sigmoid": 0.2, "keras 3 hard_sigmoid": 1 / 6}.get(layout, 0.0)
    if layout == "keras 3":
        _write_keras3(tmp_path / "w.h5", arrays)
    else:
        version = "3.1.0" if layout.startswith("keras 3") else "2.2.4-tf"
        _write_keras2(tmp_path / "w.h5", arrays, layout.split()[-1], version)
    _write_tokenizer(tmp_path / "t.pkl", wrapped=layout != "keras 3")
    scores = load_reward(_spec(label=label), tmp_path).score([""] * len(TEXTS), TEXTS)
    expected, truncated = zip(*(_reference(t, arrays, hard, label) for t in TEXTS), strict=True)
    np.testing.assert_allclose(scores.score, expected, rtol=2e-6, atol=2e-6)
    np.testing.assert_array_equal(scores.truncated, truncated)
    assert scores.truncated.sum() == 1


def test_the_recurrent_activation_changes_scores(tmp_path):
    """Guards the guard: a port with the wrong gate would be noticed by the test above."""
    arrays = _arrays()
    assert abs(_reference(TEXTS[0], arrays, 0.2, 0)[0] - _reference(TEXTS[0], arrays, 0.0, 0)[0]) > 0.01


def test_scores_do_not_depend_on_batch_or_order(tmp_path):
    _write_keras3(tmp_path / "w.h5", _arrays())
    _write_tokenizer(tmp_path / "t.pkl", wrapped=False)
    reward = load_reward(_spec(), tmp_path)
    texts = [" ".join(np.random.default_rng(i).choice(WORDS, size=i % 40)) for i in range(300)]  # > one batch
    together = reward.score([""] * 300, texts).score
    np.testing.assert_allclose(reward.score([""] * 300, texts[::-1]).score[::-1], together, rtol=1e-5, atol=1e-6)
    alone = [reward.score([""], [t]).score[0] for t in texts[::37]]
    np.testing.assert_allclose(alone, together[::37], rtol=1e-5, atol=1e-6)


def test_keras_tokenizer_rules(tmp_path):
    _write_tokenizer(tmp_path / "t.pkl", wrapped=False)
    tokenize = read_tokenizer(tmp_path / "t.pkl", vocabulary=V)
    assert tokenize("The\tGOOD-day, unknown; rarer rarest") == [1, 7, 6]  # ids from num_words on are unknown
    _write_tokenizer(tmp_path / "t.pkl", wrapped=False, oov_token="the")
    assert read_tokenizer(tmp_path / "t.pkl", vocabulary=V)("day unknown rarest") == [6, 1, 1]


def test_what_is_not_a_word_tokenizer_is_refused(tmp_path):
    file = tmp_path / "t.pkl"
    file.write_bytes(pickle.dumps({"word_index": {}}))
    with pytest.raises(RewardError, match="not a pickled Keras Tokenizer"):
        read_tokenizer(file, V)
    _write_tokenizer(file, wrapped=False, char_level=True)
    with pytest.raises(RewardError, match="only words are supported"):
        read_tokenizer(file, V)


def test_bad_weights_are_refused_with_the_file_named(tmp_path):
    file = tmp_path / "w.h5"
    file.write_bytes(b"no HDF5")
    with pytest.raises(RewardError, match=r"w.h5 cannot be read"):
        read_weights(file)
    arrays = _arrays()
    with h5py.File(file, "w") as f:
        f["layers/dense/vars/0"] = np.zeros((2, 2))
    message = r"is not an Embedding → BiLSTM → Dense → Dense classifier; it contains: layers"
    with pytest.raises(RewardError, match=message):
        read_weights(file)
    arrays["dense"][0] = np.zeros((2 * H + 1, D), dtype="float32")
    _write_keras3(file, arrays)
    with pytest.raises(RewardError, match="shapes do not fit"):
        read_weights(file)
    _write_keras2(file, _arrays(), "relu")
    with pytest.raises(RewardError, match="tanh/relu are not supported"):
        read_weights(file)


def test_a_label_the_model_does_not_have_is_refused(tmp_path):
    _write_keras3(tmp_path / "w.h5", _arrays())
    _write_tokenizer(tmp_path / "t.pkl", wrapped=False)
    with pytest.raises(RewardError, match="has 2 output units; label must be below that, not 2"):
        load_reward(_spec(label=2), tmp_path)
    with pytest.raises(RewardError, match="has 2 output units; say which of them is the reward: label: 0 … 1"):
        load_reward(_spec(label=None), tmp_path)
