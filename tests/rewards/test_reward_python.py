"""A user's own reward function."""

import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from alignment_limits.errors import RewardError
from alignment_limits.jobs import job
from alignment_limits.rewards.load import load_reward
from alignment_limits.rewards.preflight import load_and_preflight

PLUGIN = """
import json
import torch
def brevity(prompts, replies, *, per_word=1.0):
    return [-per_word * len(r.split()) for r in replies]
def overlap(prompts, replies):
    shared = [len(set(p.split()) & set(r.split())) for p, r in zip(prompts, replies)]
    return torch.tensor(shared, dtype=torch.bfloat16)
def too_few(prompts, replies): return [0.0] * (len(replies) - 1)
def words(prompts, replies): return replies
def nothing(prompts, replies): return [None for _ in replies]
def flags(prompts, replies): return [True for _ in replies]
def ragged(prompts, replies): return [[0.0] * (i + 1) for i, _ in enumerate(replies)]
def scalar(prompts, replies): return 1.0
def fails(prompts, replies): raise KeyError("price")
def deep(prompts, replies):
    return [price(r) for r in replies]
def price(reply):
    return json.loads(reply)["price"]
def leaves(prompts, replies): raise SystemExit(3)
NUMBER = 3
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    (tmp_path / "tiny_plugin.py").write_text(textwrap.dedent(PLUGIN))
    (tmp_path / "broken_plugin.py").write_text("import a_package_that_does_not_exist\n")
    monkeypatch.chdir(tmp_path)  # found in the folder snakemake runs in
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.delitem(sys.modules, "tiny_plugin", raising=False)

    def spec(function, **options):
        return {
            "kind": "python",
            "function": f"tiny_plugin:{function}",
            "options": options,
            "text": "reply",
            "sign": 1,
        }

    def loaded(function, **options):
        return load_reward(spec(function, **options), None)

    loaded.spec = spec
    return loaded


def test_options_reach_the_function_and_scores_come_back(plugin):
    score = plugin("brevity", per_word=2.0).score(["p"] * 3, ["one", "one two", ""]).score
    np.testing.assert_array_equal(score, [-2, -4, 0])


def test_the_prompt_is_part_of_what_is_scored_and_tensors_are_taken(plugin):
    score = plugin("overlap").score(["a b", "c"], ["a b", "a b"]).score
    np.testing.assert_array_equal(score, [2, 0])
    assert score.dtype == np.float64


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("too_few", r"must return 2 floats for 2 replies, it returned shape \(1,\)"),
        ("scalar", r"it returned shape \(\)"),
        ("words", "must return floats, it returned str"),
        ("nothing", "must return floats, it returned object values"),
        ("flags", "must return floats, it returned bool values"),
        ("ragged", "must return one float per reply, not nested values"),
        ("fails", "tiny_plugin:fails raised KeyError: 'price'"),
    ],
)
def test_what_is_not_one_float_per_reply_is_refused(plugin, function, message):
    with pytest.raises(RewardError, match=message):
        plugin(function).score(["p", "p"], ["r", "s"])


@pytest.mark.parametrize(
    ("function", "place"),
    [
        ("fails", r"KeyError: 'price'\n  tiny_plugin.py, line 15, in fails:\n    .*raise KeyError"),
        (
            "deep",
            r'JSONDecodeError: .*\n  tiny_plugin.py, line 19, in price:\n    return json.loads\(reply\)\["price"\]',
        ),
        ("leaves", r"SystemExit: 3\n  tiny_plugin.py, line 20, in leaves"),
    ],
)
def test_the_users_own_line_is_in_the_message(plugin, function, place):
    with pytest.raises(RewardError, match=place):
        plugin(function).score(["p", "p"], ["r", "s"])


def test_the_line_of_a_module_that_fails_on_import_is_in_the_message(plugin):
    Path("raises_plugin.py").write_text("a = 1\nb = a / 0\n")
    spec = {"kind": "python", "options": {}, "text": "reply", "sign": 1, "function": "raises_plugin:f"}
    with pytest.raises(
        RewardError, match=r"ZeroDivisionError.*\n  raises_plugin.py, line 2, in <module>:\n    b = a / 0"
    ):
        load_reward(spec, None)


def test_the_log_has_the_whole_traceback(plugin, tmp_path, capsys):
    score = SimpleNamespace(log=[tmp_path / "a.log"], rule="score", input=[])
    with pytest.raises(SystemExit), job.job(score):
        load_and_preflight(plugin.spec("deep"), None, "mine")
    log = (tmp_path / "a.log").read_text("utf-8")
    assert "Traceback" in log
    assert 'tiny_plugin.py", line 17, in deep' in log
    assert "Traceback" not in capsys.readouterr().err
    assert "error in score: reward 'mine': tiny_plugin:deep raised JSONDecodeError" in log


def test_what_cannot_be_imported_is_named(plugin):
    for function in ("absent", "NUMBER", "a:b"):
        with pytest.raises(RewardError, match=rf"module 'tiny_plugin' .* has no function '{function}'"):
            plugin(function)
    spec = {"kind": "python", "options": {}, "text": "reply", "sign": 1}
    with pytest.raises(RewardError, match=r"cannot import 'no_such_plugin'.*the folder snakemake runs in"):
        load_reward(spec | {"function": "no_such_plugin:f"}, None)
    with pytest.raises(RewardError, match=r"cannot import 'broken_plugin'.*a_package_that_does_not_exist"):
        load_reward(spec | {"function": "broken_plugin:f"}, None)


def test_the_users_own_line_is_found_in_an_installed_package_too(plugin, tmp_path, monkeypatch):
    """Its file lies where libraries lie, so its name says nothing: the function does."""
    away = tmp_path / "lib/site-packages"
    away.mkdir(parents=True)
    (away / "installed_plugin.py").write_text("def price(prompts, replies):\n    return 1 / 0\n")
    monkeypatch.syspath_prepend(away)
    spec = {"kind": "python", "options": {}, "text": "reply", "sign": 1, "function": "installed_plugin:price"}
    with pytest.raises(RewardError, match=r"installed_plugin.py, line 2, in price:\n    return 1 / 0"):
        load_reward(spec, None).score(["p"], ["r"])
