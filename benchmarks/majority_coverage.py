"""Coverage of the KL and the pass rate of best-of-majority, in worlds whose laws can be summed.

    OMP_NUM_THREADS=1 python benchmarks/majority_coverage.py --studies 200

A prompt is of one of 24 kinds, each with its own probabilities of four answers, of which the first one is right. Given
its answer, a reply has a normal score, or a mark from 1 to 5. Exact values are sums over all votes and integrals over
the score of the pick, so they share no code with the estimates. One line a world and k.
"""

import argparse
from collections.abc import Iterator
from functools import cache
from itertools import product
from math import factorial

import numpy as np
from scipy.special import ndtr

from alignment_limits.limits.ranks import kl_bound
from alignment_limits.tradeoffs import verifiable
from alignment_limits.tradeoffs.verifiable import BEST_OF_MAJORITY

PROMPTS = SAMPLES = 64
KS = [2, 4, 8]
ANSWERS, SHARE = 4, 0.5
KINDS = np.random.default_rng(0).dirichlet([2.0, 1.0, 1.0, 0.5], size=24)
NODES, WEIGHTS = np.polynomial.legendre.leggauss(24)
NODES, WEIGHTS = (NODES + 1) / 2, WEIGHTS / 2
EDGES = np.array([-np.inf, -1.0, -0.25, 0.25, 1.0, np.inf])  # of marks
# name → how much higher the right answer's score is on average, and whether scores are marks
WORLDS = {
    "scores know nothing": (0.0, False),
    "scores know a little": (0.5, False),
    "scores know much": (2.0, False),
    "marks know a little": (0.5, True),
}


def cells(shift: float, marks: bool) -> tuple[np.ndarray, np.ndarray]:
    """Ends of stretches of scores: the share of each answer's replies below them, (L, ANSWERS) each."""
    ends = EDGES if marks else np.concatenate([[-np.inf], np.linspace(-5.0, 5.0 + shift, 81), [np.inf]])
    below = ndtr(ends[:, None] - np.array([shift, 0.0, 0.0, 0.0]))
    return below[:-1], below[1:]


@cache
def votes(k: int) -> tuple[np.ndarray, np.ndarray]:
    """All votes of k replies (V, ANSWERS), and how many orders each has (V,)."""
    every = np.array([v for v in product(range(k + 1), repeat=ANSWERS) if sum(v) == k])
    return every, np.array([factorial(k) / np.prod([factorial(n) for n in v]) for v in every])


def exact(p: np.ndarray, shift: float, marks: bool, k: int) -> tuple[float, float]:
    """KL and pass rate of the pick for a prompt with these probabilities of answers.

    With votes N the best frequent reply has answer b at a place u with density N_b times the product of the shares of
    the frequent answers' other replies that are below. Ties share a stretch; without ties the density itself counts.
    """
    every, orders = votes(k)
    chance = orders * np.prod(p**every, axis=1)
    frequent = every >= SHARE * every.max(axis=1, keepdims=True)
    drawn = frequent * every
    low, high = cells(shift, marks)
    at = low[:, None] + NODES[:, None] * (high - low)[:, None]  # (L, nodes, ANSWERS)
    logs = np.log(np.maximum(at, 1e-300))
    none_higher = np.exp(np.einsum("lna,va->lnv", logs, drawn))
    ratio = np.einsum("lnv,v,vb->lnb", none_higher, chance, drawn) / np.maximum(at, 1e-300) / p
    base = p * (high - low)  # (L, ANSWERS)
    if marks:
        picked = base * np.einsum("n,lnb->lb", WEIGHTS, ratio)
        kl = np.sum(picked * np.log(picked / base))
    else:
        each = WEIGHTS[:, None] * base[:, None] * ratio
        kl, picked = np.sum(each * np.log(np.maximum(ratio, 1e-300))), each.sum(axis=1)
    return min(float(kl), float(kl_bound(np.array([k]))[0])), float(picked[:, 0].sum())  # the integral errs by 1e-6


def draw(rng: np.random.Generator, shift: float, marks: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whether replies are right, their answers and their scores."""
    p = KINDS[rng.integers(0, len(KINDS), PROMPTS)]
    answers = np.sum(rng.random((PROMPTS, SAMPLES, 1)) > np.cumsum(p, axis=1)[:, None, :-1], axis=2)
    scores = rng.normal(size=answers.shape) + shift * (answers == 0)
    return (answers == 0).astype(float), answers, np.digitize(scores, EDGES[1:-1]).astype(float) if marks else scores


def lines(studies: int) -> Iterator[str]:
    yield "| scores | k | KL: exact | estimate | mean width | refused | coverage | pass rate: exact | coverage |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for name, (shift, marks) in WORLDS.items():
        truth = np.array([np.mean([exact(p, shift, marks, k) for p in KINDS], axis=0) for k in KS])
        found = []
        for seed in range(studies):
            correct, answers, scores = draw(np.random.default_rng(seed), shift, marks)
            rows = verifiable(correct, ks=KS, answers=answers, selecting={"s": scores}, replicates=1000, seed=seed)
            own = [row for row in rows if row["method"] == BEST_OF_MAJORITY]
            columns = ("kl", "kl_low", "kl_high", "pass_rate_low", "pass_rate_high", "reliable")
            found.append([[float(row[c]) for c in columns] for row in own])
        kl, low, high, least, most, reliable = np.moveaxis(np.array(found), 2, 0)
        for j, k in enumerate(KS):
            inside = [
                np.mean((a[:, j] <= t) & (t <= b[:, j]))
                for a, b, t in ((low, high, truth[j, 0]), (least, most, truth[j, 1]))
            ]
            cells = [f"{truth[j, 0]:.3f}", f"{kl[:, j].mean():.3f}", f"{np.mean(high[:, j] - low[:, j]):.3f}"]
            cells += [f"{100 * (1 - reliable[:, j].mean()):.0f} %", f"{100 * inside[0]:.1f} %"]
            yield f"| {name} | {k} | {' | '.join(cells)} | {truth[j, 1]:.3f} | {100 * inside[1]:.1f} % |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=200)
    for line in lines(parser.parse_args().studies):
        print(line, flush=True)


if __name__ == "__main__":
    main()
