"""Every objective, trained on a tiny model, goes where its documentation says; killed, it goes on where it was."""

import itertools
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from worlds import SAMPLES

from alignment_limits.study.objectives import counts
from alignment_limits.training.offline import pairs, picks, tilt_weights
from alignment_limits.training.rewards import best_of_group, k2
from alignment_limits.training.run import Progress

OBJECTIVES = {
    "ppo": {"objective": "ppo"},
    "grpo": {"objective": "grpo", "group": 8},
    "rloo": {"objective": "rloo", "group": 8},
    "dpo": {"objective": "dpo", "batch": 64},
    "grpo-kl-in-reward": {"objective": "grpo-kl-in-reward", "group": 8},
    "grpo-k2": {"objective": "grpo-k2", "group": 8},
    "tilt": {"objective": "tilt", "batch": 64, "coefficient": 0.4},
    "best-of-n": {"objective": "best-of-n", "coefficient": 8},
    "expert-iteration": {"objective": "expert-iteration", "coefficient": 8, "group": 8},
}


def kl(p, q):
    """Of laws given by log-probabilities [prompts, vocabulary], a mean over prompts."""
    return (np.exp(p) * (p - q)).sum(1).mean()


@pytest.mark.parametrize(
    ("objective", "group"),
    [("ppo", 1), ("grpo", 2), ("rloo", 4), ("grpo-kl-in-reward", 2), ("grpo-k2", 4)],
)
def test_the_optimum_is_the_tilt_at_the_coefficient(one_token, run, tmp_path, objective, group):
    """Small groups, so that a group's mean taken for its expectation would be seen: β would be twice as large."""
    beta = 1.0
    settings = {"objective": objective, "group": group, "coefficient": beta, "steps": 80, "batch": 256, "kl_every": 40}
    _, folder = run(one_token, **settings, lora=None, learning_rate=1e-3)
    base, policy = one_token.first_token(), one_token.first_token(folder)
    rows = np.repeat(np.arange(len(base)), base.shape[1])
    reward = one_token.task(tmp_path).score(rows, [[token] for _ in base for token in range(base.shape[1])])

    def tilt(beta):
        log = base + reward.reshape(base.shape) / beta
        return log - np.log(np.exp(log).sum(1, keepdims=True))

    assert kl(policy, tilt(beta)) < 0.2 * kl(base, tilt(beta))
    assert kl(policy, base) == pytest.approx(kl(tilt(beta), base), rel=0.25)
    assert kl(policy, tilt(beta)) < 0.7 * min(kl(policy, tilt(beta / 2)), kl(policy, tilt(beta * 2)))


def test_pairs_are_preferred_as_bradley_and_terry_have_it(world, tmp_path):
    """The share of wins, by the difference of standardised rewards."""
    task = world.task(tmp_path, steps=100, batch=100)
    rewards = [dict(zip(map(tuple, s), r, strict=True)) for s, r in zip(world.samples, task.reward.base, strict=True)]
    known = {tuple(sent): reward for sent, reward in zip(world.sent, rewards, strict=True)}
    drawn = [(known[tuple(p["prompt_ids"])], p) for p in pairs(task)]
    margin = np.array([r[tuple(p["chosen_ids"])] - r[tuple(p["rejected_ids"])] for r, p in drawn])
    for low, high in ((0.1, 0.5), (0.5, 1.0), (1.0, 2.0)):
        some = margin[(np.abs(margin) > low) & (np.abs(margin) < high)]
        expected = 1 / (1 + np.exp(-np.abs(some)))
        error = np.sqrt((expected * (1 - expected)).sum()) / len(some)
        assert (some > 0).mean() == pytest.approx(expected.mean(), abs=4 * error)


def test_picks_have_best_of_ns_law(world, tmp_path):
    """Their mean reward is that of the best of n of the base's samples, by ranks."""
    n, task = 4, world.task(tmp_path, steps=100, batch=100, objective="best-of-n", coefficient=4)
    row = {tuple(ids): i for i, ids in enumerate(world.sent)}
    of = [[(i == -100) for i in pick["labels"]] for pick in picks(task)]
    sent = [tuple(itertools.compress(pick["input_ids"], prompt)) for pick, prompt in zip(picks(task), of, strict=True)]
    replies = [pick["labels"][len(s) :] for pick, s in zip(picks(task), sent, strict=True)]
    reward = task.score([row[s] for s in sent], replies)
    ranked = np.sort(task.reward.base, axis=1)
    weights = [math.comb(i, n - 1) / math.comb(SAMPLES, n) for i in range(SAMPLES)]
    assert reward.mean() == pytest.approx((ranked * weights).sum(1).mean(), abs=4 * reward.std() / 100)


def test_samples_for_the_tilt_have_its_weights(world, tmp_path):
    """Σ w r of a prompt's samples is the tilt's reward, which picks have on average."""
    beta = 0.5
    task = world.task(tmp_path, steps=100, batch=100, objective="tilt", coefficient=beta)
    weight = np.exp(task.reward.base / beta)
    weight /= weight.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(tilt_weights(task.reward.base, beta), weight)
    missing = np.array([[0.0, np.nan, beta * np.log(3)]])
    np.testing.assert_allclose(tilt_weights(missing, beta), [[0.25, 0, 0.75]])
    row = {tuple(ids): i for i, ids in enumerate(world.sent)}
    made = picks(task)
    sent = [p["input_ids"][: p["labels"].count(-100)] for p in made]
    replies = [p["labels"][len(s) :] for p, s in zip(made, sent, strict=True)]
    reward = task.score([row[tuple(s)] for s in sent], replies)
    assert reward.mean() == pytest.approx((weight * task.reward.base).sum(1).mean(), abs=4 * reward.std() / 100)


def test_the_gradient_of_k2_over_all_replies_is_that_of_the_kl():
    """And that of k2 with a fixed law of replies is not that of k2's own expectation."""
    base = torch.log_softmax(torch.randn(6, generator=torch.manual_seed(0), dtype=torch.float64), 0)
    logits = torch.randn(6, dtype=torch.float64, requires_grad=True)
    logp = torch.log_softmax(logits, 0)
    (of_kl,) = torch.autograd.grad((logp.exp() * (logp - base)).sum(), logits, retain_graph=True)
    law = logp.exp().detach()
    loss = sum(p * k2((logp - base)[i : i + 1]) for i, p in enumerate(law))
    (of_k2,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(of_k2, of_kl)


def test_the_best_of_a_group_gets_all():
    assert best_of_group(np.array([1.0, 3, 2, 0, 0, -1]), 3).tolist() == [0, 1, 0, 0.5, 0.5, 0]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_training_raises_the_reward_and_a_large_coefficient_holds_the_policy(world, run, objective):
    settings = OBJECTIVES[objective] | {"learning_rate": 5e-3, "steps": 24}
    rows, folder = run(world, **settings)
    late = {key: np.mean([row[key] for row in rows[-8:]]) for key in rows[0]}
    assert rows[0]["kl"] == pytest.approx(0, abs=1e-4)
    assert late["reward"] > 0.2, late
    assert late["kl"] > 0.3
    assert abs(late["kl"] - late["kl_log_ratio"]) < 0.5 + 0.2 * late["kl"]
    assert 1 < late["length"] < world.longest
    assert (folder / "adapter_model.safetensors").is_file()
    if not counts(objective):
        rows, _ = run(world, **settings | {"coefficient": 100.0, "steps": 16})
        held = np.mean([row["kl"] for row in rows[-8:]])
        assert held < 0.15 * late["kl"], held


@pytest.mark.parametrize("objective", ["ppo", "grpo", "dpo"])
def test_a_killed_run_goes_on_at_its_last_checkpoint_as_if_nothing_had_happened(world, run, monkeypatch, objective):
    settings = OBJECTIVES[objective] | {"steps": 8, "learning_rate": 3e-3}
    rows, whole = run(world, name="whole", **settings)
    measure, seen = Progress.measure, []

    def killed(self, *arguments):
        seen.append(len(self.rows))
        if len(seen) == 6:
            raise KeyboardInterrupt
        return measure(self, *arguments)

    monkeypatch.setattr(Progress, "measure", killed)
    with pytest.raises(KeyboardInterrupt):
        run(world, name="killed", every=0.0, **settings)
    resumed, folder = run(world, name="killed", **settings)
    assert seen == [0, 1, 2, 3, 4, 5, 5, 6, 7]
    assert resumed == rows
    weights = [load_file(made / "adapter_model.safetensors") for made in (whole, folder)]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_a_checkpoint_of_other_settings_is_not_taken_up(world, run, monkeypatch):
    settings = OBJECTIVES["grpo"] | {"steps": 3}
    monkeypatch.setattr("pathlib.Path.unlink", lambda *_, **__: None)
    run(world, every=0.0, stamp="one", **settings)
    fresh = []
    monkeypatch.setattr(Progress, "on_train_begin", lambda self, *_, **__: fresh.append(self.start))
    run(world, stamp="another", **settings)
    assert fresh == [0]
