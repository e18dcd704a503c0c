"""Best-of-n from base samples: gain, KL, win rate, and how close it comes to the limit at the same KL.

Gain is the average over every n-subset of a prompt's M samples of v at the subset's best r (unbiased for n
<= M): sample of rank i (ascending in r) is best in C(i-1, n-1) of C(M, n) subsets; ties share their ranks'
weights equally.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from alignment_limits.ensembles.scores import Array, centre, check_evaluated, check_scores
from alignment_limits.errors import EstimateError
from alignment_limits.limits.compare import BestOfNTable, Choice, compare
from alignment_limits.limits.ranks import Beaten, atoms_kl, best_of_n_kl, best_of_n_means, kl_bound, per_sequence_kl

__all__ = ["BestOfNTable", "best_of_n", "check_ns"]


def best_of_n(
    optimized: ArrayLike,
    evaluated: Mapping[str, ArrayLike],
    *,
    ns: ArrayLike,
    budget: str = "average",
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    keys: np.ndarray | None = None,
    clusters: ArrayLike | None = None,
    logprobs: ArrayLike | None = None,
) -> dict[str, BestOfNTable]:
    """Best-of-n selected by `optimized`, for every n in `ns` and every evaluated reward.

    A row is over the prompts that have n samples or more; column `prompts` is their number.

    Parameters
    ----------
    optimized : (P, M) scores that select, NaN = no such sample. evaluated : name -> scores of the same
        samples.
    ns : integers from 1 to the largest number of samples any prompt has.
    budget : convention of `limit`. "average": the limit at the mean KL best-of-n spends. "per-prompt": each
        prompt is given the KL that best-of-n spends on it (equal over prompts unless scores tie).
    replicates, seed, level, keys, clusters : as for `frontier`; gain and limit are resampled together, so efficiency
        intervals are paired.

    logprobs : (P, M) log pi_0(y|x) of the samples, for the per-sequence KL estimate.

    Raises
    ------
    EstimateError : unusable scores, or an n outside 1..M.
    """
    scores = check_scores(optimized, "optimized")
    others = check_evaluated(scores, evaluated)
    choice = best_of_n_choice(scores, others, check_ns(ns, scores), seed=seed, keys=keys, logprobs=logprobs)
    return compare(
        choice, scores, others, budget=budget,
        replicates=replicates, seed=seed, level=level, keys=keys, clusters=clusters,
    )  # fmt: skip


def best_of_n_choice(
    scores: Array,
    others: Mapping[str, Array],
    n: np.ndarray,
    *,
    seed: int = 0,
    keys: np.ndarray | None = None,
    logprobs: ArrayLike | None = None,
    beaten: Mapping[str, Beaten] | None = None,
) -> Choice:
    """Best-of-n at every n (N,) by checked scores, before it is compared with the limit.

    NaN where a prompt has fewer than n samples. beaten : counted pairs of each evaluated reward, if at hand.
    """
    beaten = beaten or {name: Beaten.of(scores, scored) for name, scored in others.items()}
    rows = np.sum(~np.isnan(scores), axis=1)[:, None] >= n
    kl, left = corrected_kl(scores, n, seed=seed, keys=keys)
    return Choice(
        method=np.full(len(n), "best-of-n", dtype=object),
        n=n.astype(np.float64),
        temperature=np.full(len(n), np.nan),
        kl=np.where(rows, kl, np.nan),
        kl_left=np.where(rows, left, np.nan),
        kl_bound=kl_bound(n),
        kl_sequence=_sequence_kl(scores, logprobs, n),
        largest_ratio=n.astype(np.float64),
        unbiased=np.ones(len(n), dtype=bool),
        # One draw gains nothing, exactly.
        gains={
            name: np.where(n == 1, 0.0, best_of_n_means(scores, centre(scored), n)) for name, scored in others.items()
        },
        wins={name: beaten[name].wins(n) for name in others},
        gains_left=dict.fromkeys(others, np.zeros(rows.shape)),
        wins_left=dict.fromkeys(others, np.zeros(rows.shape)),
        lost=np.zeros(rows.shape),
    )


def corrected_kl(scores: Array, n: np.ndarray, *, seed: int = 0, keys: np.ndarray | None = None) -> tuple[Array, Array]:
    """Tie-aware KL per prompt (P, N), freed of the bias of plugging in the atoms' masses; exact without ties.

    Returns also the size of the correction's last term (P, N), a measure of what it may leave.
    """
    return atoms_kl(lambda part, atoms: best_of_n_kl(part, n, atoms), scores, kl_bound(n), keys=keys, seed=seed)


def _sequence_kl(scores: Array, logprobs: ArrayLike | None, n: np.ndarray) -> Array:
    if logprobs is None:
        return np.full((len(scores), len(n)), np.nan)
    logp = check_evaluated(scores, {"logprobs": logprobs})["logprobs"]
    return np.asarray(per_sequence_kl(scores, logp, n))


def check_ns(ns: ArrayLike, scores: Array) -> np.ndarray:
    """Return ns as int64 (N,); every n must lie between 1 and the samples of the longest prompt."""
    given = np.atleast_1d(np.asarray(ns, dtype=np.float64))
    counts = np.sum(~np.isnan(scores), axis=1)
    if given.ndim != 1 or not np.all(np.isfinite(given) & (given == np.floor(given)) & (given >= 1)):
        raise EstimateError(f"n of best-of-n must be whole numbers from 1; got {ns!r}.")
    n = given.astype(np.int64)
    if np.any(n > counts.max()):
        raise EstimateError(
            f"best-of-{int(n.max())}: no prompt has more than {int(counts.max())} samples. "
            "Leave such n out, or draw more samples."
        )
    return n
