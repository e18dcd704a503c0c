"""Pickles of other people: only what is on the list is ever imported or called."""

import os
import pickle

import joblib
import numpy as np
import pytest

from alignment_limits.errors import RewardError
from alignment_limits.rewards.keras_bilstm import read_tokenizer
from alignment_limits.rewards.sklearn_scorer import load_joblib


class Payload:
    def __init__(self, target: str) -> None:
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("reader", [lambda p: read_tokenizer(p, 10), load_joblib], ids=["pickle", "joblib"])
def test_a_payload_is_refused_and_does_not_run(tmp_path, reader):
    target, file = tmp_path / "ran", tmp_path / "bad.pkl"
    file.write_bytes(pickle.dumps({"x": Payload(str(target))}))
    with pytest.raises(RewardError, match=r"bad.pkl asks for (posix|nt).system .* refused"):
        reader(file)
    assert not target.exists()


def test_a_payload_hidden_in_an_array_of_objects_is_refused(tmp_path):
    target, file = tmp_path / "ran", tmp_path / "bad.joblib"
    joblib.dump(np.array([Payload(str(target))], dtype=object), file)
    with pytest.raises(RewardError, match="array of Python objects; refused"):
        load_joblib(file)
    assert not target.exists()


@pytest.mark.parametrize("name", ["builtins.eval", "builtins.getattr", "numpy.load", "joblib.load"])
def test_dangerous_globals_are_not_on_the_lists(tmp_path, name):
    module, _, attribute = name.rpartition(".")
    file = tmp_path / "bad.pkl"
    file.write_bytes(f"c{module}\n{attribute}\n.".encode())
    for reader in (lambda p: read_tokenizer(p, 10), load_joblib):
        with pytest.raises(RewardError, match="not on this reward's allow-list"):
            reader(file)


@pytest.mark.parametrize("content", [b"", b"not a pickle", b"\x80\x05\x95"])
def test_a_damaged_file_is_named(tmp_path, content):
    file = tmp_path / "broken.pkl"
    file.write_bytes(content)
    for reader in (lambda p: read_tokenizer(p, 10), load_joblib):
        with pytest.raises(RewardError, match=r"broken.pkl cannot be"):
            reader(file)
