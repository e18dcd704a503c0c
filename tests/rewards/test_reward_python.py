"""A user's own reward function."""

import sys
import textwrap

import numpy as np
import pytest

from alignment_limits.errors import RewardError
from alignment_limits.rewards.load import load_reward

PLUGIN = """
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
NUMBER = 3
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    (tmp_path / "tiny_plugin.py").write_text(textwrap.dedent(PLUGIN))
    (tmp_path / "broken_plugin.py").write_text("import a_package_that_does_not_exist\n")
    monkeypatch.chdir(tmp_path)  # found in the folder snakemake runs in
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.delitem(sys.modules, "tiny_plugin", raising=False)
    return lambda function, **options: load_reward(
        {
            "kind": "python",
            "function": f"tiny_plugin:{function}",
            "options": options,
            "text": "reply",
            "sign": 1,
        },
        None,
    )


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


def test_what_cannot_be_imported_is_named(plugin):
    for function in ("absent", "NUMBER"):
        with pytest.raises(RewardError, match=rf"module 'tiny_plugin' .* has no function '{function}'"):
            plugin(function)
    spec = {"kind": "python", "options": {}, "text": "reply", "sign": 1}
    with pytest.raises(RewardError, match=r"cannot import 'no_such_plugin'.*the folder snakemake runs in"):
        load_reward(spec | {"function": "no_such_plugin:f"}, None)
    with pytest.raises(RewardError, match=r"cannot import 'broken_plugin'.*a_package_that_does_not_exist"):
        load_reward(spec | {"function": "broken_plugin:f"}, None)
