"""Tempered sampling in worlds with exact answers: the moves, the levels, the pooled limit, and its verdict."""

import itertools
from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy.special import logsumexp

from alignment_limits.errors import EstimateError
from alignment_limits.exact import laws
from alignment_limits.exact.markov import MarkovReplies, MarkovWorld
from alignment_limits.limits import Level, Tempering, pool_levels, temper, tempered_limit
from alignment_limits.limits.sequential import next_step

LONGEST, WORDS = 4, 3  # tokens 1 to 3, and 0, which ends a reply


@dataclass
class Tree:
    """Replies of up to four tokens, all listed, with a law and a reward of their own for each prompt."""

    prompts: int
    seed: int = 0
    calls: int = 0

    def __post_init__(self):
        words = range(1, WORDS + 1)
        self.replies = [(*b, 0) for n in range(LONGEST) for b in itertools.product(words, repeat=n)]
        self.replies += list(itertools.product(words, repeat=LONGEST))
        rng = np.random.default_rng(self.seed)
        starts = [b for n in range(LONGEST) for b in itertools.product(words, repeat=n)]
        self.next = {b: rng.dirichlet(np.full(WORDS + 1, 2.0), size=self.prompts) for b in starts}
        logs = [sum(np.log(self.next[r[:t]][:, r[t]]) for t in range(len(r))) for r in self.replies]
        self.log_base = np.stack(logs, axis=1)  # (P, R)
        value = {
            b: rng.normal(size=self.prompts)
            for n in range(1, LONGEST + 1)
            for b in itertools.product(range(4), repeat=n)
        }
        self.scores = np.stack([sum(value[r[: t + 1]] for t in range(len(r))) for r in self.replies], axis=1)
        self.place = {r: i for i, r in enumerate(self.replies)}

    def extend(self, prompts, kept, seeds):
        self.calls += 1
        out = []
        for prompt, tokens, seed in zip(prompts, kept, seeds, strict=True):
            rng, reply = np.random.default_rng(seed), tuple(tokens)
            assert 0 not in reply, "a finished reply is not continued"
            while len(reply) < LONGEST and 0 not in reply:
                reply += (int(rng.choice(WORDS + 1, p=self.next[reply][prompt])),)
            out.append(reply)
        return out

    def reward(self, prompts, replies):
        return np.array([self.scores[p, self.place[tuple(r)]] for p, r in zip(prompts, replies, strict=True)])

    def base(self, samples=64):
        everyone = [[self.extend([p], [()], [1000 * p + i])[0] for i in range(samples)] for p in range(self.prompts)]
        return Level.base(everyone, [self.reward([p] * samples, row) for p, row in enumerate(everyone)])

    def limit(self, kl):
        found = laws.limit(self.log_base, self.scores, kl, "average")
        return float(laws.gain(found.law, self.log_base, self.scores).mean())


def two_runs(world, base, settings, seed=1):
    full = [base, *temper(world, base, settings)]
    half = replace(
        settings, particles=settings.particles // 2, seed=seed, ladder=tuple(level.inverse for level in full[1:])
    )
    return full, [base, *temper(world, base, half)]


@pytest.fixture(scope="module")
def tree():
    world = Tree(32)
    base = world.base()
    return world, base, *two_runs(world, base, Tempering(kl=1.5))


@pytest.fixture(scope="module")
def markov():
    """48 prompts of the world of theory.md: 20 tokens × 20 steps."""
    pairs = np.random.default_rng((5, 1)).normal(size=(48, 20, 20))
    world = MarkovWorld.random(48, tokens=20, length=20, seed=5)
    start = world.sample(pairs, 0.0, 64, np.random.default_rng(5))
    base = Level.base(start.tolist(), world.reward(pairs, start))
    return world, pairs, *two_runs(MarkovReplies(world, pairs), base, Tempering(kl=5.0, seed=5), seed=55)


def test_moves_leave_the_tilt_unchanged_where_lengths_differ():
    """Particles drawn exactly from the tilt have its law after moves at the same λ, too."""
    world, lam, particles = Tree(1, seed=4), 1.0, 4000
    law = np.exp(world.log_base[0] + lam * world.scores[0] - logsumexp(world.log_base[0] + lam * world.scores[0]))
    drawn = np.random.default_rng(0).choice(len(law), size=particles, p=law)
    exact = Level.base([[world.replies[i] for i in drawn]], world.scores[:1, drawn])
    base = replace(world.base(particles), scores=exact.scores, replies=exact.replies, origins=exact.origins)
    start = replace(base, inverse=lam * (1 - 1e-12))
    moved = next(temper(world, world.base(), Tempering(particles=particles, moves=5, ladder=(lam,)), start=start))
    assert moved.accepted.sum() > particles
    found = np.bincount([world.place[reply] for reply in moved.replies[0]], minlength=len(law)) / particles
    expected = np.sqrt(law * (1 - law) / particles)
    assert np.abs(found - law).max() < 4.5 * expected.max()
    assert np.sum((found - law) ** 2) < 2 * np.sum(expected**2)
    short = np.array([len(r) == 1 for r in world.replies])
    assert found[short].sum() == pytest.approx(law[short].sum(), abs=4 * np.sqrt(law[short].sum() / particles))


def test_log_z_by_levels_and_pooled_are_exact_in_a_listed_world(tree):
    world, _, full, _ = tree
    lam = np.array([level.inverse for level in full])
    exact = logsumexp(world.log_base[:, None] + lam[:, None] * world.scores[:, None], axis=2)
    by_levels = np.stack([level.log_z for level in full], axis=1)
    pooled = pool_levels(full).log_z
    for found in (by_levels, pooled):
        error = found - exact
        assert np.abs(error.mean(axis=0)).max() < 0.05
    assert np.sqrt(np.mean((pooled - exact) ** 2)) <= 1.02 * np.sqrt(np.mean((by_levels - exact) ** 2))


def test_pooled_levels_solve_the_equations_of_the_acceptance_ratio(tree):
    full = tree[2]
    pooled = pool_levels(full)
    for i, level in enumerate(full):
        assert logsumexp(pooled.log_weights + level.inverse * pooled.rewards, axis=1) == pytest.approx(
            pooled.log_z[:, i], abs=1e-6
        )


def test_without_levels_the_pool_is_the_base(tree):
    base = tree[1]
    kl, gain, *_ = pool_levels([base]).at(0.7)
    w = np.exp(0.7 * base.scores)
    w /= w.sum(axis=1, keepdims=True)
    assert gain == pytest.approx((w * base.scores).sum(axis=1) - base.scores.mean(axis=1))
    assert kl == pytest.approx((w * np.log(64 * w)).sum(axis=1))


def test_the_limit_of_a_listed_world_is_in_its_intervals(tree):
    world, _, full, half = tree
    kls = np.array([0.1, 0.25, 0.5, 1.0, 1.5])
    table = tempered_limit(full, half, kls)
    exact = np.array([world.limit(kl) for kl in kls])
    assert table.reliable[:5].all()
    assert np.all((table.gain_low[:5] <= exact) & (exact <= table.gain_high[:5]))
    assert table.gain[:5] == pytest.approx(exact, rel=0.04)


def test_the_limit_of_markov_worlds_is_within_two_per_cent_up_to_five_nats(markov):
    world, pairs, full, half = markov
    kls = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    table = tempered_limit(full, half, kls)
    exact = np.array([world.limit(pairs, kl)[0] for kl in kls])
    assert table.gain[:5] == pytest.approx(exact, rel=0.02)
    assert np.all((table.gain_low[:5] <= exact) & (exact <= table.gain_high[:5]))
    assert table.reliable[:4].all()
    assert table.beta[:5] == pytest.approx([1 / world.limit(pairs, kl)[1] for kl in kls], rel=0.1)
    # the correction is upwards, and it helps
    far = slice(2, 5)
    assert np.all(table.gain_half[far] < table.gain_full[far])
    assert np.all(np.abs(table.gain_full[far] - exact[far]) > np.abs(table.gain[far] - exact[far]))


def each_at(world, pairs, kl):
    """Mean gain of the tilts that spend a KL on every prompt: λ r is a reward with λ = 1."""
    low, high = np.full(len(pairs), 1e-6), np.full(len(pairs), 20.0)
    for _ in range(40):
        lam = (low + high) / 2
        short = world.tilt(pairs * lam[:, None, None], 1.0)[1] < kl
        low, high = np.where(short, lam, low), np.where(short, high, lam)
    return (world.tilt(pairs * lam[:, None, None], 1.0)[2] / lam).mean(), (1 / lam).mean()


def test_the_per_prompt_limit_of_markov_worlds_is_within_two_per_cent_up_to_five_nats(markov):
    world, pairs, full, half = markov
    kls = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    table = tempered_limit(full, half, kls, budgets=("average", "per-prompt"), replicates=400)
    each = table.budget == "per-prompt"
    assert table.at[each].tolist() == ["kl"] * 5, "after the rows of the levels"
    exact, beta = np.array([each_at(world, pairs, kl) for kl in kls]).T
    assert table.gain[each] == pytest.approx(exact, rel=0.02)
    assert np.all((table.gain_low[each] <= exact) & (exact <= table.gain_high[each]))
    assert table.beta[each] == pytest.approx(beta, rel=0.1)
    assert np.all(table.gain[each] <= 1.001 * table.gain[:5]), "no more than the average budget allows"
    alone = tempered_limit(full, half, kls, budgets=("per-prompt",), replicates=200)
    assert alone.gain == pytest.approx(table.gain[each])


def test_every_row_has_a_lower_bound_and_with_bounds_an_upper_one(markov):
    world, pairs, full, half = markov
    kls = np.array([1.0, 4.0, 9.0])
    table = tempered_limit(full, half, kls, budgets=("average", "per-prompt"), bounds=(-80.0, 80.0), replicates=200)
    at = (table.at == "kl") & (table.budget == "average")
    exact = np.array([world.limit(pairs, kl)[0] for kl in kls])
    assert not table.reliable[at][2]
    assert np.all((table.at_least[at] > 0.5 * exact) & (table.at_least[at] < exact))
    assert np.all(table.at_most[at] > exact)
    assert np.isfinite(table.at_least).all()
    levels = table.at == "level"
    gains = [world.tilt(pairs, 1 / b)[2].mean() for b in table.beta[levels]]
    assert np.all(table.at_least[levels] < gains)
    assert np.all(np.diff(table.at_least[levels]) >= 0)


def test_prompts_that_cannot_spend_a_per_prompt_budget_are_counted(tree):
    """A KL beyond what the most likely best reply of any prompt costs."""
    table = tempered_limit(tree[2], tree[3], [0.5, 9.0], budgets=("per-prompt",), replicates=200)
    assert table.reliable.tolist() == [True, False]
    assert table.gain[1] < 3 * table.gain[0]


def test_rows_of_levels_are_points_of_the_curve_with_their_cost(markov):
    world, pairs, full, half = markov
    rows = tempered_limit(full, half, [1.0])
    levels = rows.at == "level"
    assert rows.level.tolist() == [rows.level[0], *range(1, len(full))]
    kl, gain = np.array([[each.mean() for each in world.tilt(pairs, 1 / b)[1:]] for b in rows.beta[levels]]).T
    near = (kl > 0.2) & (kl < 3)
    assert rows.kl[levels][near] == pytest.approx(kl[near], rel=0.08)
    assert rows.gain_drawn[levels][near] == pytest.approx(gain[near], rel=0.08)
    new = [level.drawn.mean() / 64 for level in full[1:]]
    assert rows.tokens[levels] == pytest.approx(20 + np.cumsum(new))
    assert np.all(np.diff(rows.acceptance[levels]) < 0.02)


def test_another_reward_is_evaluated_in_the_same_replies(tree):
    full, half = tree[2:]
    twice = tuple([3.0 * level.scores + 5.0 for level in run] for run in (full, half))
    own = tempered_limit(full, half, [0.5, 1.0])
    other = tempered_limit(full, half, [0.5, 1.0], evaluated=twice)
    for name in ("gain", "gain_low", "gain_high", "gain_drawn"):
        assert getattr(other, name) == pytest.approx(3 * getattr(own, name), nan_ok=True)


def test_a_run_continues_from_any_level_with_the_same_result(tree):
    world, base, full, _ = tree
    again = list(temper(world, base, Tempering(kl=1.5), start=full[2]))
    assert [level.replies for level in again] == [level.replies for level in full[3:]]
    assert np.array_equal(again[-1].log_z, full[-1].log_z)
    assert np.array_equal(again[-1].origins, full[-1].origins)


def test_with_one_ladder_a_prompt_does_not_depend_on_the_others(tree):
    world, base, full, _ = tree
    ladder = tuple(level.inverse for level in full[1:4])
    part = [5, 9]

    class Some:
        def extend(self, prompts, kept, seeds):
            return world.extend([part[p] for p in prompts], kept, seeds)

        def reward(self, prompts, replies):
            return world.reward([part[p] for p in prompts], replies)

    few = Level.base([base.replies[i] for i in part], base.scores[part])
    *_, last = temper(Some(), few, Tempering(ladder=ladder), keys=np.array(part))
    assert last.replies == [full[3].replies[i] for i in part]


def test_a_wrong_acceptance_is_noticed(markov):
    """Rewards of other replies in the acceptance: the replies do not have the rewards of their scores."""
    world, pairs, full, _ = markov

    class Late(MarkovReplies):  # rewards that belong to other replies
        def reward(self, prompts, replies):
            return np.roll(super().reward(prompts, replies), 1)

    base = full[0]
    runs = two_runs(Late(world, pairs), base, Tempering(kl=5.0, particles=32))
    last = runs[0][-1]
    own = MarkovReplies(world, pairs).reward(np.repeat(np.arange(48), 32), [r for row in last.replies for r in row])
    assert own.mean() - base.scores.mean() < 0.5 * (last.scores.mean() - base.scores.mean())


def test_too_little_effort_is_refused(markov):
    world, pairs, full, _ = markov
    base = full[0]
    runs = two_runs(MarkovReplies(world, pairs), base, Tempering(kl=5.0, particles=16, moves=2, ess=0.5))
    table = tempered_limit(*runs, [4.0, 5.0])
    assert not table.reliable[:2].any()
    assert "use more" in table.reason[1]


def test_kls_beyond_the_last_level_have_no_limit(tree):
    table = tempered_limit(tree[2], tree[3], [0.5, 9.0])
    assert table.reliable[0]
    assert np.isnan(table.gain[1])
    assert "beyond the last level" in table.reason[1]
    assert table.level[1] == -1


def test_few_prompts_are_refused(tree):
    def few(level):
        names = ("scores", "origins", "log_z", "drawn", "proposed", "accepted")
        return replace(level, replies=level.replies[:8], **{name: getattr(level, name)[:8] for name in names})

    table = tempered_limit(*([few(level) for level in run] for run in tree[2:]), [0.5])
    assert "only 8 independent prompts" in table.reason[0]


def test_rewards_that_saturate_end_the_levels():
    """Replies of reward 1 are common: once all particles have it, a larger λ changes nothing."""
    world = Tree(16)
    world.scores = (world.scores > 0.5).astype(float)
    *_, last = temper(world, world.base(), Tempering(kl=50.0, particles=16, moves=1))
    assert last.number < 100
    assert last.scores.mean() > 0.85
    assert next_step(np.ones((4, 8)), 0.9) == np.inf


def test_what_cannot_start_is_refused(tree):
    with pytest.raises(EstimateError, match="same number of replies"):
        Level.base([[(1,)], [(1,), (2,)]], [[0.0, 1.0], [1.0, 2.0]])
    with pytest.raises(EstimateError, match="same levels"):
        tempered_limit(tree[2], tree[3][:-1], [0.5])

    class Broken(Tree):
        def reward(self, prompts, replies):
            return np.full(len(prompts), np.nan)

    with pytest.raises(EstimateError, match="fix the reward"):
        list(temper(Broken(32), tree[1], Tempering()))


def test_intervals_contain_the_distance_of_the_two_runs(tree):
    """It bounds the bias that the correction leaves."""
    rows = tempered_limit(tree[2], tree[3], [0.5, 1.0])
    apart = np.abs(rows.gain_full - rows.gain_half)[:2]
    assert (rows.gain_high[:2] - rows.gain[:2] >= apart).all()
    assert (rows.gain[:2] - rows.gain_low[:2] >= apart).all()
