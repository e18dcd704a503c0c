"""The planner's promises, kept by the study it plans."""

import numpy as np
import pytest

from alignment_limits.errors import EstimateError
from alignment_limits.exact.markov import MarkovReplies, MarkovWorld
from alignment_limits.limits import Level, Pool, Tempering, limit_at, plan, temper, tempered_limit
from alignment_limits.limits.pilots import Pilot, log_spread
from alignment_limits.limits.plan import Plan

WORLDS = {
    "gaussian": lambda rng, prompts, samples: rng.standard_normal((prompts, samples)),
    "0/1": lambda rng, prompts, samples: (rng.random((prompts, samples)) < rng.beta(2, 6, (prompts, 1))) * 1.0,
    "rubric": lambda rng, prompts, samples: np.clip(
        np.round(5.5 + 2 * (rng.normal(0, 0.6, (prompts, 1)) + rng.standard_normal((prompts, samples)))), 1, 10
    ),
}


@pytest.mark.parametrize("world", WORLDS)
def test_the_planned_study_is_reliable_and_reaches_its_width(world: str) -> None:
    """Of four studies run at the size that a pilot asks for, one may be refused by chance."""
    rng = np.random.default_rng(0)
    planned = plan(WORLDS[world](rng, 64, 64), [0.5], half_width=0.06)
    prompts, samples = int(planned.prompts[0]), int(planned.samples[0])
    assert planned.accepted[0] >= 0.9
    assert planned.prompts_low[0] <= prompts <= planned.prompts_high[0]
    studies = [limit_at(WORLDS[world](rng, prompts, samples), [0.5], replicates=400) for _ in range(4)]
    assert sum(bool(study.reliable[0]) for study in studies) >= 3
    reached = np.mean([(study.gain_high - study.gain_low)[0] / 2 / study.gain[0] for study in studies])
    assert 0.06 * 0.6 <= reached <= 0.06 * 1.35


def pooled_world(rng: np.random.Generator, prompts: int, samples: int, kl: float = 4.0) -> tuple[np.ndarray, Pool]:
    """Scores N(0, 1) of the base and N(√(2κ), 1) of a policy, which is the tilt at κ."""
    mean = np.sqrt(2 * kl)
    scores = np.concatenate([rng.normal(size=(prompts, samples)), rng.normal(mean, 1, (prompts, samples))], axis=1)
    return scores, Pool.of(np.repeat(["base", "policy"], samples), {"policy": mean * scores - mean**2 / 2})


def test_a_pool_is_planned_where_it_needs_fewer_replies_and_the_study_keeps_the_promise() -> None:
    """Base samples alone would need 4 e^4 samples per prompt. Of four studies, one may be refused by chance."""
    rng = np.random.default_rng(0)
    pilot, pool = pooled_world(rng, 48, 48)
    planned = plan(pilot, [0.1, 4.0], half_width=0.02, pool=pool)
    alone = plan(pilot[:, :48], [0.1, 4.0], half_width=0.02)
    prompts, samples = int(planned.prompts[1]), int(planned.samples[1])
    assert planned.samples_from[1] == "pool"
    assert planned.replies[1] == 2 * prompts * samples
    assert np.isnan(alone.replies[1]) or planned.replies[1] < alone.replies[1]
    assert planned.replies[0] <= alone.replies[0] == alone.prompts[0] * alone.samples[0]
    assert "of the base and of each pooled law" in planned.lines()[1]
    studies = []
    for _ in range(4):
        scores, laws = pooled_world(rng, prompts, samples)
        studies.append(limit_at(scores, [4.0], pool=laws, replicates=400))
    assert sum(bool(study.reliable[0]) for study in studies) >= 3
    reached = np.mean([(study.gain_high - study.gain_low)[0] / 2 / study.gain[0] for study in studies])
    assert 0.02 * 0.6 <= reached <= 0.02 * 1.35


def test_tempered_sampling_is_planned_where_samples_show_nothing_and_the_study_keeps_the_promise() -> None:
    """Markov chains of 8 tokens; 64 base samples show up to 2.8 nats."""

    def start(prompts: int, seed: int) -> tuple[Level, MarkovReplies]:
        pairs = np.random.default_rng((seed, 1)).normal(size=(prompts, 8, 8))
        chains = MarkovWorld.random(prompts, tokens=8, length=8)
        replies = chains.sample(pairs, 0.0, 64, np.random.default_rng(seed))
        return Level.base(replies.tolist(), chains.reward(pairs, replies)), MarkovReplies(chains, pairs)

    pilot = start(64, 0)[0].scores
    planned = plan(pilot, [0.5, 3.5], half_width=0.1, particles=32)
    assert planned.samples_from.tolist() == ["base", "tempered"]
    assert planned.lines()[1].endswith("× 32 particles of tempered sampling")
    assert plan(pilot, [3.5], half_width=0.1).lines() == ["KL 3.5: the pilot's 64 samples do not reach this KL"]
    base, world = start(int(planned.prompts[1]), 1)
    full = [base, *temper(world, base, Tempering(kl=3.5, particles=32))]
    ladder = tuple(level.inverse for level in full[1:])
    half = [base, *temper(world, base, Tempering(particles=16, ladder=ladder, seed=1))]
    row = tempered_limit(full, half, [3.5], replicates=200)
    assert (row.gain_high - row.gain_low)[0] / 2 / row.gain[0] <= 0.1 * 1.25
    levels = int(planned.reason[1].split()[1])
    assert 0.6 <= levels / (len(full) - 1) <= 1.4
    drawn = base.lengths.mean() * 64 + sum(level.drawn.mean() for level in [*full[1:], *half[1:]])
    assert planned.replies[1] == pytest.approx(planned.prompts[1] * drawn / base.lengths.mean(), rel=0.35)


def test_tempered_sampling_is_planned_from_unequal_counts_and_not_where_nothing_is_left_to_gain() -> None:
    scores = np.random.default_rng(0).normal(size=(40, 64))
    whole = plan(scores, [3.5], half_width=0.1, particles=32)
    scores[np.arange(40), np.arange(40)] = np.nan  # every prompt lacks another sample
    lacking = plan(scores, [3.5], half_width=0.1, particles=32)
    assert lacking.samples_from[0] == whole.samples_from[0] == "tempered"
    assert lacking.replies[0] == pytest.approx(whole.replies[0], rel=0.3)
    coins = (np.random.default_rng(0).random((40, 64)) < 0.97) * 1.0  # at once nearly all have the best reward
    assert plan(coins, [3.5], half_width=0.1, particles=32).samples_from[0] == "base"


def test_a_pool_of_policies_far_from_the_tilt_is_not_proposed() -> None:
    """The policy moves another coordinate than the reward's."""
    rng = np.random.default_rng(1)
    scores, aside = rng.normal(size=(48, 96)), rng.normal(size=(48, 96))
    aside[:, 48:] += 3.0
    pool = Pool.of(np.repeat(["base", "policy"], 48), {"policy": 3.0 * aside - 4.5})
    assert (plan(scores, [0.3, 4.0], pool=pool).samples_from == "base").all()


def test_the_interval_of_the_prompts_needed_contains_what_many_prompts_say() -> None:
    """0/1 rewards with pass rates Beta(.3, .7): pilots differ much in the prompts they ask for, and say so."""

    def pilot(seed: int, prompts: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        return (rng.random((prompts, 64)) < rng.beta(0.3, 0.7, (prompts, 1))) * 1.0

    truth = plan(pilot(99, 2000), [0.3], half_width=0.05).prompts[0]
    asked = [plan(pilot(seed, 64), [0.3], half_width=0.05) for seed in range(3)]
    inside = [bool(p.prompts_low[0] / 1.15 <= truth <= p.prompts_high[0] * 1.15) for p in asked]
    assert sum(inside) >= 2
    assert all(p.prompts_high[0] < 3 * p.prompts_low[0] for p in asked)


def test_the_same_pilot_asks_for_about_the_same_with_any_seed() -> None:
    pilot = WORLDS["0/1"](np.random.default_rng(5), 64, 64)
    asked = np.array([plan(pilot, [0.5], half_width=0.03, seed=seed).prompts[0] for seed in range(3)])
    assert asked.max() < 1.35 * asked.min()


def test_prompts_in_any_order_and_whole_clusters() -> None:
    rng = np.random.default_rng(6)
    template = np.repeat(np.arange(24), 4)
    pilot = np.exp(0.5 * rng.standard_normal(24))[template][:, None] * rng.standard_normal((96, 48))
    keys, turned = np.arange(96) * 5 + 2, rng.permutation(96)
    one = plan(pilot, [0.3], keys=keys, clusters=template)
    two = plan(pilot[turned], [0.3], keys=keys[turned], clusters=template[turned])
    np.testing.assert_allclose([two.prompts[0], two.samples[0]], [one.prompts[0], one.samples[0]])
    assert one.prompts[0] > 2 * plan(pilot, [0.3], keys=keys).prompts[0]


def test_more_kl_needs_more_samples_and_narrower_intervals_more_prompts() -> None:
    pilot = np.random.default_rng(1).standard_normal((64, 128))
    planned = plan(pilot, [0.2, 2.0], half_width=0.04)
    assert planned.samples[1] > planned.samples[0]
    finer = plan(pilot, [2.0], half_width=0.02)
    assert finer.prompts[0] * finer.samples[0] > 2.5 * planned.prompts[1] * planned.samples[1]


def test_where_few_prompts_carry_the_limit_a_wide_interval_takes_more_prompts() -> None:
    """Few prompts are enough for the width, but no number of samples makes so few carry the limit."""
    rng = np.random.default_rng(3)
    spread = np.exp(0.35 * rng.normal(size=(64, 1)))
    wide = plan(spread * rng.standard_normal((64, 64)), [0.1, 0.5], half_width=0.25)
    assert (wide.prompts > 20).all()
    assert (wide.samples <= 128).all()


def test_best_of_n_asks_for_sixteen_samples_per_draw() -> None:
    pilot = np.random.default_rng(2).standard_normal((64, 64))
    planned = plan(pilot, [0.1], most_draws=32)
    assert planned.samples[0] == 512
    assert "best-of-32" in planned.reason[0]


def test_sizes_are_written_with_two_digits_rounded_up_or_the_reason_is() -> None:
    numbers = {"gain": [0.5] * 3, "half_width": [0.1] * 3, "accepted": [0.95] * 2 + [np.nan]}
    sizes = {"prompts": [1234, 16, np.nan], "prompts_low": [911, 16, np.nan], "prompts_high": [1300, 20.1, np.nan]}
    rest = {"kl": [0.05, 1, 2], "samples": [95.0, 541.0, 30.0], "reason": ["a", "b", "too few"]}
    rest |= {"samples_from": ["base", "pool", "base"], "replies": [117_230.0, 17_312.0, np.nan]}
    written = Plan(**{name: np.array(column) for name, column in (numbers | sizes | rest).items()}).lines()
    assert written == [
        "KL 0.05: 1300 prompts (920 to 1300) × 95 samples",
        "KL 1: 16 prompts (16 to 21) × 550 samples of the base and of each pooled law",
        "KL 2: too few",
    ]


def test_what_the_pilot_cannot_show_gets_a_lower_bound_and_no_promise() -> None:
    planned = plan(np.random.default_rng(3).standard_normal((32, 32)), [5.0])
    assert np.isnan(planned.prompts[0])
    assert planned.samples[0] >= 4 * np.exp(5)
    assert "do not reach" in planned.reason[0]
    constant = plan(np.ones((16, 16)), [0.5])
    assert np.isnan(constant.prompts[0])
    assert constant.gain[0] == 0


def test_heavy_tails_get_no_promise_and_no_verdict_with_any_number_of_prompts() -> None:
    r = np.random.default_rng(4).standard_exponential((600, 64))
    planned = plan(r[:64], [0.05])
    assert np.isnan(planned.prompts[0])
    assert "heavy upper tail" in planned.reason[0]
    assert "heavy upper tail" in limit_at(r, [0.05]).reason[0]


def test_pilots_too_small_are_refused() -> None:
    with pytest.raises(EstimateError, match="8 prompts x 64"):
        plan(np.ones((8, 64)), [0.1])
    with pytest.raises(EstimateError, match="must be positive"):
        plan(np.random.default_rng(0).random((16, 16)), [0.1], half_width=0)


def test_more_samples_than_the_pilot_has_are_called_a_rough_figure() -> None:
    more = plan(WORLDS["rubric"](np.random.default_rng(1), 64, 32), [0.05], half_width=0.1, most_draws=4)
    assert more.samples[0] > 32
    assert more.lines()[0].endswith("samples (a rough figure: each prompt of the pilot has only 32)")
    enough = plan(WORLDS["gaussian"](np.random.default_rng(0), 64, 64), [0.5], half_width=0.1)
    assert enough.samples[0] <= 64
    assert "rough" not in enough.lines()[0] + enough.reason[0]


def test_the_spread_of_drawn_prompts_is_varied_as_far_as_prompts_differ() -> None:
    rng = np.random.default_rng(0)
    alike = rng.normal(size=(400, 64))
    unlike = alike * np.exp(0.6 * rng.normal(size=(400, 1)))
    assert log_spread(alike) < 0.06
    assert log_spread(unlike) == pytest.approx(0.6, abs=0.06)
    assert log_spread(np.where(rng.random((400, 64)) < 0.1, np.nan, unlike)) == pytest.approx(0.6, abs=0.06)
    assert log_spread(np.ones((20, 16))) == 0.0
    pilot = Pilot.of(unlike[:64])
    drawn, _ = pilot.draw(2000, 64, rng)
    assert drawn.std(axis=1).max() > 1.1 * unlike[:64].std(axis=1).max(), "wider than any of the pilot"
    assert np.log(drawn.std(axis=1)).std() > 1.02 * np.log(unlike[:64].std(axis=1)).std()
    marks = Pilot.of(rng.integers(0, 5, size=(64, 64)).astype(float))
    assert set(np.unique(marks.draw(100, 32, rng)[0])) <= set(range(5)), "marks stay marks"
