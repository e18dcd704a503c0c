"""Best-of-n and its relatives from base samples: gain, KL, win rate, and share of the limit at the same KL.

The gain is the average of v at the best r of a subset, over all n-subsets of a prompt's M samples (unbiased for
n <= M). The sample of rank i (ascending in r) is the best in C(i-1, n-1) of C(M, n) subsets. Tied samples share the
weights of their ranks equally.
"""

from collections.abc import Mapping
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike

from alignment_limits.ensembles.scores import Array, as_given, centre, check_evaluated, check_scores
from alignment_limits.errors import EstimateError
from alignment_limits.limits.brackets import Bounds
from alignment_limits.limits.compare import SAMPLES_PER_DRAW, BestOfNTable, Choice, choose, compare, join
from alignment_limits.limits.ranks import Beaten, atoms_kl, best_of_n_kl, best_of_n_means, kl_bound, per_sequence_kl
from alignment_limits.limits.relatives import check_mus, chi2_law, poisson_choice, soft_law


@overload
def best_of_n(
    optimized: ArrayLike, evaluated: Mapping[str, ArrayLike], *, ns: ArrayLike, **settings: Any
) -> dict[str, BestOfNTable]: ...
@overload
def best_of_n(
    optimized: ArrayLike, evaluated: ArrayLike | None = None, *, ns: ArrayLike, **settings: Any
) -> BestOfNTable: ...
def best_of_n(  # type: ignore[misc]  # the settings are the same for both
    optimized: ArrayLike,
    evaluated: Mapping[str, ArrayLike] | ArrayLike | None = None,
    *,
    ns: ArrayLike,
    budget: str = "average",
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    keys: np.ndarray | None = None,
    clusters: ArrayLike | None = None,
    bounds: Mapping[str, Bounds] | Bounds | None = None,
    logprobs: ArrayLike | None = None,
) -> dict[str, BestOfNTable] | BestOfNTable:
    """Gain, KL and win rate of best-of-n selected by `optimized`, unbiased for every n up to the number of samples.

    A row uses the prompts that have n samples or more; the column `prompts` is their number.

    Args:
        optimized: scores (prompts, samples) that select; NaN marks a missing sample.
        evaluated: scores of the same samples, or such scores by name; default: the selecting reward itself.
        ns: whole numbers from 1 to the largest number of samples of a prompt.
        budget: of `limit`. "average": the limit at the mean KL of best-of-n; "per-prompt": each prompt gets the KL
            of best-of-n on it (equal for all prompts unless scores tie).
        replicates, seed, level, keys, clusters, bounds: as for `frontier`. Gain and limit are resampled together, so
            intervals of their ratio are paired.
        logprobs: log π₀(y|x) (prompts, samples) of the samples in nats, for the per-sequence estimate of the KL.

    Returns:
        One table, a row for each n; or one for each name where `evaluated` is a mapping.

    Raises:
        EstimateError: scores that cannot be used, or an n that no prompt has.

    Example:
        >>> scores = np.random.default_rng(0).normal(size=(200, 64))
        >>> best_of_n(scores, ns=[4]).gain.round(2)  # the mean of the best of 4 normal draws is 1.03
        array([1.02])
        >>> best_of_n(scores, ns=[2, 4])
        BestOfNTable: 2 rows, 2 reliable
          n 2 to 4, kl 0.193 to 0.636, gain 0.561 to 1.02

    References:
        Beirami et al. (2024), arXiv 2401.01879; docs/theory.md, "Best-of-n".
    """
    scores = check_scores(optimized, "optimized")
    others = check_evaluated(scores, scores if evaluated is None else evaluated)
    choice = best_of_n_choice(scores, others, check_ns(ns, scores), seed=seed, keys=keys, logprobs=logprobs)
    tables = compare(
        choice, scores, others, budget=budget,
        replicates=replicates, seed=seed, level=level, keys=keys, clusters=clusters, bounds=bounds,
    )  # fmt: skip
    return as_given(evaluated, tables)


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
    """Best-of-n by checked scores, before it is compared with the limit.

    Args:
        scores: that select (P, M).
        others: evaluated rewards by name, each (P, M).
        n: (N,).
        seed, keys, logprobs: as for `best_of_n`.
        beaten: counted pairs of each evaluated reward, if already computed.

    Returns:
        The choice at every n; NaN where a prompt has fewer than n samples.
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
    """KL per prompt (P, N) with ties, corrected for the bias of estimated atoms' masses; exact without ties.

    Also returns the size of the correction's last term (P, N), a measure of the remaining bias.
    """
    return atoms_kl(lambda part, atoms: best_of_n_kl(part, n, atoms), scores, kl_bound(n), keys=keys, seed=seed)


def _sequence_kl(scores: Array, logprobs: ArrayLike | None, n: np.ndarray) -> Array:
    if logprobs is None:
        return np.full((len(scores), len(n)), np.nan)
    logp = check_evaluated(scores, {"logprobs": logprobs})["logprobs"]
    return np.asarray(per_sequence_kl(scores, logp, n))


def check_ns(ns: ArrayLike, scores: Array) -> np.ndarray:
    """Return ns as int64 (N,). Every n must be between 1 and the largest number of samples of a prompt."""
    given = np.atleast_1d(np.asarray(ns, dtype=np.float64))
    counts = np.sum(~np.isnan(scores), axis=1)
    if given.ndim != 1 or not np.all(np.isfinite(given) & (given == np.floor(given)) & (given >= 1)):
        raise EstimateError(f"n of best-of-n must be whole numbers of at least 1; got {ns!r}.")
    n = given.astype(np.int64)
    if np.any(n > counts.max()):
        raise EstimateError(
            f"best-of-{int(n.max())}: no prompt has more than {int(counts.max())} samples. "
            "Remove larger n, or draw more samples."
        )
    return n


def study_choice(
    scores: Array,
    others: Mapping[str, Array],
    *,
    ns: ArrayLike,
    relatives: bool = False,
    temperatures: ArrayLike = (),
    betas: ArrayLike = (),
    seed: int = 0,
    keys: np.ndarray | None = None,
) -> Choice:
    """Best-of-n at every n and, with `relatives`, its relatives, as one choice, from checked scores.

    Soft best-of-n and best-of-Poisson use every n from 2 to a quarter of the largest number of samples. A prompt is in
    a row if n is at most a quarter of its samples: with fewer, the correction by halves fails. If no prompt has enough
    samples for an n, its row has no values.
    """
    n = np.atleast_1d(np.asarray(ns, dtype=np.int64))
    beaten = {name: Beaten.of(scores, scored) for name, scored in others.items()}
    choices = [best_of_n_choice(scores, others, n, seed=seed, keys=keys, beaten=beaten)]
    if relatives:
        draws = relative_ns(n, scores)
        laws = [soft_law(draws, temperatures)] if len(draws) and np.size(temperatures) else []
        laws += [chi2_law(betas)] if np.size(betas) else []
        choices += [choose(laws, scores, others, seed=seed, keys=keys)] if laws else []
        if len(draws):
            mus = draws - 1.0
            choices.append(
                poisson_choice(
                    scores, others, mus, seed=seed, keys=keys, samples_per_draw=SAMPLES_PER_DRAW, beaten=beaten
                )
            )
    return join(choices)


def relative_ns(ns: np.ndarray, scores: Array) -> np.ndarray:
    """Those n from 2 to a quarter of the largest number of samples of a prompt."""
    most = int(np.sum(~np.isnan(scores), axis=1).max())
    return np.asarray(ns[(ns >= 2) & (SAMPLES_PER_DRAW * ns <= most)])


@overload
def soft_best_of_n(
    optimized: ArrayLike, evaluated: Mapping[str, ArrayLike], *, ns: ArrayLike, temperatures: ArrayLike, **settings: Any
) -> dict[str, BestOfNTable]: ...


@overload
def soft_best_of_n(
    optimized: ArrayLike, evaluated: ArrayLike | None = None, *, ns: ArrayLike, temperatures: ArrayLike, **settings: Any
) -> BestOfNTable: ...


def soft_best_of_n(  # type: ignore[misc]  # the settings are the same for both
    optimized: ArrayLike,
    evaluated: Mapping[str, ArrayLike] | ArrayLike | None = None,
    *,
    ns: ArrayLike,
    temperatures: ArrayLike,
    budget: str = "average",
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    keys: np.ndarray | None = None,
    clusters: ArrayLike | None = None,
    bounds: Mapping[str, Bounds] | Bounds | None = None,
) -> dict[str, BestOfNTable] | BestOfNTable:
    """Draw n replies and pick one by softmax(r / temperature): best-of-n at 0, the base law at infinity.

    One row for each temperature and n, from the prompts with 4 n samples or more (and at least 8).

    Args:
        optimized, evaluated: as for `best_of_n`.
        ns: whole numbers of draws.
        temperatures: positive, in units of the selecting reward.
        budget, replicates, seed, level, keys, clusters, bounds: as for `best_of_n`.

    Returns:
        As `best_of_n`.

    Raises:
        EstimateError: scores that cannot be used, or a temperature that is not positive.

    Example:
        >>> scores = np.random.default_rng(0).normal(size=(200, 64))
        >>> soft_best_of_n(scores, ns=[4], temperatures=[0.5]).gain.round(2)
        array([0.84])

    References:
        Our choice of estimator; docs/theory.md, "Relatives of best-of-n".
    """
    scores = check_scores(optimized, "optimized")
    others = check_evaluated(scores, scores if evaluated is None else evaluated)
    law = soft_law(check_ns(ns, scores), temperatures)
    tables = compare(
        choose([law], scores, others, seed=seed, keys=keys), scores, others, budget=budget, replicates=replicates,
        seed=seed, level=level, keys=keys, clusters=clusters, bounds=bounds,
    )  # fmt: skip
    return as_given(evaluated, tables)


@overload
def best_of_poisson(
    optimized: ArrayLike, evaluated: Mapping[str, ArrayLike], *, mus: ArrayLike, **settings: Any
) -> dict[str, BestOfNTable]: ...


@overload
def best_of_poisson(
    optimized: ArrayLike, evaluated: ArrayLike | None = None, *, mus: ArrayLike, **settings: Any
) -> BestOfNTable: ...


def best_of_poisson(  # type: ignore[misc]  # the settings are the same for both
    optimized: ArrayLike,
    evaluated: Mapping[str, ArrayLike] | ArrayLike | None = None,
    *,
    mus: ArrayLike,
    budget: str = "average",
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    keys: np.ndarray | None = None,
    clusters: ArrayLike | None = None,
    bounds: Mapping[str, Bounds] | Bounds | None = None,
) -> dict[str, BestOfNTable] | BestOfNTable:
    """Best of n = 1 + Poisson(μ) draws, a smooth path through best-of-n; the column n is 1 + μ.

    Gain and win rate are exact mixtures of those of best-of-n with n ≤ M and n < M. The KL is from the quantile density
    (μu + 1) e^{μ(u − 1)}, with tied scores as atoms. A row uses the prompts where P(more draws than samples) is at most
    0.1 %. The interval of the win rate includes this probability.

    Args:
        optimized, evaluated: as for `best_of_n`.
        mus: means of the Poisson law, at least 0.
        budget, replicates, seed, level, keys, clusters, bounds: as for `best_of_n`.

    Returns:
        As `best_of_n`.

    Raises:
        EstimateError: scores that cannot be used, a negative mean, or one too large for the samples.

    Example:
        >>> scores = np.random.default_rng(0).normal(size=(200, 64))
        >>> best_of_poisson(scores, mus=[3.0]).gain.round(2)
        array([0.94])

    References:
        arXiv 2506.19248; docs/theory.md, "Relatives of best-of-n".
    """
    scores = check_scores(optimized, "optimized")
    others = check_evaluated(scores, scores if evaluated is None else evaluated)
    mu = check_mus(mus, int(np.sum(~np.isnan(scores), axis=1).max()))
    tables = compare(
        poisson_choice(scores, others, mu, seed=seed, keys=keys), scores, others, budget=budget,
        replicates=replicates, seed=seed, level=level, keys=keys, clusters=clusters, bounds=bounds,
    )  # fmt: skip
    return as_given(evaluated, tables)


@overload
def chi2_pessimism(
    optimized: ArrayLike, evaluated: Mapping[str, ArrayLike], *, betas: ArrayLike, **settings: Any
) -> dict[str, BestOfNTable]: ...


@overload
def chi2_pessimism(
    optimized: ArrayLike, evaluated: ArrayLike | None = None, *, betas: ArrayLike, **settings: Any
) -> BestOfNTable: ...


def chi2_pessimism(  # type: ignore[misc]  # the settings are the same for both
    optimized: ArrayLike,
    evaluated: Mapping[str, ArrayLike] | ArrayLike | None = None,
    *,
    betas: ArrayLike,
    budget: str = "average",
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    keys: np.ndarray | None = None,
    clusters: ArrayLike | None = None,
    bounds: Mapping[str, Bounds] | Bounds | None = None,
) -> dict[str, BestOfNTable] | BestOfNTable:
    """Choice under a χ² penalty: density ratio relu((r − λ) / β), λ for each prompt.

    The column `temperature` is β, n is NaN; a row is over the prompts with 8 samples or more. KL, gain and win rate are
    corrected for λ being solved on few samples.

    Args:
        optimized, evaluated: as for `best_of_n`.
        betas: positive coefficients, in units of the selecting reward.
        budget, replicates, seed, level, keys, clusters, bounds: as for `best_of_n`.

    Returns:
        As `best_of_n`.

    Raises:
        EstimateError: scores that cannot be used, or a coefficient that is not positive.

    Example:
        >>> scores = np.random.default_rng(0).normal(size=(200, 64))
        >>> chi2_pessimism(scores, betas=[1.0]).gain.round(2)
        array([0.8])

    References:
        arXiv 2503.21878; docs/theory.md, "Relatives of best-of-n".
    """
    scores = check_scores(optimized, "optimized")
    others = check_evaluated(scores, scores if evaluated is None else evaluated)
    tables = compare(
        choose([chi2_law(betas)], scores, others, seed=seed, keys=keys), scores, others, budget=budget,
        replicates=replicates, seed=seed, level=level, keys=keys, clusters=clusters, bounds=bounds,
    )  # fmt: skip
    return as_given(evaluated, tables)
