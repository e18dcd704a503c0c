"""Recipes: which runs they make, what names them, what is refused before anything runs."""

import pytest
import yaml

from alignment_limits.config.load import load_study, over_default
from alignment_limits.errors import ConfigError

with open("config/config.yaml", encoding="utf-8") as file:
    DEFAULT = yaml.safe_load(file)
GRPO = {"objective": "grpo", "optimize": ["tox-block", "mean"], "coefficients": [0.05, 1], "seeds": [0, 1], "steps": 4}


def study(recipe=None, **more):
    training = {"training": {"short": GRPO | (recipe or {})}}
    return load_study(over_default(DEFAULT, training | more))


def test_a_run_for_every_reward_coefficient_and_seed_is_a_policy_with_labels():
    policies = study(policies=[{"name": "mine", "path": "runs/mine"}]).all_policies
    assert [p.name for p in policies] == ["mine"] + [
        f"short-{reward}-{coefficient}-s{seed}"
        for reward in ("tox-block", "mean")
        for coefficient in ("0.05", "1")
        for seed in (0, 1)
    ]
    assert policies[2].labels == {"objective": "grpo", "optimized": "tox-block", "coefficient": 0.05, "seed": 1}


CHANGES = {
    "steps": {"recipe": {"steps": 5}},
    "learning rate": {"recipe": {"learning_rate": 2e-4}},
    "adapter": {"recipe": {"lora": {"rank": 4}}},
    "base": {"seed": 7},
    "prompts": {"prompts": {"count": 32}},
    "samples that set the reward's scale": {"sampling": {"samples_per_prompt": 128}},
    "the ensemble": {"ensembles": {"mean": DEFAULT["ensembles"]["mean"] | {"aggregator": "median"}}},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_decides_the_weights_decides_the_policys_id(change):
    was, now = study(), study(**change)
    assert was.policy_id(was.runs[-1]) != now.policy_id(now.runs[-1])


def test_what_decides_no_weight_keeps_the_id():
    was = study().policy_id(study().runs[0])
    changes = [
        {"recipe": {"seeds": [0, 1, 2]}},
        {"recipe": {"coefficients": [0.05, 2]}},
        {"recipe": {"group": 8}},
        {"limits": {"bootstrap": 300}},
        {"sampling": {"shard_tokens": 1000}},
    ]
    for change in changes:
        now = study(**change)
        assert now.policy_id(now.runs[0]) == was, change


REFUSED = {
    "unknown reward": ({"optimize": ["toxblock"]}, {}, "training.short.optimize names the reward 'toxblock'"),
    "batch": ({"batch": 30}, {}, "batch (30) must be a multiple of group (8)"),
    "group": (
        {"objective": "ppo", "group": 4},
        {},
        "group is for grpo, rloo, reverse-kl, rlhf; ppo compares no replies",
    ),
    "epochs": ({"objective": "dpo", "epochs": 2}, {}, "epochs is for ppo, grpo, rloo"),
    "top-p": ({}, {"sampling": {"top_p": 0.9}}, "grpo takes no account of top-p"),
    "precision": ({"lora": None, "dtype": "bfloat16"}, {}, "dtype bfloat16 rounds away"),
    "no penalty": ({"coefficients": [0]}, {}, "coefficients must be positive"),
    "twice": ({"seeds": [1, 1]}, {}, "seeds names a value twice"),
    "n": ({"objective": "best-of-n", "coefficients": [2.5]}, {}, "whole, at least 2"),
    "n of M": ({"objective": "best-of-n", "coefficients": [128]}, {}, "best of 128 of 64 samples per prompt"),
    "typo": ({"learning_rat": 1}, {}, "did you mean 'learning_rate'?"),
    "name": (
        {},
        {"policies": [{"name": "short-mean-1-s0", "path": "x"}]},
        "policies: a name occurs twice",
    ),
}


@pytest.mark.parametrize(("recipe", "more", "said"), REFUSED.values(), ids=REFUSED)
def test_a_bad_recipe_is_refused(recipe, more, said):
    with pytest.raises(ConfigError) as error:
        study(recipe, **more)
    assert said in str(error.value)


def test_a_table_of_scores_trains_nothing():
    scores = {"study": "s", "scores": {"table": "x.parquet", "gold": "a"}, "training": {"short": GRPO}}
    with pytest.raises(ConfigError, match="no use for training"):
        load_study(scores)
