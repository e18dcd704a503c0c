"""One registry of objectives: study files, trainers, learners and figures agree with it."""

import importlib.util
from pathlib import Path
from typing import get_args

import pytest

from alignment_limits.preferences.learners import LEARNERS
from alignment_limits.report.figures.learning import MARKERS
from alignment_limits.study.objectives import OBJECTIVES, Learned, Trained, in_order, those, trainer


def test_study_files_may_name_what_is_registered():
    assert set(get_args(Trained)) == set(those("on_rewards")) | set(those("on_pairs"))
    assert set(get_args(Learned)) == set(LEARNERS) == set(MARKERS)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_its_trainers_are_functions_of_modules_that_exist(name):
    for on_pairs in (False, True):
        module, function = trainer(name, on_pairs=on_pairs)
        if module:
            found = importlib.util.find_spec(f"alignment_limits.training.{module}")
            assert f"def {function}(" in Path(found.origin).read_text("utf-8")


def test_markers_differ_and_the_order_is_that_of_the_registry():
    assert len(set(MARKERS.values())) == len(MARKERS)
    assert in_order(["ppo", "dpo", "pmle", "reverse-kl"]) == ["reverse-kl", "pmle", "dpo"]


def test_what_draws_replies_in_groups_is_online_and_what_fits_a_reward_learns_from_pairs():
    assert set(those("grouped")) < set(those("online"))
    assert set(those("fits_reward")) | set(those("estimates_kl")) <= set(those("on_pairs"))
