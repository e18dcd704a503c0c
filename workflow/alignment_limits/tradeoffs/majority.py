"""Majority votes among k replies: how often the winner passes, and how far its law is from the base.

Means over subsets of k of a prompt's m replies are unbiased for k fresh replies. They have no short closed form, so
subsets are drawn: each of R random orders of the replies gives one subset for every k, its first k. Given the votes,
replies of one answer are exchangeable, so the winner passes as often as all m replies with that answer do. What is left
of the noise of R draws is independent between prompts, so intervals over prompts include it.

Among replies with the winning answer each is equally likely to be the pick. So the KL of the pick is that between the
laws of the answers, and estimated from m replies it is too high by about c/m + d/R. Halves of the replies with half of
the orders have twice this bias. A term in 1/m^2 is 0.002 nats for 64 replies and k = 4: too much for the intervals. So
quarters are used as well: 8/3 full - 2 mean(halves) + 1/3 mean(quarters) removes all three terms.

If another reward s chooses among the frequent answers F, the pick's density ratio depends on its answer and its score.
Given N_b votes for each answer b, these are N_b independent replies with that answer, so the largest score is below s
with probability prod_{b in F} G_b(s)^{N_b}, where G_b is the law of scores among replies with answer b. So

    w(a, s) = E[N_a 1(a in F) prod_{b in F} G_b(s)^{N_b}] / (p_a G_a(s)),    KL = E_pick log w,

a mean over the votes alone, in which the chance of which replies were drawn is summed exactly. A score that no other
reply has stands for a continuous stretch of scores, as in the KL of best-of-n; scores that tie are an atom.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from alignment_limits.ensembles.scores import (
    QUARTERS,
    Array,
    check_keys,
    prompt_means,
    sample_counts,
    split_labels,
    splitmix,
)
from alignment_limits.errors import EstimateError
from alignment_limits.limits.best_of_n import check_ns
from alignment_limits.limits.ranks import kl_bound, log_choose
from alignment_limits.tradeoffs.binary import check_correct

ORDERS = 16, 512  # random orders of a prompt's replies, fewest and most
WORK = 2**15  # prompts times orders
CELLS, FEWER_CELLS = 4_000_000, 250_000  # numbers at once; fewer where there are several such arrays
FAINT = 1e-9  # the vote of replies without an answer: they win if there is no other
LEFT = 0.1  # share of its first term that a correction of the KL may leave
REPLIES_PER_VOTE = 8  # times k: with fewer replies of a prompt the correction of the KL leaves more than 5 %
# Two Gauss points in the stretch of quantiles of each reply: exact where an answer has up to 4 votes.
POINTS, WEIGHTS = (each / 2 for each in np.polynomial.legendre.leggauss(2))
SMALLEST, NEVER = 1e-300, -80.0  # of a ratio, and of the logarithm of a probability: exponentials below it are slow
GOLDEN = np.uint64(0x9E3779B97F4A7C15)

# From the rows of some prompts (p), votes (p, R, B) and the first k replies (p, R, k) of each order: the pick's law
# (p, atoms), a mean over the orders.
Rule = Callable[[slice, Array, NDArray[np.int64]], Array]


@dataclass(frozen=True)
class Picks:
    """One pick among k replies, for P prompts and N numbers of replies; NaN where a prompt has too few.

    Attributes:
        rates: probability that the pick passes (P, N), unbiased.
        kl: of the pick's law from the base, nats (P, N).
        corrected: whether its bias is removed (P, N), which needs 8 k replies; else the KL is too high on average, or
            (if another reward chooses) an upper bound.
        kl_left: what the correction may leave (P, N), nats.
    """

    rates: Array
    kl: Array
    corrected: NDArray[np.bool_]
    kl_left: Array


def pass_at_k(correct: ArrayLike, ks: ArrayLike) -> Array:
    """Probability that at least one of k replies passes, unbiased: 1 - C(m - c, k) / C(m, k) for c of m successes.

    It is the pass rate of best-of-k by the same 0/1 reward.

    Args:
        correct: 1 or 0 (prompts, samples); NaN marks a missing sample.
        ks: numbers of replies (N,).

    Returns:
        Probabilities (prompts, N); NaN where a prompt has fewer than k replies.

    Raises:
        EstimateError: values other than 0 and 1, or a k that no prompt has.

    Example:
        >>> pass_at_k([[1, 0, 0, 0]], [1, 2, 4])
        array([[0.25, 0.5 , 1.  ]])

    References:
        Chen et al. (2021), arXiv 2107.03374; docs/tradeoffs.md, "Verifiable rewards".
    """
    scores = check_correct(correct)
    k, m = check_ns(ks, scores), sample_counts(scores)[:, None]
    wrong = m - np.nansum(scores, axis=1).astype(np.int64)[:, None]
    with np.errstate(invalid="ignore"):
        none = np.exp(log_choose(*np.broadcast_arrays(wrong, k)) - log_choose(*np.broadcast_arrays(m, k)))
    return np.where(m >= k, 1.0 - none, np.nan)


def majority(
    correct: ArrayLike, answers: ArrayLike, ks: ArrayLike, *, seed: int = 0, keys: ArrayLike | None = None
) -> Picks:
    """The pass rate of the most frequent answer among k replies (maj@k), and its KL.

    A tie is broken by chance, which equals "the answer that came first", as replies come in a random order. A reply
    without an answer has no vote; if none of the k has one, the pick is one of them.

    Args:
        correct: 1 or 0 (prompts, samples); NaN marks a missing sample. Equal answers may be judged differently.
        answers: of the samples, numbers or texts of the same shape; None, NaN or "" for none.
        ks: numbers of replies (N,).
        seed, keys: of the random orders; integers (prompts,) that name the prompts.

    Returns:
        Pass rates and KLs.

    Raises:
        EstimateError: values other than 0 and 1, answers of another shape, or a k that no prompt has.

    Example:
        >>> picks = majority([[1, 1, 1, 0]], [["7", "7", "7", "8"]], [1, 3])
        >>> picks.rates.round(2)  # 8 never has a majority among three
        array([[0.75, 1.  ]])

    References:
        Wang et al. (2023), arXiv 2203.11171; docs/tradeoffs.md, "Verifiable rewards".
    """
    scores = check_correct(correct)
    codes = answer_codes(answers, scores)
    k = check_ns(ks, scores)
    names = check_keys(keys, len(scores))
    passing, share = _by_answer(scores, codes)

    def winner(rows: slice, votes: Array, first: NDArray[np.int64]) -> Array:
        won = votes == votes.max(axis=2, keepdims=True)
        return np.asarray((won / won.sum(axis=2, keepdims=True)).mean(axis=1))

    laws = partial(_laws, codes, k, seed=seed, names=names, rule=winner, atoms=passing.shape[1])
    won = laws(~np.isnan(scores))
    full = _kl(won, share)

    def of_part(member: NDArray[np.bool_], parts: int) -> Array:
        return _kl(laws(member, part=parts), _by_answer(np.where(member, scores, np.nan), codes)[1])

    rates = _exact_for_one(np.einsum("pnb,pb->pn", won, passing), scores, k)
    return _picks(rates, full, full, of_part, scores, k, seed, names)


def _picks(
    rates: Array,
    full: Array,
    otherwise: Array,
    of_part: Callable[[NDArray[np.bool_], int], Array],
    scores: Array,
    k: NDArray[np.int64],
    seed: int,
    names: NDArray[np.int64],
) -> Picks:
    """Picks with a corrected KL; `full` is that of all replies, `otherwise` is taken where they are few (P, N)."""
    known, counts = ~np.isnan(scores), sample_counts(scores)
    labels = split_labels(counts, scores.shape[1], names, seed)
    quarter = np.take_along_axis(labels, np.maximum(np.cumsum(known, axis=1) - 1, 0), axis=1)

    def mean_over(parts: int) -> Array:
        own = [known & (quarter * parts // QUARTERS == part) for part in range(parts)]
        return np.sum([of_part(m, parts) * (m.sum(axis=1) / counts)[:, None] for m in own], axis=0)

    halves, quarters = mean_over(2), mean_over(QUARTERS)
    enough = counts[:, None] >= REPLIES_PER_VOTE * k
    kl = np.where(k == 1, 0.0, np.where(enough, (8 * full - 6 * halves + quarters) / 3, otherwise))
    left = np.where(enough & (k > 1), LEFT * np.abs(halves - full), 0.0)
    return Picks(rates, np.where(np.isnan(rates), np.nan, kl), enough | (k == 1), left)


def best_of_majority(
    correct: ArrayLike,
    answers: ArrayLike,
    selecting: ArrayLike,
    ks: ArrayLike,
    *,
    share: float = 0.5,
    seed: int = 0,
    keys: ArrayLike | None = None,
) -> Picks:
    """The pass rate of the best reply by another reward among the frequent answers of k replies, and its KL.

    Args:
        correct, answers, ks, seed, keys: as for `majority`.
        selecting: scores that choose (prompts, samples).
        share: an answer is frequent if it has at least this share of the votes of the most frequent one. 1: only the
            most frequent (all that tie); near 0: best-of-k by the selecting reward.

    Returns:
        Pass rates and KLs. Where a prompt has fewer than 8 k replies the KL is at its upper bound, log k - (k - 1)/k.

    Raises:
        EstimateError: as `majority`; scores of other samples; a share that is not above 0 and at most 1.

    Example:
        >>> picks = best_of_majority([[1, 1, 0]], [["7", "7", "8"]], [[0.1, 0.2, 0.9]], [3])
        >>> picks.rates  # 8 has half the votes of 7
        array([[0.]])

    References:
        After Di et al. (2025), arXiv 2510.03199, whose threshold is a share of all replies;
        docs/tradeoffs.md, "Verifiable rewards".
    """
    if not 0 < share <= 1:
        raise EstimateError(f"The share of best-of-majority must be above 0 and at most 1; got {share}.")
    scores = check_correct(correct)
    chosen = np.asarray(selecting, dtype=np.float64)
    if chosen.shape != scores.shape or (np.isnan(chosen) != np.isnan(scores)).any():
        raise EstimateError("The selecting reward must have a score for exactly the samples of the 0/1 reward.")
    codes, k = answer_codes(answers, scores), check_ns(ks, scores)
    names, passing, counts = check_keys(keys, len(scores)), np.nan_to_num(scores), sample_counts(scores)

    def frequent(votes: Array) -> NDArray[np.bool_]:
        return np.asarray(votes >= share * votes.max(axis=2, keepdims=True))

    def kl_of(member: NDArray[np.bool_]) -> Rule:
        @lru_cache(maxsize=1)
        def stretches(start: int, stop: int, answers: int) -> Stretches:
            own = slice(start, stop)
            return Stretches(np.where(member[own], chosen[own], np.nan), codes[own], answers)

        def rule(rows: slice, votes: Array, first: NDArray[np.int64]) -> Array:
            k = first.shape[2]
            if k == 1 or not (counts[rows] >= REPLIES_PER_VOTE * k).any():
                return np.full((len(votes), 1), np.nan)
            without = k - votes[:, :, :-1].sum(axis=2)
            drawn = frequent(votes) * np.concatenate([votes[:, :, :-1], without[:, :, None]], axis=2)
            return stretches(rows.start, rows.stop, votes.shape[2]).kl(drawn)[:, None]

        return rule

    kl_of_all = kl_of(~np.isnan(scores))

    def best(rows: slice, votes: Array, first: NDArray[np.int64]) -> Array:
        own = _rows(codes[rows], first)
        score = np.where(np.take_along_axis(frequent(votes), own, axis=2), _rows(chosen[rows], first), -np.inf)
        top = score == score.max(axis=2, keepdims=True)
        passes = np.where(top, _rows(passing[rows], first), 0.0).sum(axis=2) / top.sum(axis=2)
        return np.concatenate([passes.mean(axis=1)[:, None], kl_of_all(rows, votes, first)], axis=1)

    laws = partial(_laws, codes, k, seed=seed, names=names, cells=FEWER_CELLS)

    def of_part(member: NDArray[np.bool_], parts: int) -> Array:
        return laws(member, rule=kl_of(member), atoms=1, part=parts)[:, :, 0]

    both = laws(~np.isnan(scores), rule=best, atoms=2)
    rates = _exact_for_one(both[:, :, 0], scores, k)
    return _picks(rates, both[:, :, 1], np.broadcast_to(kl_bound(k), rates.shape), of_part, scores, k, seed, names)


class Stretches:
    """Where the replies of p prompts are on the quantiles of another reward: each is a stretch, ties share one.

    Args:
        chosen: scores (p, M), NaN if left out.
        codes: answers (p, M), numbered from 0; -1 for none.
        answers: number B of answers, the last one for none.
    """

    def __init__(self, chosen: Array, codes: NDArray[np.int64], answers: int) -> None:
        prompts, width = chosen.shape
        order = np.argsort(chosen, axis=1)  # NaN last
        ranked = np.take_along_axis(chosen, order, axis=1)
        own = np.take_along_axis(codes, order, axis=1) % answers
        place, known = np.arange(width), ~np.isnan(ranked)
        new = np.concatenate([np.ones((prompts, 1), bool), ranked[:, 1:] != ranked[:, :-1]], axis=1)
        start = np.maximum.accumulate(np.where(new, place, 0), axis=1)
        last = np.concatenate([new[:, 1:], np.ones((prompts, 1), bool)], axis=1)
        end = np.minimum.accumulate(np.where(last, place + 1, width)[:, ::-1], axis=1)[:, ::-1]
        count = np.zeros((prompts, width + 1, answers))
        row, column = np.nonzero(known)
        count[row, column + 1, own[row, column]] = 1.0
        np.cumsum(count, axis=1, out=count)
        lower = np.take_along_axis(count, start[..., None], axis=1)
        tied = np.take_along_axis(count, end[..., None], axis=1) - lower  # of each answer in the stretch
        inside = ((place - start)[..., None] + 0.5 + POINTS) / (end - start)[..., None]
        below = lower[:, :, None] + inside[..., None] * tied[:, :, None]  # (p, M, points, B)
        # Each reply's points, and each answer that has replies there: how many are below, and the base's probability.
        self.at = i, j, b = np.nonzero(tied * known[..., None])
        self.below = below[i, j, :, b] / known.sum(axis=1)[i, None]
        share, size = tied[i, j, b], known.sum(axis=1)[i]
        self.base, self.atom = WEIGHTS * (share / (end - start)[i, j] / size)[:, None], share / size
        self.alone, self.stretch = (end - start)[i, j] == 1, (i * width + start[i, j]) * answers + b
        np.log(np.maximum(below / np.maximum(count[:, -1:], 1)[:, :, None], SMALLEST, out=below), out=below)
        self.logs = below.reshape(prompts, -1, answers)

    def kl(self, drawn: Array) -> Array:
        """KL (p,) of the best of `drawn` (p, R, B) replies of each answer, a mean over R."""
        i, j, b = self.at
        none_higher = self.logs @ drawn.transpose(0, 2, 1)
        np.exp(np.maximum(none_higher, NEVER, out=none_higher), out=none_higher)
        reached = none_higher @ drawn / drawn.shape[1]
        ratio = reached.reshape(len(drawn), -1, len(POINTS), drawn.shape[2])[i, j, :, b] / self.below
        picked = ratio * self.base
        if not self.alone.all():
            mass = np.bincount(self.stretch, picked.sum(axis=1))[self.stretch] / self.atom
            ratio = np.where(self.alone[:, None], ratio, mass[:, None])
        each = picked * np.log(np.maximum(ratio, SMALLEST))
        return np.asarray(np.bincount(i, each.sum(axis=1), len(drawn)), dtype=np.float64)


def _exact_for_one(rates: Array, scores: Array, k: NDArray[np.int64]) -> Array:
    """Rates (P, N), without the noise of random orders for k = 1."""
    return np.where(k == 1, prompt_means(scores)[:, None], rates)


def answer_codes(answers: ArrayLike, scores: Array) -> NDArray[np.int64]:
    """Answers of each prompt numbered 0, 1, ... in order of appearance, -1 for none (P, M).

    Args:
        answers: numbers or texts (P, M).
        scores: of the same samples (P, M), NaN where there is no sample.
    """
    given = np.asarray(answers)
    if given.shape != scores.shape:
        raise EstimateError(f"Answers have shape {given.shape}, but the samples have shape {scores.shape}.")
    codes = np.full(scores.shape, -1, dtype=np.int64)
    for row, (own, known) in enumerate(zip(given.tolist(), ~np.isnan(scores), strict=True)):
        number: dict[object, int] = {}
        for place, answer in enumerate(own):
            missing = answer is None or answer != answer or (isinstance(answer, str) and not answer.strip())
            if known[place] and not missing:
                codes[row, place] = number.setdefault(answer, len(number))
    return codes


def _rows(values: NDArray[Any], first: NDArray[np.int64]) -> NDArray[Any]:
    """Values (p, M) of the replies (p, R, k)."""
    return np.asarray(np.take_along_axis(values[:, None, :], first, axis=2))


def _by_answer(scores: Array, codes: NDArray[np.int64]) -> tuple[Array, Array]:
    """Of each answer (P, B): how often its replies pass, and its share of the replies."""
    known, atoms = ~np.isnan(scores), int(codes.max()) + 2  # the last one: no answer
    place = (codes % atoms + atoms * np.arange(len(codes))[:, None])[known]
    size = atoms * len(codes)
    number = np.bincount(place, minlength=size).reshape(len(codes), atoms)
    passed = np.bincount(place, scores[known], minlength=size).reshape(len(codes), atoms)
    return passed / np.maximum(number, 1), number / np.maximum(number.sum(axis=1, keepdims=True), 1)


def _laws(
    codes: NDArray[np.int64],
    k: NDArray[np.int64],
    member: NDArray[np.bool_],
    *,
    seed: int,
    names: NDArray[np.int64],
    rule: Rule,
    atoms: int,
    part: int = 1,
    cells: int = CELLS,
) -> Array:
    """Mean over random orders of the pick's law on the atoms of `rule`, from the first k members (P, N, atoms)."""
    prompts, width = codes.shape
    orders = int(np.clip(WORK // prompts, *ORDERS)) // part
    answers, counts = int(codes.max()) + 2, member.sum(axis=1)
    out = np.full((prompts, len(k), atoms), np.nan)
    step = max(1, cells // max(orders * max(width, answers), width * answers))
    for start in range(0, prompts, step):
        rows = slice(start, min(start + step, prompts))
        order = _random_orders(member[rows], names[rows], seed, orders)
        votes, done = np.zeros((*order.shape[:2], answers)), 0
        for j in np.argsort(k, kind="stable"):
            more = _rows(codes[rows], order[:, :, done : k[j]]) % answers
            place = (
                more + answers * np.arange(orders)[:, None] + answers * orders * np.arange(len(order))[:, None, None]
            )
            votes += np.bincount(place.ravel(), minlength=votes.size).reshape(votes.shape)
            votes[:, :, -1], done = FAINT, int(k[j])
            out[rows, j] = np.where(counts[rows, None] >= k[j], rule(rows, votes, order[:, :, : k[j]]), np.nan)
    return out


def _random_orders(member: NDArray[np.bool_], names: NDArray[np.int64], seed: int, orders: int) -> NDArray[np.int64]:
    """Random orders of each prompt's members (p, R, M), which do not depend on other prompts; others come last."""
    rows = splitmix(names.astype(np.uint64) * GOLDEN + np.uint64((seed + 0x5EED) % 2**63))
    number = np.arange(1, orders * member.shape[1] + 1, dtype=np.uint64).reshape(orders, -1)
    draws = splitmix(rows[:, None, None] + GOLDEN * number) >> np.uint64(1)
    draws[np.broadcast_to(~member[:, None, :], draws.shape)] = np.iinfo(np.uint64).max
    return np.argsort(draws, axis=2)


def _kl(law: Array, base: Array) -> Array:
    return np.asarray(scipy.special.rel_entr(law, base[:, None, :]).sum(axis=2))
