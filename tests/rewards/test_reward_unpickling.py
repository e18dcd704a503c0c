"""Pickles of other people: only what is on the list is ever imported or called."""

import os
import pickle

import joblib
import numpy as np
import pytest

from alignment_limits.errors import RewardError
from alignment_limits.rewards.keras_bilstm import read_tokenizer
from alignment_limits.rewards.sklearn_scorer import load_joblib
from alignment_limits.rewards.unpickling import tried_in_a_child


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
    with pytest.raises(RewardError, match=r"bad.joblib contains an array of Python objects.*; refused"):
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


# Pickles in their own words, as the pickle module itself would not write them: a global, a call, a state.
GLOBAL, REDUCE, BUILD, STOP = (lambda m, n: f"c{m}\n{n}\n".encode()), b"R", b"b", b"."
TWO, ONE_TWO_THREE = b"\x80\x02", lambda *parts: b"(" + b"".join(parts) + b"t"


def text(value):
    raw = value.encode()
    return b"X" + len(raw).to_bytes(4, "little") + raw


def number(value):
    return f"I{value}\n".encode()


def raw(content):
    return b"\x8e" + len(content).to_bytes(8, "little") + content


NONE, TRUE, FALSE, EMPTY = b"N", b"I01\n", b"I00\n", b")"
DTYPE = GLOBAL("numpy", "dtype")


def dtype(name, state=None):
    made = DTYPE + ONE_TWO_THREE(text(name), FALSE, TRUE) + REDUCE
    return made + state + BUILD if state else made


def of_dtype(fields=NONE, names=NONE, size=-1, alignment=-1, flags=0, order="|"):
    more = (number(x) for x in (size, alignment, flags))
    return ONE_TWO_THREE(number(3), text(order), NONE, names, fields, *more)


def array(shape, kind, content, version=1):
    begun = GLOBAL("numpy._core.multiarray", "_reconstruct") + ONE_TWO_THREE(
        GLOBAL("numpy", "ndarray"), ONE_TWO_THREE(number(0)), raw(b"b")
    )
    return begun + REDUCE + ONE_TWO_THREE(number(version), shape, kind, FALSE, content) + BUILD


FIELDS = b"}" + text("a") + ONE_TWO_THREE(dtype("O8"), number(0)) + b"s"
NUMBERS = b"}" + text("a") + ONE_TWO_THREE(dtype("f8"), number(0)) + b"s"
DEEP = b"(" * 400_000 + b"t" * 400_000
CRAFTED = {
    "objects rebuilt without their flag": dtype("V8", of_dtype(FIELDS, ONE_TWO_THREE(text("a")), 8, 1, 0)),
    "objects in a plain dtype's fields": dtype("f8", of_dtype(FIELDS, ONE_TWO_THREE(text("a")), 8, 8, 0)),
    "fields of numbers beyond the size": dtype("f8", of_dtype(NUMBERS, ONE_TWO_THREE(text("a")), 8, 8, 0)),
    "a plain dtype of another size": dtype("f8", of_dtype(size=1 << 30, alignment=8, order="<")),
    "a dtype of objects": dtype("O8", of_dtype(flags=0)),
    "an array of addresses": array(ONE_TWO_THREE(number(1)), dtype("O8"), raw(b"A" * 8)),
    "an array larger than its bytes": array(ONE_TWO_THREE(number(1 << 40)), dtype("f8"), raw(b"A" * 8)),
    "an array of a negative length": array(ONE_TWO_THREE(number(-1)), dtype("f8"), raw(b"A" * 8)),
    "an array filled with itself": array(ONE_TWO_THREE(number(1)), NONE, raw(b"A" * 8)),
    "an empty array of a terabyte": GLOBAL("numpy", "ndarray") + ONE_TWO_THREE(ONE_TWO_THREE(number(1 << 40))) + REDUCE,
    "a scalar of objects": GLOBAL("numpy._core.multiarray", "scalar")
    + ONE_TWO_THREE(dtype("O8"), raw(b"A" * 8))
    + REDUCE,
    "a scalar of too few bytes": GLOBAL("numpy._core.multiarray", "scalar")
    + ONE_TWO_THREE(dtype("f8"), raw(b"A"))
    + REDUCE,
    "a class with another method": GLOBAL("sklearn.svm._classes", "LinearSVC")
    + ONE_TWO_THREE(NONE, b"}" + text("fit") + GLOBAL("builtins", "int") + b"s")
    + BUILD,
    "a number of too many digits": b"L" + b"9" * 100_000 + b"L\n",
    "a memory without end": b"N" + b"r" + (0xFFFFFFF0).to_bytes(4, "little") + b"}" + b"j" + b"\0" * 4,
    "a text longer than the file": b"\x8d" + (1 << 60).to_bytes(8, "little") + b"x",
    "a matrix of a terabyte": GLOBAL("scipy.sparse._csr", "csr_matrix")
    + ONE_TWO_THREE(ONE_TWO_THREE(number(1 << 38), number(1)))
    + REDUCE,
}


@pytest.mark.parametrize("content", CRAFTED.values(), ids=CRAFTED)
def test_a_crafted_file_is_refused_and_crashes_nothing(tmp_path, content):
    """Read in a child, as rewards read: what would crash, crashes there; and refused with the file's name."""
    file = tmp_path / "bad.pkl"
    file.write_bytes(TWO + content + STOP)
    for reader in (load_joblib, lambda p: read_tokenizer(p, 10)):
        with pytest.raises(RewardError, match=r"bad.pkl (cannot be|contains|asks for|is not a pickled)"):
            tried_in_a_child(file, lambda reader=reader: reader(file))


def test_a_key_nested_deeper_than_the_stack_ends_the_child_alone(tmp_path):
    """Its hash calls itself as often as it is nested, in compiled code that does not count."""
    file = tmp_path / "deep.pkl"
    file.write_bytes(TWO + b"}" + DEEP + number(1) + b"s" + STOP)
    with pytest.raises(RewardError, match=r"deep.pkl cannot be read"):
        tried_in_a_child(file, lambda: load_joblib(file))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (lambda: os.kill(os.getpid(), 11), r"x.pkl cannot be read: the process that tried it crashed \(SIGSEGV\)"),
        (lambda: bytearray(2**36), r"x.pkl cannot be read \(MemoryError\)"),
        (lambda: {}["x"], r"x.pkl cannot be read \(KeyError: 'x'\)"),
        (lambda: os._exit(3), "crashed"),
    ],
)
def test_what_happens_in_a_child_is_one_message(tmp_path, what, message):
    (tmp_path / "x.pkl").touch()
    with pytest.raises(RewardError, match=message):
        tried_in_a_child(tmp_path / "x.pkl", what)


@pytest.mark.parametrize(
    "value",
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3)),
        np.array(["ab", "c"]),
        np.array([True, False]),
        np.float64(1.5),
        np.str_("text"),
        np.zeros((0, 3)),
    ],
    ids=lambda value: " ".join(str(value).split()),
)
@pytest.mark.parametrize("protocol", [4, 5])
def test_plain_arrays_and_numbers_come_back(tmp_path, value, protocol):
    for dump in (
        lambda v, f: joblib.dump(v, f, protocol=protocol),
        lambda v, f: f.write_bytes(pickle.dumps(v, protocol)),
    ):
        dump({"x": [value, value]}, tmp_path / "x.joblib")
        if protocol == 5 and isinstance(value, np.ndarray) and dump.__code__.co_names[0] == "write_bytes":
            continue  # by a function of NumPy's that is on no list; joblib's files have none of it
        loaded = load_joblib(tmp_path / "x.joblib")["x"]
        for back in loaded:
            np.testing.assert_array_equal(back, value)
            assert back.dtype in (value.dtype, value.dtype.newbyteorder("="))
