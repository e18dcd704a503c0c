"""Recipes: which runs they make, what names them, what is refused before anything runs."""

import pytest
import yaml

from alignment_limits.errors import ConfigError
from alignment_limits.study.load import load_study, over_default
from alignment_limits.study.training import learned_from

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


def test_a_group_of_expert_iteration_is_its_number_of_replies():
    runs = study({"objective": "expert-iteration", "coefficients": [2, 4], "batch": 32}).runs
    assert [run.settings["group"] for run in runs[::2]] == [2, 4, 2, 4]


CHANGES = {
    "steps": {"recipe": {"steps": 5}},
    "learning rate": {"recipe": {"learning_rate": 2e-4}},
    "stopping rule": {"recipe": {"stop": {"patience": 50}, "steps": 200}},
    "share of prompts": {"recipe": {"train_on": 0.5}},
    "learning rates": {"recipe": {"learning_rate": [1e-4, 1e-3], "train_on": 0.5}},
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


def test_a_sweep_has_a_run_for_every_rate_at_the_middle_coefficient_with_a_new_seed():
    made = study({"learning_rate": [1e-3, 1e-4], "train_on": 0.5, "coefficients": [2, 0.5, 1]})
    assert [(s.recipe_name, s.optimized) for s in made.sweeps] == [("short", "tox-block"), ("short", "mean")]
    runs = made.sweeps[0].runs
    assert [(r.recipe.learning_rate, r.coefficient, r.seed) for r in runs] == [(1e-4, 1, 2), (1e-3, 1, 2)]
    assert not {run.name for run in runs} & {run.name for run in made.runs}
    assert not study().sweeps


def test_what_decides_no_weight_keeps_the_id():
    was = study().policy_id(study().runs[0])
    changes = [
        {"recipe": {"seeds": [0, 1, 2]}},
        {"recipe": {"coefficients": [0.05, 2]}},
        {"recipe": {"group": 8}},
        {"recipe": {"stop": None, "train_on": 1}},
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
        "group is for reverse-kl, rlhf, grpo, grpo-kl-in-reward, grpo-k2, rloo; ppo does not compare replies",
    ),
    "epochs": (
        {"objective": "dpo", "epochs": 2},
        {},
        "epochs is for reverse-kl, rlhf, ppo, grpo, grpo-kl-in-reward, grpo-k2, rloo, expert-iteration",
    ),
    "top-p": ({}, {"sampling": {"top_p": 0.9}}, "grpo ignores top-p"),
    "precision": ({"lora": None, "dtype": "bfloat16"}, {}, "dtype bfloat16 rounds away"),
    "no penalty": ({"coefficients": [0]}, {}, "coefficients must be positive"),
    "twice": ({"seeds": [1, 1]}, {}, "seeds names a value twice"),
    "n": ({"objective": "best-of-n", "coefficients": [2.5]}, {}, "whole numbers, at least 2"),
    "n of a group": (
        {"objective": "expert-iteration", "coefficients": [4, 5], "batch": 32},
        {},
        "batch (32) must be a multiple of group (5)",
    ),
    "group of n": (
        {"objective": "expert-iteration", "coefficients": [4], "group": 4},
        {},
        "group is the coefficient of expert-iteration",
    ),
    "n of M": ({"objective": "best-of-n", "coefficients": [128]}, {}, "best of 128 of 64 samples per prompt"),
    "stop of picks": (
        {"objective": "best-of-n", "coefficients": [2], "stop": {}},
        {},
        "the objective of dpo, ppo, grpo, grpo-kl-in-reward, grpo-k2, rloo, tilt on rewards",
    ),
    "few points": ({"stop": {"patience": 8}, "kl_every": 4}, {}, "must be at least 4 times kl_every (4)"),
    "few steps": ({"stop": {"patience": 10}, "steps": 20}, {}, "steps (20) must be at least 3 times stop.patience"),
    "sweep on judges": ({"learning_rate": [1e-4, 1e-3]}, {}, "need train_on below 1"),
    "one rate twice": ({"learning_rate": [1e-4, 1e-4], "train_on": 0.5}, {}, "several different ones"),
    "sweep of picks": (
        {"objective": "best-of-n", "coefficients": [2], "learning_rate": [1e-4, 1e-3], "train_on": 0.5},
        {},
        "several learning rates are compared by reward − β·KL",
    ),
    "no prompts": ({"train_on": 0.001}, {}, "leaves none to train on, or none to judge by"),
    "all prompts": ({"train_on": 0.999}, {}, "leaves none to train on, or none to judge by"),
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


HEAD = {"kind": "trained", "features": {"path": "encoder"}, "labels": 50}
LABELLED = {"gold_labels": {"prompts": 8, "samples_per_prompt": 32}, "ensembles": {}}


@pytest.mark.parametrize("proxy", [HEAD, {"kind": "fine-tuned", "labels": 50}], ids=["head", "fine-tuned"])
def test_policies_are_trained_on_trained_rewards_and_their_labels_decide_the_weights(proxy):
    rewards = {"tox-block": DEFAULT["rewards"]["tox-block"], "proxy": proxy}

    def of(**more):
        made = study({"optimize": ["proxy"]}, **LABELLED | {"rewards": rewards} | more)
        return made.policy_id(made.runs[0])

    assert of() == of()
    assert of() != of(gold_labels={"prompts": 16, "samples_per_prompt": 32})
    assert of() != of(rewards=rewards | {"proxy": proxy | {"seed": 1}})


def test_a_head_does_not_score_every_reply():
    rewards = {"tox-block": DEFAULT["rewards"]["tox-block"], "proxy": HEAD}
    with pytest.raises(ConfigError, match="rewards.proxy is a trained head, and those do not score all replies"):
        study({"optimize": ["proxy"]}, rewards=rewards, enumerable={"population": 64}, **LABELLED)


def test_a_table_of_scores_trains_nothing():
    scores = {"study": "s", "scores": {"table": "x.parquet", "gold": "a"}, "training": {"short": GRPO}}
    with pytest.raises(ConfigError, match="does not use training"):
        load_study(scores)


PREFERENCES = {
    "pairs_per_prompt": 32,  # 64 prompts: 2048 pairs
    "settings": {"as-modelled": [0], "label-noise": [0.2, 0.4], "best-of-n-pairs": [4]},
    "features": {"path": "encoder"},
}
PMLE = {"objective": "pmle", "learn_from": ["as-modelled"], "pairs": [256], "coefficients": [0.01], "steps": 4}


def learning(recipe=None, preferences=None, **more):
    made = None if preferences == "none" else PREFERENCES | (preferences or {})
    training = {"training": {"pairs": PMLE | (recipe or {})}, "preferences": made}
    return load_study(over_default(DEFAULT, training | more))


def test_a_run_for_every_setting_size_coefficient_and_seed_is_judged_by_gold_or_its_reward():
    recipe = {"learn_from": ["as-modelled", "label-noise"], "pairs": [256, 1024], "coefficients": [0, 0.1]}
    study = learning(recipe | {"seeds": [0, 1]})
    assert [run.name for run in study.runs][:5] == [
        "pairs-as-modelled-n256-0-s0",
        "pairs-as-modelled-n256-0-s1",
        "pairs-as-modelled-n256-0.1-s0",
        "pairs-as-modelled-n256-0.1-s1",
        "pairs-as-modelled-n1024-0-s0",
    ]
    last = study.runs[-1]
    assert (last.setting, last.pairs) == ("label-noise", 1024)
    assert last.labels == {"objective": "pmle", "optimized": "tox-block", "coefficient": None, "seed": 1}
    assert learned_from(last, study.preferences)["level"] == 0.2
    assert learning(preferences={"reward": "vader"}).runs[0].optimized == "vader"
    of_rewards = load_study(over_default(DEFAULT, {"training": {"short": GRPO}})).runs[0]
    assert (of_rewards.setting, of_rewards.pairs) == (None, None)


LEARNT = {
    "gamma": {"preferences": {"gamma": 0.2}},
    "target": {"preferences": {"beta": 2}},
    "judge": {"preferences": {"reward": "vader"}},
    "table": {"preferences": {"pairs_per_prompt": 64}},
    "level": {"preferences": {"settings": {"as-modelled": [0], "label-noise": [0.1]}}},
    "setting": {"recipe": {"learn_from": ["as-modelled"]}},
    "pairs": {"recipe": {"pairs": [512]}},
    "encoder": {"preferences": {"features": {"path": "other"}}},
    "what it reads": {"preferences": {"text": "reply"}},
    "gold": {"gold": "vader"},
    "samples": {"sampling": {"samples_per_prompt": 128}},
}


@pytest.mark.parametrize("change", LEARNT.values(), ids=LEARNT)
def test_what_decides_the_pairs_decides_the_policys_id(change):
    base = {"objective": "distillation", "learn_from": ["label-noise"]}
    was, now = (
        learning(base),
        learning(base | change.get("recipe", {}), **{k: v for k, v in change.items() if k != "recipe"}),
    )
    assert was.policy_id(was.runs[0]) != now.policy_id(now.runs[0])


def test_what_decides_no_pair_keeps_the_id():
    was = learning().policy_id(learning().runs[0])
    settings = PREFERENCES["settings"] | {"label-noise": [0.1]}
    for preferences in ({"features": None}, {"prior_sd": 2}, {"settings": settings}):
        now = learning(preferences=preferences)
        assert now.policy_id(now.runs[0]) == was, preferences


UNLEARNABLE = {
    "both": ({"optimize": ["vader"]}, {}, "exactly one of optimize (rewards) and learn_from"),
    "neither": ({"learn_from": None, "pairs": None}, {}, "exactly one of optimize (rewards) and learn_from"),
    "how many": ({"pairs": None}, {}, "learn_from and pairs go together"),
    "of a reward": (
        {"optimize": ["vader"], "learn_from": None, "pairs": None},
        {},
        "pmle learns from preference pairs",
    ),
    "no learner": ({"objective": "grpo"}, {}, "grpo does not learn from pairs"),
    "no such setting": ({"learn_from": ["tempered-pairs"]}, {}, "preferences.settings has: as-modelled, label-noise"),
    "no preferences": ({}, {"preferences": "none"}, "the study has no `preferences:` to learn from"),
    "too many pairs": ({"pairs": [1025], "seeds": [1]}, {}, "2050 pairs, but there are 2048 (64 prompts"),
    "temperature": ({}, {"sampling": {"temperature": 0.7}}, "learn_from needs sampling.temperature: 1"),
    "top-p": ({}, {"sampling": {"top_p": 0.9}}, "learn_from needs sampling.temperature: 1 and sampling.top_p: 1"),
    "no features": (
        {"objective": "reverse-kl"},
        {"preferences": PREFERENCES | {"features": None}},
        "give its encoder in preferences.features",
    ),
    "no features for a regression": (
        {"objective": "rebel"},
        {"preferences": PREFERENCES | {"features": None}},
        "rebel fits a reward; give its encoder in preferences.features",
    ),
    "no penalty in a regression": ({"objective": "rebel", "coefficients": [0]}, {}, "coefficients must be positive"),
    "replies of another law": ({"learn_from": ["best-of-n-pairs"]}, {}, "do not follow the base's law"),
    "negative": ({"coefficients": [-1]}, {}, "coefficients must be positive"),
    "no penalty": ({"objective": "rlhf", "coefficients": [0]}, {}, "(0 is for reverse-kl, pmle, distillation)"),
}


@pytest.mark.parametrize(("recipe", "more", "said"), UNLEARNABLE.values(), ids=UNLEARNABLE)
def test_a_recipe_without_its_pairs_is_refused(recipe, more, said):
    with pytest.raises(ConfigError) as error:
        learning(recipe, **more)
    assert said in str(error.value)


def test_pairs_of_another_law_are_learned_from_where_no_kl_is_estimated_on_them():
    skewed = {"learn_from": ["best-of-n-pairs"]}
    for recipe in ({"coefficients": [0]}, {"objective": "dpo"}, {"objective": "rebel"}, {"objective": "reverse-kl"}):
        assert learning(skewed | recipe).runs
