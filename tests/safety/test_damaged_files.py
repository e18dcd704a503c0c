"""Damaged files of every kind that is read: one message with name and remedy, whatever a library raises."""

import shutil

import h5py
import joblib
import numpy as np
import onnx
import polars as pl
import pytest
from safetensors.numpy import save_file
from sklearn.feature_extraction.text import TfidfVectorizer

from alignment_limits.errors import AlignmentLimitsError
from alignment_limits.limits.streaming.sums import FrontierSums
from alignment_limits.models.fetch import convert
from alignment_limits.models.load import load_causal
from alignment_limits.models.tokenizer import load_tokenizer, stop_tokens
from alignment_limits.rewards.heads import read_head
from alignment_limits.rewards.keras_bilstm import read_weights
from alignment_limits.rewards.onnx_scorer import load as load_onnx
from alignment_limits.rewards.sklearn_scorer import load_joblib
from alignment_limits.rewards.words import load_static_encoder
from alignment_limits.tables.artifacts import read_table, write_table
from alignment_limits.tables.schemas.samples import SCORES
from alignment_limits.tables.streaming import read_part, write_sums


def halved(content):
    return content[: len(content) // 2]


def flipped(at):
    """A byte of the first two thousand, where headers are."""

    def damage(content):
        place = int(at * min(len(content), 2000))
        return content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :]

    return damage


DAMAGES = {
    "empty": lambda content: b"",
    "truncated": halved,
    "cut near its end": lambda content: content[:-3],
    "zeroed": lambda content: bytes(len(content)),
    "zeroed from the middle": lambda content: halved(content) + bytes(len(content) - len(content) // 2),
    "a page of the web": lambda content: b"<!doctype html><title>404</title>",
    "a list": lambda content: b"[1, 2]",
    "nothing, in JSON": lambda content: b"null",
    "a pointer of Git LFS": lambda content: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    "an endless header": lambda content: b"\xff" * 64,
    **{f"flipped at {at}": flipped(at) for at in (0.0, 0.002, 0.004, 0.03, 0.1, 0.3, 0.5, 0.9)},
}


@pytest.fixture(scope="module")
def files(tmp_path_factory, tiny_model):
    """A folder with a file of each kind."""
    folder = tmp_path_factory.mktemp("files")
    shutil.copytree(tiny_model, folder / "model")
    with h5py.File(folder / "w.h5", "w") as file:
        file["layers/embedding/vars/0"] = np.ones((5, 3), np.float32)
        file.attrs["keras_version"] = "3"
    joblib.dump(TfidfVectorizer().fit(["a word", "two words"]), folder / "v.joblib")
    scores = pl.DataFrame({"prompt_id": ["a"], "sample_id": [0], "score": [1.0], "truncated": [False]})
    write_table(scores, folder / "t.parquet", SCORES, {})
    write_sums(FrontierSums.empty(["rm"], np.array([1.0]), 0), folder / "p.npz", {})
    save_file({"weight": np.ones(3), "bias": np.ones(1)}, folder / "head.safetensors")
    save_file({"words": np.ones((300, 3))}, folder / "words.safetensors")
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    text = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.STRING, [None]) for name in "xy"]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", text[:1], text[1:])), folder / "m.onnx")
    from gguf import GGUFWriter

    (folder / "gguf").mkdir()
    writer = GGUFWriter(folder / "gguf/m.gguf", "llama")
    writer.add_block_count(1)
    writer.add_tensor("token_embd.weight", np.ones((4, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return folder


def static(folder):
    return load_static_encoder(folder, "words.safetensors", "model/tokenizer.json")


READERS = {
    "model/model.safetensors": lambda f: load_causal(f / "model"),
    "model/config.json": lambda f: (stop_tokens(f / "model", load_tokenizer(f / "model")), load_causal(f / "model")),
    "model/tokenizer.json": lambda f: (static(f), load_tokenizer(f / "model")),
    "model/tokenizer_config.json": lambda f: load_tokenizer(f / "model"),
    "gguf/m.gguf": lambda f: convert(f / "gguf", f / "out"),
    "w.h5": lambda f: read_weights(f / "w.h5"),
    "v.joblib": lambda f: load_joblib(f / "v.joblib"),
    "t.parquet": lambda f: read_table(f / "t.parquet", SCORES),
    "p.npz": lambda f: read_part(f / "p.npz"),
    "head.safetensors": lambda f: read_head(f / "head.safetensors"),
    "words.safetensors": static,
    "m.onnx": lambda f: load_onnx(f, device="cpu", text="reply", sign=1, model="m.onnx", label=1),
}


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_one_message(files, tmp_path, name):
    folder = tmp_path / "files"
    shutil.copytree(files, folder)
    whole = (files / name).read_bytes()
    for what, damage in DAMAGES.items():
        (folder / name).write_bytes(damage(whole))
        try:
            READERS[name](folder)
        except AlignmentLimitsError as error:
            message = str(error)
            assert str((folder / name).parent) in message, (what, message)
            if what in ("empty", "truncated", "zeroed", "a list", "a page of the web"):
                assert name.split("/")[-1] in message, (what, message)
            assert len(message) < 800, (what, message)
            assert "Traceback" not in message
        else:
            assert what.startswith(("flipped", "zeroed", "cut")) or name.endswith("_config.json"), f"{what} was read"
    assert not list(folder.glob("*.part"))
