"""Policies that learn from preference pairs: losses and signals by hand, slices, and runs where all laws are known."""

import functools
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from datasets.utils.logging import disable_progress_bar
from transformers import AutoModelForCausalLM
from worlds import World

from alignment_limits.errors import ArtifactError
from alignment_limits.exact.laws import kl, tilt
from alignment_limits.exact.world import exact_logprobs, load_exact, replies_of
from alignment_limits.models.tokenizer import load_tokenizer, stop_tokens
from alignment_limits.policies.kl import SamplingLaw
from alignment_limits.preferences import objectives
from alignment_limits.preferences.pairs import draw_pairs
from alignment_limits.rewards.base import ItemReward, untruncated
from alignment_limits.rewards.base import pairs as beside
from alignment_limits.rewards.words import load_lexicon
from alignment_limits.sampling.shard import decode, encode
from alignment_limits.training.offline import kl_on_base_replies, loss_of, pairs_trainer
from alignment_limits.training.rewards import Signal, StandardReward, as_rlhf, fit_reward
from alignment_limits.training.run import Progress, train
from alignment_limits.training.task import PairData, Task, dealt, load_base, padding_tokenizer

disable_progress_bar()
SLOPE = 0.4  # γ of losses and signals by hand
GAMMA, SAMPLES, PAIRS = 1.0, 256, 1024  # of the runs; samples and pairs of each prompt


def softmax(logits):
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


@pytest.mark.parametrize(
    ("objective", "coefficient"),
    [
        ("pmle", 0.0),
        ("pmle", 0.3),
        ("distillation", 0.0),
        ("distillation", 0.3),
        ("dpo", 0.4),
        ("ipo", 0.2),
        ("rebel", 0.6),
    ],
)
def test_the_trainers_loss_is_the_objective_of_logprobs_taken_token_by_token(
    tiny_model, tmp_path, objective, coefficient
):
    world = World(tiny_model, 6)
    rng = np.random.default_rng(1)
    chosen, rejected = rng.permuted(np.tile(np.arange(64), (8, 1)), axis=1)[:, :2].T
    data = PairData(np.arange(8) % 4, chosen, rejected, SLOPE, rng.normal(size=(4, 64)))
    settings = {"objective": objective, "coefficient": coefficient, "setting": "as-modelled", "steps": 1, "batch": 8}
    task = world.task(tmp_path, **settings, lora=None)
    task = Task(**{**vars(task), "pairs": data})
    model, reference = (load_base(tiny_model, "float32", world.stop) for _ in range(2))
    torch.manual_seed(2)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.01 * torch.randn_like(weight))
    tokenizer = padding_tokenizer(tiny_model, world.vocabulary)
    made = pairs_trainer(task, Progress(task, tmp_path / "no.pt", ""), model, reference, None, tokenizer)
    loss = made.compute_loss(made.model, next(iter(made.get_train_dataloader())))

    def logprob(weights, prompt, reply):
        with torch.inference_mode():
            law = torch.log_softmax(weights(torch.tensor([[*prompt, *reply]])).logits[0].double(), -1).numpy()
        return sum(law[len(prompt) + t - 1, token] for t, token in enumerate(reply))

    plain = [AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float64) for _ in range(2)]
    plain[0].load_state_dict({key: value.double() for key, value in model.state_dict().items()})
    examples = list(data.examples(1, 8, 0, world.sent, world.samples))
    policy, base = (
        np.array([[logprob(w, e["prompt_ids"], e[side]) for e in examples] for side in ("chosen_ids", "rejected_ids")])
        for w in plain
    )
    margin, against = policy[0] - policy[1], base[0] - base[1]
    fitted = np.array([e["reward_margin"] for e in examples])
    ratio = np.exp(policy - base)
    penalty = coefficient * (ratio * np.log(ratio) - ratio + 1).mean()
    expected = {
        "pmle": lambda: objectives.pmle(margin, gamma=SLOPE).value.mean() + penalty,
        "distillation": lambda: objectives.distillation(margin, fitted, gamma=SLOPE).value.mean() + penalty,
        "dpo": lambda: objectives.dpo(margin, against, beta=coefficient).value.mean(),
        "ipo": lambda: objectives.ipo(margin, against, tau=coefficient).value.mean(),
        "rebel": lambda: ((margin - against - fitted / coefficient) ** 2).mean(),
    }[objective]()
    assert np.abs(margin - against).min() > 1e-3, "policy and base must differ"
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_the_kl_on_base_replies_is_unbiased_and_no_term_is_negative():
    rng = np.random.default_rng(0)
    policy, base = softmax(rng.normal(size=(2, 50)))
    ratio = torch.from_numpy(policy - base)
    terms = np.array([float(kl_on_base_replies(one)) for one in ratio[:, None]])
    assert terms.min() >= 0
    assert np.exp(base) @ terms == pytest.approx(np.exp(policy) @ (policy - base), abs=1e-12)


@pytest.mark.parametrize("beta", [0.0, 0.7])
def test_reverse_kl_is_rlhf_on_a_shifted_reward(beta):
    rng = np.random.default_rng(3)
    policy, base = softmax(rng.normal(size=(2, 5, 30)))
    reward = rng.normal(size=(5, 30))
    shifted, coefficient = as_rlhf(reward, base, objective="reverse-kl", gamma=SLOPE, coefficient=beta)
    own = objectives.reverse_kl(policy, base, reward, gamma=SLOPE, beta=beta)
    other = objectives.rlhf(policy, base, shifted, beta=coefficient)
    np.testing.assert_allclose(SLOPE * other.value, own.value, atol=1e-9)
    np.testing.assert_allclose(SLOPE * other.slope, own.slope, atol=1e-9)
    optimum = softmax((beta * base + reward) / (beta + SLOPE))
    np.testing.assert_allclose(softmax(base + shifted / coefficient), optimum, atol=1e-9)
    if beta:
        plain, coefficient = as_rlhf(reward, base, objective="rlhf", gamma=SLOPE, coefficient=beta)
        same = objectives.rlhf(policy, base, plain, beta=coefficient)
        np.testing.assert_allclose(
            SLOPE * same.slope, objectives.rlhf(policy, base, reward, beta=beta).slope, atol=1e-9
        )


def test_rebel_is_least_at_rlhfs_optimum_of_the_same_coefficient():
    rng, beta = np.random.default_rng(4), 0.7
    base, reward = softmax(rng.normal(size=30)), rng.normal(size=30)
    chosen, rejected = np.stack([np.arange(30), rng.permutation(np.roll(np.arange(30), 1))])
    loss = loss_of("rebel", coefficient=beta, gamma=SLOPE)

    def of(logits):
        policy = torch.log_softmax(logits, -1)
        pairs = [torch.stack([law[chosen], law[rejected]]) for law in (policy, torch.from_numpy(base))]
        return loss(*pairs, torch.from_numpy(reward[chosen] - reward[rejected]))

    optimum = softmax(base + reward / beta)
    shifted, coefficient = as_rlhf(reward, base, objective="rlhf", gamma=SLOPE, coefficient=beta)
    np.testing.assert_allclose(objectives.rlhf(optimum, base, shifted, beta=coefficient).slope, 0, atol=1e-12)
    for start, still in ((optimum, True), (base, False), (rng.normal(size=30), False)):
        logits = torch.tensor(start, requires_grad=True)
        value = of(logits)
        value.backward()
        assert (float(value.detach()) < 1e-20) == (float(logits.grad.abs().max()) < 1e-12) == still
        for i, step in enumerate(np.eye(30) * 1e-6):
            slope = float(of(torch.from_numpy(start + step)) - of(torch.from_numpy(start - step))) / 2e-6
            assert float(logits.grad[i]) == pytest.approx(slope, abs=1e-7)


def test_seeds_have_pairs_of_their_own_and_prompts_take_turns():
    rng, size = np.random.default_rng(0), 7
    table = pl.DataFrame({"prompt_id": np.repeat(["c", "a", "b"], 2 * size), "level": np.tile([0.0, 1.0], 3 * size)})
    table = table.with_columns(pair=pl.int_range(pl.len()), chosen_id=pl.Series(rng.integers(0, 9, len(table))))
    slices = [dealt(table, 1.0, 8, seed) for seed in (0, 1)]
    assert not set(slices[0]["pair"]) & set(slices[1]["pair"])
    for dealt_ in slices:
        assert set(dealt_["level"]) == {1.0}
        assert sorted(dealt_["prompt_id"].value_counts()["count"]) == [2, 3, 3]
    assert dealt(table, 1.0, 4, 0)["pair"].to_list() == slices[0]["pair"].to_list()[:4]
    with pytest.raises(ArtifactError, match="8 pairs for each of the seeds 0 to 2 are asked for, but there are 21"):
        dealt(table, 1.0, 8, 2)


class Known:
    """The enumerable study's base, target and pairs: every law is a table."""

    def __init__(self) -> None:
        self.base = Path("resources/enumerable/model")
        self.tokenizer = load_tokenizer(self.base)
        self.stop = stop_tokens(self.base, self.tokenizer)
        self.prompts = Path("resources/enumerable/prompts.txt").read_text("utf-8").splitlines()[:16]
        self.sent = encode(self.prompts, self.tokenizer, "none")
        model = load_exact(self.base)
        self.replies = replies_of(model, self.stop, 4)
        self.log_base = exact_logprobs(model, self.sent, self.replies, SamplingLaw())
        texts = decode([list(r) for r in self.replies.tokens], self.tokenizer, self.stop)
        self.reward = load_lexicon(None, device="cpu", text="prompt+reply", sign=1, lexicon="vader")
        raw = np.stack([self.reward.score([p] * len(texts), texts).score for p in self.prompts])
        rng = np.random.default_rng(5)
        drawn = np.stack([rng.choice(len(texts), SAMPLES, p=np.exp(law) / np.exp(law).sum()) for law in self.log_base])
        self.samples = [[list(self.replies.tokens[i]) for i in row] for row in drawn]
        self.scores = np.take_along_axis(raw, drawn, 1)
        self.log_base_drawn = np.take_along_axis(self.log_base, drawn, 1)
        self.standard = StandardReward({"whole": self.reward}, {"whole": self.scores})
        at = np.repeat(np.arange(16), len(texts))
        self.gold = self.standard(at, [self.prompts[i] for i in at], texts * 16).reshape(raw.shape)
        self.target = tilt(self.log_base, self.gold, 1.0)
        aim = np.take_along_axis(self.target, drawn, 1)
        some = [
            draw_pairs(aim[i], self.log_base_drawn[i], self.standard.base[i], PAIRS, rng, gamma=GAMMA)
            for i in range(16)
        ]
        chosen, rejected = (np.concatenate([getattr(p, side) for p in some]) for side in ("chosen", "rejected"))
        row = np.repeat(np.arange(16), PAIRS)
        # the gold itself as the only feature: the smallest class of rewards that holds the target's
        features = self.standard.base[..., None]
        self.fitted = fit_reward(features, self.log_base_drawn, row, chosen, rejected, base_weight=GAMMA)
        self.pairs = PairData(row, chosen, rejected, GAMMA, self.fitted(features, self.log_base_drawn))

    def task(self, scratch, **settings):
        scratch.mkdir(exist_ok=True)
        shape = {"steps": 60, "batch": 128, "group": 1, "epochs": 1, "kl_every": 30, "learning_rate": 2e-3}
        settings = shape | {"lora": None, "dtype": "float32", "seed": 0, "setting": "as-modelled"} | settings
        signal = None
        if settings["objective"] in ("reverse-kl", "rlhf"):
            rows = {prompt: i for i, prompt in enumerate(self.prompts)}
            gold = lambda items: untruncated(self.standard([rows[p] for p, _ in items], *zip(*items, strict=True)))  # noqa: E731
            model = ItemReward(beside, lambda items: untruncated(gold(items).score * self.fitted.weight[0]))
            signal = Signal(model, self.fitted.base_weight, settings["objective"], GAMMA, settings["coefficient"])
        return Task(
            settings=settings,
            base=self.base,
            sent=self.sent,
            prompts=self.prompts,
            law=SamplingLaw(),
            longest=4,
            reward=self.standard,
            samples=self.samples,
            tokenizer=self.tokenizer,
            stop=self.stop,
            scratch=scratch,
            pairs=self.pairs,
            signal=signal,
        )

    def law(self, folder):
        return exact_logprobs(load_exact(folder), self.sent, self.replies, SamplingLaw())


@pytest.fixture(scope="module")
def known():
    return Known()


def test_the_fitted_reward_finds_the_targets(known):
    """R̂'s weight is γ/β on gold, beside γ on log π₀."""
    assert known.fitted.weight[0] == pytest.approx(GAMMA, abs=0.1)


RUNS = {
    "pmle": {"coefficient": 0.0},
    "distillation": {"coefficient": 0.0},
    "dpo": {"coefficient": 2.0},
    "rebel": {"coefficient": 2.0},
    "reverse-kl": {"coefficient": 0.0, "group": 16, "steps": 45},
    "rlhf": {"coefficient": 2.0, "group": 16, "steps": 45},
}


@pytest.mark.parametrize("objective", RUNS)
def test_a_short_run_comes_near_its_objectives_optimum(known, tmp_path, objective):
    """By exact KL: that of PMLE, distillation and reverse KL at β = 0 is the target, the others' are not."""
    task = known.task(tmp_path / "scratch", objective=objective, **RUNS[objective])
    rows = train(task, tmp_path / "policy", tmp_path / "policy.pt", "stamp", 1e9)
    policy, beta = known.law(tmp_path / "policy"), RUNS[objective]["coefficient"]
    optimum = {
        "dpo": lambda: softmax(known.log_base + GAMMA / beta * known.target),
        "rebel": lambda: softmax(known.log_base + GAMMA / beta * known.target),
        "rlhf": lambda: softmax(known.log_base + GAMMA / beta * known.target),
    }.get(objective, lambda: known.target)()
    before, after = kl(optimum, known.log_base).mean(), kl(optimum, policy).mean()
    assert after < (0.65 if objective == "pmle" else 0.4) * before  # a label says less than a fitted reward
    assert [row["step"] for row in rows] == list(range(task.steps))
    watched = [row["reward"] for row in rows if "reward" in row]
    assert len(watched) == (task.steps if task.signal else 3), "pairs are learned from without drawing"
    assert np.mean(watched[-3:]) > 0.2, "the curves are of gold"


def test_a_killed_run_learns_from_the_pairs_that_are_left(known, tmp_path, monkeypatch):
    task = functools.partial(
        known.task, tmp_path / "scratch", objective="distillation", coefficient=0.1, batch=8, kl_every=2
    )
    whole = train(task(steps=6), tmp_path / "whole", tmp_path / "whole.pt", "stamp", 1e9)
    measure = Progress.measure

    def killed(self, *arguments):
        if len(self.rows) == 4:
            raise KeyboardInterrupt
        return measure(self, *arguments)

    monkeypatch.setattr(Progress, "measure", killed)
    with pytest.raises(KeyboardInterrupt):
        train(task(steps=6), tmp_path / "killed", tmp_path / "killed.pt", "stamp", 0.0)
    monkeypatch.setattr(Progress, "measure", measure)
    assert train(task(steps=6), tmp_path / "killed", tmp_path / "killed.pt", "stamp", 1e9) == whole
    np.testing.assert_array_equal(known.law(tmp_path / "killed"), known.law(tmp_path / "whole"))
