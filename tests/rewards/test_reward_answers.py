"""Verifiers that the project brings: what they find in a reply, what they accept, what they refuse."""

import os
import re
import shutil
import subprocess
import sys
import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from alignment_limits.errors import RewardError
from alignment_limits.rewards import verifier
from alignment_limits.rewards.base import Prompt
from alignment_limits.rewards.load import load_reward, refuse_failed
from alignment_limits.rewards.preflight import check_readable, load_and_preflight, warnings_of
from alignment_limits.rewards.verifier import boxed, number
from alignment_limits.study.judges import Verifier

ISOLATED = verifier._apart(False) is not None
VERDICT = "import json, sys\ngiven = json.load(sys.stdin)\nreply, right = given['reply'], given['answer']\n"


def reward(folder=None, **settings):
    return load_reward(Verifier.model_validate({"kind": "verifier"} | settings), folder)


def scored(replies, right="42", folder=None, **settings):
    prompts = [Prompt("What is 6 · 7?", {settings.get("answer", "reference"): right})] * len(replies)
    return reward(folder, **settings).score(prompts, replies)


CASES = [
    ({}, "Paris", {" Paris\n": 1, "paris": 0, "Par is": 0, "Paris.": 0, "": 0, "Pa\u0301ris": 0}),
    ({}, "caf\u00e9", {"cafe\u0301": 1}),
    ({"ignore": ["case", "punctuation", "space"]}, "New  York", {"“new york.”": 1, "newyork": 0}),
    ({"ignore": []}, "a b", {"a b": 1, "a  b": 0, " a b": 0}),
    ({"extract": "boxed"}, r"\frac{1}{2}", {r"\boxed{\frac{1}{2}}": 1, r"\boxed{1} \boxed{\frac{1}{2}": 0, "1/2": 0}),
    ({"extract": "last-line"}, "B", {"A\nB\n \n": 1, "B\nA": 0}),
    ({"extract": r"####\s*(\w+)"}, "B", {"#### A #### B": 1, "#### B\n#### A": 0, "B": 0}),
    ({"extract": r"\b[A-D]\b"}, "B", {"I say A, no: B.": 1, "BA": 0}),
    ({"several": "lines"}, "NY\nNew York", {"NY": 1, "New York": 1, "NY New York": 0}),
    ({"several": "list"}, '["NY", "New York", 7]', {"New York": 1, "7": 1, '["NY"]': 0}),
    ({"match": "number"}, "So #### 1,042.50", {"It is 1042.5": 1, "2085/2 exactly.": 1, "1042.51": 0, "1,042.50-7": 0}),
    ({"match": "number"}, "-1/3", {r"-\frac{1}{3}": 1, "−1/3": 1, "-0.333333": 0, "1/3": 0, "-1/0": 0}),
    ({"match": "number", "tolerance": 0.01}, "200", {"198": 1, "202": 1, "197.99": 0, "none": 0}),
    ({"match": "number", "tolerance": 0.01}, "0", {"0.01": 1, "-0.011": 0}),
    ({"match": "number", "extract": "boxed"}, "5", {r"3 \boxed{5 \text{ cm}} 4": 1, "5": 0}),
    ({"match": "math"}, r"\frac{1}{2}", {r"so $\frac{2}{4}$": 1, "0.5": 1, r"\boxed{2^{-1}}": 1, "2": 0, "yes": 0}),
    ({"match": "math", "extract": "boxed"}, "(x+1)^2", {r"\boxed{x^2+2x+1}": 1, r"\boxed{x^2+1}": 0, "$x^2+2x+1$": 0}),
    ({"match": "pattern", "pattern": r"\b{answer}\b"}, "a.b", {"is a.b": 1, "is axb": 0, "xa.b": 0}),
    ({"match": "pattern", "pattern": r"(?i)^yes", "answer": None}, "", {"Yes, sir": 1, "No, yes": 0}),
    ({"match": "pattern", "pattern": "4", "extract": "boxed"}, "", {r"3 \boxed{4}": 1, r"4 \boxed{3}": 0}),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "right", "expected"), CASES)
def test_each_reply_is_right_or_wrong(settings, right, expected):
    np.testing.assert_array_equal(scored(list(expected), right, **settings).score, list(expected.values()))


@given(
    st.fractions(), st.sampled_from(["", "about ", "$", "x = "]), st.sampled_from(["", " cm", "%", ".", ", I think"])
)
def test_any_fraction_is_read_exactly_in_any_text(value, before, after):
    assert number(f"{before}{value}{after}") == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_float_is_read_exactly(value):
    assert number(f"it is {value!r}") == Fraction(repr(value))


WRITTEN = {
    "(3,-5)": -5,
    "is...5": 5,
    "v1.2.3": None,
    "1.2.3": Fraction(6, 5),
    "+.5": Fraction(1, 2),
    "3-4": 4,
    "1,000,000": 10**6,
}


@pytest.mark.parametrize("text", WRITTEN)
def test_numbers_are_read_where_they_begin(text):
    assert number(text) == WRITTEN[text]


def test_huge_numbers_are_no_answers_and_take_no_time():
    start = time.perf_counter()
    assert [number(text) for text in ("1e999999999", "9" * 10_000, "1/0", "2024e-9999", "")] == [None] * 5
    assert time.perf_counter() - start < 1


def test_equal_answers_have_one_text_for_votes_and_replies_without_one_are_counted():
    found = scored(["0.5", "2/4", "1/3", "2/6", "none"], "1/2", match="number")
    assert found.answers.tolist() == ["1/2", "1/2", "1/3", "1/3", None]
    assert found.failed.tolist() == [False] * 4 + [True]
    found = scored([r"$\frac12$", "0.5", r"$\frac{3}{6}$", "3"], "1/2", match="math")
    assert found.answers.tolist() == ["1/2"] * 3 + ["3"]
    plain = scored(["42"], match="pattern", pattern="4")
    assert plain.failed is None
    assert plain.answers is None
    assert scored(["42", "4"], sign=-1).score.tolist() == [-1, 0]


def test_boxes_inside_boxes_and_open_ones():
    assert boxed(r"\boxed{a} \boxed {\boxed{b}c} \boxed{d") == "b"
    assert boxed(r"\boxed{{}") is None


@pytest.mark.parametrize(
    ("settings", "right", "message"),
    [
        ({"match": "number"}, "none", "the right answer 'none' contains no number"),
        ({"match": "math"}, "?", r"the right answer '\?' cannot be read as mathematics"),
        ({"ignore": ["punctuation", "space"]}, " .", r"the right answer ' \.' is empty"),
        ({"several": "list"}, "NY", "the right answers 'NY' are not a list"),
        ({"several": "list"}, "[]", "the list of right answers is empty"),
        ({}, None, "the column 'reference' has no right answer"),
    ],
)
def test_a_right_answer_that_cannot_be_read_is_named_with_its_prompt_before_the_study(settings, right, message):
    prompts = {"good": Prompt("a", {"reference": '["4"]'}), "bad": Prompt("b", {"reference": right})}
    with pytest.raises(RewardError, match=rf"reward 'v': prompt 'bad': ({message})"):
        check_readable(reward(**settings), "v", prompts, 0)


def test_the_preflight_accepts_a_verifier_and_uses_the_right_answers_as_replies():
    spec = Verifier(kind="verifier", match="number", most_failed=0.0)
    figures = load_and_preflight(spec, None, "v", prompts={"q": Prompt("What is 6 · 7?", {"reference": "42"})})
    assert (figures["lowest"], figures["highest"]) == (0, 1)
    assert not warnings_of(figures)


def test_too_many_replies_without_an_answer_are_refused_with_one_of_them():
    spec = Verifier(kind="verifier", extract="boxed", most_failed=0.5).model_dump()
    replies = [r"\boxed{1}", "never", "no"]
    found = scored(replies, extract="boxed")
    with pytest.raises(
        RewardError, match=r"2 of 3 replies have no answer \(most_failed: 0.5\). The first ends with 'never'"
    ):
        refuse_failed(found, spec, replies)
    refuse_failed(found, spec | {"most_failed": 0.7}, replies)


IMPOSSIBLE = [
    ({"match": "pattern"}, "`match: pattern` and `pattern:` belong together"),
    ({"pattern": "a"}, "`match: pattern` and `pattern:` belong together"),
    ({"extract": "("}, "is not a regular expression: missing \\)"),
    ({"match": "program"}, "`match: program` and `program:` belong together"),
    ({"answer": None}, "answer is missing"),
    ({"tolerance": 0.1}, "tolerance is for `match: number`"),
    ({"match": "number", "ignore": ["case"]}, "ignore is for `match: exact`"),
    ({"bounds": [0, 2]}, "bounds of a verifier are always"),
    ({"match": "program", "program": {"command": ["a"]}, "extract": "boxed"}, "extract and several are not for"),
    ({"source": {"path": "."}}, "source is for `match: program`"),
]


@pytest.mark.parametrize(("settings", "message"), IMPOSSIBLE)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        Verifier.model_validate({"kind": "verifier"} | settings)


def test_bounds_columns_and_answers_follow_from_the_settings():
    assert Verifier(kind="verifier").bounds == [0, 1]
    assert Verifier(kind="verifier", sign=-1).bounds == [-1, 0]
    spec = Verifier(kind="verifier", match="pattern", pattern="a")
    assert (spec.columns, spec.has_answers, Verifier(kind="verifier").columns) == ([], False, ["reference"])


# Programs


@pytest.fixture
def program(tmp_path):
    """Code → settings of a reward that runs it, and the folder of its source."""

    def of(code, **limits):
        (tmp_path / "check.py").write_text(VERDICT + code, "utf-8")
        limits = {"command": ["python", "check.py"], "network": not ISOLATED} | limits
        return {"folder": tmp_path, "match": "program", "program": limits}

    return of


def test_a_program_gets_prompt_reply_and_answer_and_says_what_the_reply_answers(program):
    code = "assert given['prompt'] == 'What is 6 · 7?'\nprint('ok')\nprint(int(reply == right), reply)\n"
    found = scored(["42", "4 2", "42"], **program(code))
    assert found.score.tolist() == [1, 0, 1]
    assert found.answers.tolist() == ["42", "4 2", "42"]
    assert found.failed.tolist() == [False] * 3


def test_a_program_that_gives_no_verdict_on_any_reply_is_refused_with_its_error(program):
    with pytest.raises(
        RewardError, match=r"'python' gives no verdict on any reply.*status was 1.*NameError: name 'oops'"
    ):
        scored(["1", "2"], **program("print(1)\noops"))
    found = scored(["1", "crash"], **program("print(0)\nassert reply != 'crash'"))
    assert (found.score.tolist(), found.failed.tolist()) == ([0, 0], [False, True])


LIMITS = {
    "time": "while True: pass",
    "sleep": "import time\ntime.sleep(60)",
    "memory": "a = bytearray(10**9)\nprint(1)",
    "output": "print('x' * 10**6)\nprint(1)",
    "files": "open('big', 'wb').write(bytes(10**6))\nprint(1)",
}


@pytest.mark.parametrize("kind", LIMITS)
def test_each_limit_ends_a_reply_and_no_other(program, kind):
    settings = program(f"if reply == 'bad':\n    exec({LIMITS[kind]!r})\nprint(1)", seconds=0.4, memory_mb=300)
    start = time.perf_counter()
    found = scored(["good", "bad"], **settings)
    assert (found.score.tolist(), found.failed.tolist()) == ([1, 0], [False, True])
    assert time.perf_counter() - start < 10


@pytest.mark.skipif(not ISOLATED and os.environ.get("ALL_TESTS") != "must-run", reason="no namespaces for users here")
def test_a_program_has_no_network_and_leaves_nothing_behind(program):
    code = """
import os, socket, subprocess
if reply == "stay":
    subprocess.Popen(["sleep", "987"], start_new_session=True)
left = [name for name in os.environ if "SECRET" in name]
try:
    socket.create_connection(("127.0.0.1", PORT), 2)
except OSError:
    print(int(not left and os.listdir() == []))
""".replace("PORT", "9")
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("MY_SECRET", "key")
        settings = program(code.replace("9)", f"{server.getsockname()[1]})", 1))
        assert scored(["stay", "go"], **settings).score.tolist() == [1, 1]
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert "sleep 987" not in running
    with socket.create_server(("127.0.0.1", 0)) as server:
        open_settings = program(code.replace("9)", f"{server.getsockname()[1]})", 1), network=True)
        assert scored(["go"], **open_settings).failed.tolist() == [True], "the network is there if it is asked for"


def test_a_program_or_a_system_that_cannot_run_it_is_refused_at_once(program, monkeypatch):
    with pytest.raises(RewardError, match=r"'chek.sh' is not found, or is not executable; its source: check.py"):
        reward(**program("", command=["chek.sh"]))
    monkeypatch.setattr(verifier, "_apart", lambda network: None)
    with pytest.raises(RewardError, match=r"no program run without the network.*program: \{network: true\}"):
        reward(**program("", network=False))
    assert scored(["42"], **program("print(1)", network=True)).score.tolist() == [1], "accepted by name"
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(RewardError, match="needs `prlimit`"):
        reward(**program("", network=True))


def test_a_slow_check_is_made_once_for_each_reply(program, tmp_path):
    made = program(f"open({str(tmp_path / 'asked')!r}, 'a').write('x')\nprint(1)")
    verify = reward(**made)
    prompts = [Prompt("q", {"reference": "42"})] * 2
    for _ in range(2):
        verify.score(prompts, ["a", "b"])
    assert (tmp_path / "asked").read_text("utf-8") == "xx"


def test_the_pythons_are_one():
    found = verifier.Checker(None, ["python3", "-c", "print(1)"], network=True).command
    assert sys.executable in found
    assert re.search(r"--as=2147483648", " ".join(found))
