"""Every objective, trained on a tiny model, goes where its documentation says; killed, it goes on where it was."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from worlds import World

from alignment_limits.training.progress import Progress
from alignment_limits.training.run import train

OBJECTIVES = {
    "ppo": {"objective": "ppo"},
    "grpo": {"objective": "grpo", "group": 8},
    "rloo": {"objective": "rloo", "group": 8},
    "dpo": {"objective": "dpo"},
    "best-of-n": {"objective": "best-of-n", "coefficient": 8},
}
FULL = {"lora": None, "learning_rate": 2e-3}


@pytest.fixture(scope="module")
def one_token(tiny_model):
    """Replies of one token: everything is known exactly."""
    return World(tiny_model, 1)


@pytest.fixture(scope="module")
def world(tiny_model):
    return World(tiny_model, 6)


@pytest.fixture
def run(tmp_path):
    def run(world, name="policy", every=1e9, stamp="stamp", **settings):
        (tmp_path / "scratch").mkdir(exist_ok=True)
        task = world.task(tmp_path / "scratch", **settings)
        rows = train(task, tmp_path / name, tmp_path / f"{name}.pt", stamp, every)
        return rows, tmp_path / name

    return run


def tilted(world, task, beta):
    """The tilt's log-probabilities, and the standardised reward of each token [prompts, vocabulary]."""
    base = world.first_token()
    rows = np.repeat(np.arange(len(base)), base.shape[1])
    reward = task.score(rows, [[token] for _ in base for token in range(base.shape[1])]).reshape(base.shape)
    log = base + reward / beta
    return log - np.log(np.exp(log).sum(1, keepdims=True)), reward


@pytest.mark.parametrize("objective", ["ppo", "grpo", "rloo"])
def test_the_optimum_is_the_tilt_at_the_coefficient(one_token, run, tmp_path, objective):
    """Of 𝒥 = E r − β·KL the policy has nearly all that the tilt has; at another coefficient it would not."""
    beta = 1.0
    settings = OBJECTIVES[objective] | FULL | {"coefficient": beta, "steps": 120, "batch": 64}
    _, folder = run(one_token, **settings)
    tilt, reward = tilted(one_token, one_token.task(tmp_path), beta)
    base, policy = one_token.first_token(), one_token.first_token(folder)

    def kl(p, q):
        return (np.exp(p) * (p - q)).sum(1).mean()

    def gain(p):
        return ((np.exp(p) - np.exp(base)) * reward).sum(1).mean()

    print(objective, kl(policy, base), kl(tilt, base), gain(policy), gain(tilt), kl(policy, tilt))
    assert kl(policy, base) == pytest.approx(kl(tilt, base), rel=0.2)
    assert gain(policy) == pytest.approx(gain(tilt), rel=0.1)
    assert kl(policy, tilt) < 0.15 * kl(base, tilt)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_training_raises_the_reward_and_a_large_coefficient_holds_the_policy(world, run, objective):
    settings = OBJECTIVES[objective]
    rows, folder = run(world, **settings)
    late = {key: np.mean([row[key] for row in rows[-8:]]) for key in rows[0]}
    assert rows[0]["kl"] == pytest.approx(0, abs=1e-4)
    assert late["reward"] > 0.5
    assert late["kl"] > 0.3
    assert abs(late["kl"] - late["kl_log_ratio"]) < 0.5 + 0.2 * late["kl"]
    assert 1 < late["length"] < world.longest
    assert (folder / "adapter_model.safetensors").is_file()
    if objective != "best-of-n":
        rows, _ = run(world, **settings | {"coefficient": 100.0, "steps": 16})
        held = np.mean([row["kl"] for row in rows[-8:]])
        assert held < 0.1 * late["kl"], held


@pytest.mark.parametrize("objective", OBJECTIVES)
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
    weights = [load_file(f / "adapter_model.safetensors") for f in (whole, folder)]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_a_checkpoint_of_other_settings_is_not_taken_up(world, run, monkeypatch):
    settings = OBJECTIVES["grpo"] | {"steps": 3}
    monkeypatch.setattr("pathlib.Path.unlink", lambda *_, **__: None)
    run(world, every=0.0, stamp="one", **settings)
    fresh = []
    monkeypatch.setattr(Progress, "on_train_begin", lambda self, *_, **__: fresh.append(self.start))
    run(world, stamp="another", **settings)
    assert fresh == [0]
