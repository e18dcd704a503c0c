"""pass@k, majority votes and best-of-majority: enumeration of subsets and of answer laws, ties, missing answers."""

from itertools import combinations, product
from math import factorial, log, prod

import numpy as np
import pytest

from alignment_limits.errors import EstimateError
from alignment_limits.limits.ranks import best_of_n_means, kl_bound
from alignment_limits.tradeoffs import best_of_majority, majority, pass_at_k
from alignment_limits.tradeoffs.majority import Stretches

CORRECT = np.array([1, 1, 0, 0, 0, 1, 0.0])
ANSWERS = np.array(["7", "7", "8", "8", "9", "", ""], dtype=object)  # two replies without an answer, one of them passes
SCORES = np.array([0.1, 0.9, 0.4, 0.3, 2.0, 5.0, 0.2])
ALIKE = 300  # equal prompts: the mean over their random orders is close to the mean over subsets


def by_enumeration(k, choose):
    """Mean pass rate over all subsets of k replies."""
    return np.mean([CORRECT[choose(subset)].mean() for subset in combinations(range(len(CORRECT)), k)])


def vote(share=1.0):
    """The replies among which the pick is uniform, with half votes for tied answers: only for equal group sizes."""

    def frequent(subset):
        votes = {a: sum(ANSWERS[i] == a for i in subset) for a in {ANSWERS[i] for i in subset} if a}
        most = max(votes.values(), default=0)
        return [i for i in subset if not most or (ANSWERS[i] and votes[ANSWERS[i]] >= share * most)]

    return frequent


def many(values):
    return np.repeat(values[None], ALIKE, axis=0)


def winning(answer_law, k):
    """The exact law of the winner among k draws of answers."""
    won = np.zeros(len(answer_law))
    for counts in product(range(k + 1), repeat=len(answer_law)):
        if sum(counts) == k:
            ways = factorial(k) / prod(factorial(c) for c in counts)
            top = np.array(counts) == max(counts)
            won += ways * np.prod(np.array(answer_law) ** counts) * top / top.sum()
    return won


def test_pass_at_k_is_the_share_of_subsets_with_a_success():
    for k in (1, 2, 3, 5, 7):
        exact = np.mean([CORRECT[list(s)].max() for s in combinations(range(7), k)])
        assert pass_at_k(CORRECT[None], k)[0, 0] == pytest.approx(exact, abs=1e-12)


def test_pass_at_k_is_best_of_k_by_the_same_reward_also_with_unequal_counts():
    correct = (np.random.default_rng(0).random((20, 40)) < 0.1).astype(float)
    correct[3, 10:] = np.nan
    ks = np.array([1, 2, 10, 11, 40])
    np.testing.assert_allclose(pass_at_k(correct, ks), best_of_n_means(correct, correct, ks), atol=1e-12)
    assert np.isnan(pass_at_k(correct, ks)[3]).tolist() == [False] * 3 + [True] * 2


def test_majority_is_the_mean_over_all_subsets():
    picks = majority(many(CORRECT), many(ANSWERS), [1, 2, 3, 7])
    for j, k in enumerate((1, 2, 3, 7)):  # tied answers have equally many replies, so a uniform pick is the vote
        assert picks.rates[:, j].mean() == pytest.approx(by_enumeration(k, vote()), abs=0.01), k
    assert (picks.rates[:, 0] == CORRECT.mean()).all(), "one reply: exactly the mean"


def test_best_of_majority_is_the_mean_over_all_subsets():
    for share in (0.5, 1.0):

        def best(subset, share=share):
            allowed = vote(share)(subset)
            return [max(allowed, key=lambda i: SCORES[i])]

        found = best_of_majority(many(CORRECT), many(ANSWERS), many(SCORES), [2, 3, 5], share=share)
        np.testing.assert_allclose(found.rates.mean(axis=0), [by_enumeration(k, best) for k in (2, 3, 5)], atol=0.01)


def test_best_of_majority_of_one_answer_is_best_of_n():
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(200, 16))
    correct = (scores + rng.normal(size=scores.shape) > 0).astype(float)
    found = best_of_majority(correct, np.full(scores.shape, "same"), scores, [4])
    exact = best_of_n_means(scores, correct, np.array([4]))
    assert found.rates.mean() == pytest.approx(exact.mean(), abs=0.005)


REPLIES = np.array([0, 0, 0, 0, 1, 1, 2, 2])  # the answer of each of eight replies, which are the whole law here
LEVELS = np.array([0.0, 1.0, 1.0, 2.0, 2.0, 0.0, 1.0, 2.0])  # their scores: each level has more than one reply


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_the_kl_of_best_of_majority_is_that_of_all_sequences_of_draws(share):
    for k in (1, 2, 4):
        law, votes = {}, []
        for draws in product(range(8), repeat=k):
            drawn = np.bincount(REPLIES[list(draws)], minlength=4)
            frequent = drawn >= share * drawn.max()
            allowed = [i for i in draws if frequent[REPLIES[i]]]
            best = [i for i in allowed if LEVELS[i] == max(LEVELS[allowed])]
            for i in best:
                at = REPLIES[i], LEVELS[i]
                law[at] = law.get(at, 0.0) + 1 / (len(best) * 8**k)
            votes.append(np.where(frequent, drawn, 0))
        base = {at: np.mean((at[0] == REPLIES) & (at[1] == LEVELS)) for at in law}
        exact = sum(q * log(q / base[at]) for at, q in law.items())
        found = Stretches(LEVELS[None], REPLIES[None], 4).kl(np.array(votes, dtype=float)[None])
        assert found[0] == pytest.approx(exact, abs=1e-12), k


def test_the_kl_of_best_of_majority_from_samples():
    """Three answers and three scores with a known law; one answer and a continuous reward, where it is the bound."""
    rng, k = np.random.default_rng(6), 4
    law = np.array([0.25, 0.15, 0.1, 0.05, 0.15, 0.1, 0.02, 0.08, 0.1])
    exact = 0.30636  # of all sequences of four draws, if the most frequent answers are kept
    drawn = rng.choice(9, p=law, size=(400, 64))
    drawn[:, 50:] = np.where(np.arange(400)[:, None] < 100, -1, drawn[:, 50:])
    correct = np.where(drawn < 0, np.nan, drawn // 3 == 0)
    scores = np.where(drawn < 0, np.nan, drawn % 3)
    picks = best_of_majority(correct, drawn // 3, scores, [1, k, 16], share=1.0)
    assert picks.corrected.all(axis=0).tolist() == [True, True, False]
    assert (picks.kl[:, 0] == 0).all()
    np.testing.assert_allclose(picks.kl[:, 2], kl_bound(np.array(16)), err_msg="16 votes need 128 replies")
    error = picks.kl[:, 1].std() / 20
    assert abs(picks.kl[:, 1].mean() - exact) < 3 * error + picks.kl_left[:, 1].mean()
    one = best_of_majority(rng.integers(0, 2, (8, 64)), np.zeros((8, 64)), rng.normal(size=(8, 64)), [2, 8])
    np.testing.assert_allclose(one.kl, np.tile(kl_bound(np.array([2, 8])), (8, 1)), atol=1e-4)


def test_rate_and_kl_of_a_vote_are_those_of_the_answer_law():
    law, passes = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.0, 1.0, 0.0, 0.0])
    rng = np.random.default_rng(2)
    answers = rng.choice(4, p=law, size=(400, 64))
    picks = majority(passes[answers], answers, [2, 4, 8])
    for j, k in enumerate((2, 4, 8)):
        won = winning(law, k)
        kl = float(np.sum(won * np.log(won / law)))
        error = picks.rates[:, j].std() / np.sqrt(400)
        assert abs(picks.rates[:, j].mean() - won @ passes) < 4 * error
        assert picks.kl[:, j].mean() == pytest.approx(kl, abs=0.01 + 0.03 * kl)
    assert picks.corrected.all()


def test_without_eight_replies_per_vote_the_kl_is_too_high_and_marked():
    law = np.array([0.4, 0.3, 0.2, 0.1])
    answers = np.random.default_rng(3).choice(4, p=law, size=(200, 32))
    picks = majority((answers == 1).astype(float), answers, [16])
    won = winning(law, 16)
    assert not picks.corrected.any()
    assert picks.kl.mean() > np.sum(won * np.log(won / law))


def test_no_choice_among_k_draws_has_more_kl_than_the_bound():
    rng = np.random.default_rng(4)
    base = rng.dirichlet(np.full(4, 0.5))
    for k in (2, 3, 5):
        for _ in range(20):  # random rules: what is picked from each sequence of k draws
            law = np.zeros(4)
            for draws in product(range(4), repeat=k):
                law[draws[rng.integers(k)]] += np.prod(base[list(draws)])
            assert np.sum(law * np.log(law / base)) <= kl_bound(np.array(k)) + 1e-12
        assert -log(1 / k) > kl_bound(np.array(k))


def test_results_depend_on_the_key_of_a_prompt_and_not_on_its_row():
    rng = np.random.default_rng(5)
    answers = rng.integers(0, 5, size=(12, 20))
    correct = (answers == 0).astype(float)
    correct[2, 15:] = np.nan
    keys, order = np.arange(12) + 7, rng.permutation(12)
    one = majority(correct, answers, [3, 9], keys=keys)
    other = majority(correct[order], answers[order], [3, 9], keys=keys[order])
    np.testing.assert_allclose(one.rates[order], other.rates, rtol=1e-12)
    np.testing.assert_allclose(one.kl[order], other.kl, rtol=1e-9)


def test_an_answer_may_be_text_a_number_or_missing():
    correct = np.array([[1.0, 1, 0, 0]])
    for answers in ([[7, 7, -8, -8]], [[7.0, 7.0, -8.0, -8.0]], [["7", "7", "-8", "-8"]]):
        assert majority(correct, answers, [4]).rates == 0.5
    assert majority(correct, [[7.0, 7.0, np.nan, np.nan]], [4]).rates == 1.0
    assert majority(correct, [[None, None, None, " "]], [4]).rates == 0.5


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: pass_at_k([[0.5, 1.0]], 1), "is 0.5 at row 0, sample 0"),
        (lambda: pass_at_k([[0.0, 1.0]], 3), "no prompt has more than 2 samples"),
        (lambda: majority([[0.0, 1.0]], [["a"]], 1), "Answers have shape"),
        (lambda: best_of_majority([[0.0, 1.0]], [["a", "b"]], [[1.0, np.nan]], 1), "exactly the samples"),
        (lambda: best_of_majority([[0.0, 1.0]], [["a", "b"]], [[1.0, 2.0]], 1, share=0.0), "above 0 and at most 1"),
    ],
)
def test_bad_input_is_named(call, said):
    with pytest.raises(EstimateError, match=said):
        call()
