"""Prompts to train on, and learning rates compared on known curves."""

import polars as pl
import pytest

from alignment_limits.training.split import trained_on
from alignment_limits.training.sweep import compared

IDS = [f"prompt-{i}" for i in range(40)]
SETTINGS = [{"learning_rate": r, "objective": "rloo", "coefficient": 2.0, "seed": 3} for r in (1e-4, 1e-3, 1e-2)]


def curve(late, kl=0.0, steps=40):
    reward = [0.0] * (steps - 10) + [late] * 10
    return pl.DataFrame({"step": range(steps), "reward": reward, "kl": [kl] * steps, "ended": ["fixed"] * steps})


@pytest.mark.parametrize("share", [0.01, 0.25, 0.5, 0.99])
def test_the_share_of_prompts_is_kept_and_larger_shares_contain_smaller_ones(share):
    own = trained_on(IDS, share)
    assert own.sum() == max(1, round(share * 40))
    assert not (own & ~trained_on(IDS, 1.0)).any()
    assert not (trained_on(IDS, share / 2) & ~own).any()


def test_a_prompts_part_does_not_depend_on_the_order_of_the_prompts():
    own = dict(zip(IDS, trained_on(IDS, 0.5), strict=True))
    turned = dict(zip(IDS[::-1], trained_on(IDS[::-1], 0.5), strict=True))
    assert own == turned


def test_the_rate_with_the_largest_objective_at_the_end_is_chosen():
    """The last has the largest reward, and pays for it in KL."""
    table = compared([curve(0.2), curve(0.5), curve(0.9, kl=0.3)], SETTINGS)
    assert table["value"].to_list() == pytest.approx([0.2, 0.5, 0.3])
    assert table["chosen"].to_list() == [False, True, False]
    assert not table["at_end"].any()
    assert table["error"].to_list() == [0, 0, 0]


def test_a_choice_at_the_end_of_the_list_says_so_and_ties_take_the_smaller_rate():
    table = compared([curve(0.5), curve(0.2), curve(0.5)], SETTINGS)
    assert table["chosen"].to_list() == [True, False, False]
    assert table["at_end"].to_list() == [True, False, False]


def test_a_run_that_diverged_is_not_chosen():
    table = compared([curve(0.1), curve(float("nan")), curve(0.05)], SETTINGS)
    assert table["chosen"].to_list() == [True, False, False]


def test_the_window_is_at_least_the_patience():
    settings = [one | {"stop": {"patience": 20}} for one in SETTINGS]
    assert compared([curve(1.0)] * 3, settings)["value"].to_list() == pytest.approx([0.5] * 3)
