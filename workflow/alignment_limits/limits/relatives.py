"""Best-of-n's relatives, measured the same way: soft best-of-n, best-of-Poisson, chi-squared pessimism."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike

from alignment_limits.errors import EstimateError
from alignment_limits.limits.arrays import Array, check_evaluated, check_scores
from alignment_limits.limits.bestofn import check_ns
from alignment_limits.limits.methods import BestOfNTable, Choice, compare
from alignment_limits.limits.ranks import best_of_n_weights, kl_bound, tie_bounds, win_rates

ROUNDS = 64  # random groupings of each prompt's samples; even


def soft_best_of_n(
    optimized: ArrayLike,
    evaluated: Mapping[str, ArrayLike],
    *,
    ns: ArrayLike,
    temperature: float,
    budget: str = "average",
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    keys: np.ndarray | None = None,
    rounds: int = ROUNDS,
) -> dict[str, BestOfNTable]:
    """Draw n replies and pick one by softmax(r / temperature): best-of-n at 0, the base law at infinity.

    The average over n-subsets has no closed form: each of `rounds` seeded shufflings deals a prompt's samples into
    disjoint groups of n (gain unbiased). The density ratio n E[e^(r/t) / (e^(r/t) + sum of n-1 others)] of each
    sample gives the KL, freed of its Monte-Carlo bias by halving the rounds; O(n/M) is left. win_rate is NaN.
    """
    scores = check_scores(optimized, "optimized")
    others = check_evaluated(scores, evaluated)
    n = check_ns(ns, scores)
    if not temperature > 0:
        raise EstimateError(f"temperature {temperature} of soft best-of-n must be positive; 0 is best_of_n.")
    pairs = [soft_weights(scores, int(each), temperature, seed=seed, rounds=rounds) for each in n]
    choice = Choice(
        method="soft-best-of-n",
        n=n,
        temperature=np.full(len(n), float(temperature)),
        weights=np.stack([weights for weights, _ in pairs], axis=-1),
        kl=np.stack([kl for _, kl in pairs], axis=-1),
        kl_bound=kl_bound(n),
        kl_sequence=np.full(len(n), np.nan),
        wins={},
    )
    return compare(choice, scores, others, budget=budget, replicates=replicates, seed=seed, level=level, keys=keys)


def soft_weights(
    scores: Array, n: int, temperature: float, *, seed: int = 0, rounds: int = ROUNDS
) -> tuple[Array, Array]:
    """Probability (P, M) that each sample is soft best-of-n's pick, and the KL (P,)."""
    prompts, width = scores.shape
    rng = np.random.default_rng((seed, n))
    counts = np.sum(~np.isnan(scores), axis=1)
    groups = width // n
    used = np.arange(groups)[None, :] < (counts // n)[:, None]
    totals = np.zeros((2, prompts, width))
    for turn in range(rounds):
        draws = rng.random((prompts, width))
        draws[np.isnan(scores)] = 2.0  # never dealt before a real sample
        dealt = np.argsort(draws, axis=1)[:, : groups * n]
        r = np.take_along_axis(scores, dealt, axis=1).reshape(prompts, groups, n)
        r = np.where(used[:, :, None], r, 0.0)
        e = np.exp((r - r.max(axis=2, keepdims=True)) / temperature)
        share = e / e.sum(axis=2, keepdims=True) * used[:, :, None]
        both = np.zeros((prompts, width))
        np.put_along_axis(both, dealt, share.reshape(prompts, -1), axis=1)
        totals[turn % 2] += both
    halves = totals / (counts // n)[None, :, None] / (rounds / 2)
    weights = halves.mean(axis=0)

    def kl(w: Array) -> Array:
        ratio = w * counts[:, None]
        return np.asarray(np.sum(np.where(w > 0, w * np.log(np.where(w > 0, ratio, 1.0)), 0.0), axis=1))

    return weights, np.maximum(2 * kl(weights) - 0.5 * (kl(halves[0]) + kl(halves[1])), 0.0)


def best_of_poisson(
    optimized: ArrayLike,
    evaluated: Mapping[str, ArrayLike],
    *,
    mus: ArrayLike,
    budget: str = "average",
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    keys: np.ndarray | None = None,
) -> dict[str, BestOfNTable]:
    """Best of n = 1 + Poisson(mu) draws (2506.19248), a smooth path through best-of-n; column n is 1 + mu.

    Gain and win rate mix the unbiased values of best-of-n over n <= M (refused when more than 0.1% of the mass lies
    beyond). KL from the quantile density (mu u + 1) e^(mu (u - 1)), tied scores as atoms.
    """
    scores = check_scores(optimized, "optimized")
    others = check_evaluated(scores, evaluated)
    mu = np.atleast_1d(np.asarray(mus, dtype=np.float64))
    if mu.ndim != 1 or not np.all(np.isfinite(mu) & (mu >= 0)):
        raise EstimateError(f"mu of best-of-Poisson must be at least 0; got {mus!r}.")
    fewest = int(np.sum(~np.isnan(scores), axis=1).min())
    mix = poisson_mixture(mu, fewest)
    n = np.arange(1, 1 + mix.shape[1])
    inside = n < fewest  # a win rate needs one sample outside the draws
    kept = mix[:, inside] / np.maximum(mix[:, inside].sum(axis=1, keepdims=True), 1e-300)
    wins = {name: win_rates(scores, v, n[inside]) @ kept.T for name, v in others.items()} if inside.any() else {}
    choice = Choice(
        method="best-of-poisson",
        n=1.0 + mu,
        temperature=np.full(len(mu), np.nan),
        weights=best_of_n_weights(scores, n) @ mix.T,
        kl=np.stack([poisson_kl(scores, float(each)) for each in mu], axis=-1),
        kl_bound=np.array([stretch_kl(np.zeros(1), np.ones(1), poisson_law(float(m))[0])[0] for m in mu]),
        kl_sequence=np.full(len(mu), np.nan),
        wins=wins,
    )
    return compare(choice, scores, others, budget=budget, replicates=replicates, seed=seed, level=level, keys=keys)


def poisson_mixture(mu: Array, most: int) -> Array:
    """P(n = 1 + Poisson(mu)) for n = 1..top <= most, renormalised, (K, top)."""
    top = int(min(most, np.ceil(mu.max() + 10 * np.sqrt(mu.max()) + 10)))
    k = np.arange(top)
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, top)))]) if top > 1 else np.zeros(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        mass = np.exp(np.where(k > 0, k * np.log(mu[:, None]), 0.0) - mu[:, None] - logs)
    lost = 1.0 - mass.sum(axis=1)
    if np.any(lost > 1e-3):
        raise EstimateError(
            f"best-of-Poisson with mu = {mu[np.argmax(lost)]:g} draws more than the {most} samples of a prompt in "
            f"{100 * lost.max():.1f}% of cases; lower mu or draw more samples."
        )
    return np.asarray(mass / mass.sum(axis=1, keepdims=True))


def poisson_law(mu: float) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    """Quantile density and distribution function of best-of-Poisson: (mu u + 1) e^(mu (u-1)), u e^(mu (u-1))."""
    return (lambda u: (mu * u + 1) * np.exp(mu * (u - 1))), (lambda u: u * np.exp(mu * (u - 1)))


def stretch_kl(low: Array, high: Array, density: Callable[[Array], Array]) -> Array:
    """Integral of q log q over (low, high], by Gauss-Legendre on 32 equal pieces."""
    nodes, weights = np.polynomial.legendre.leggauss(8)
    pieces = 32
    width = (high - low)[..., None, None] / pieces
    u = low[..., None, None] + width * (np.arange(pieces)[:, None] + (nodes + 1) / 2)
    q = density(u)
    return np.asarray((q * np.log(q) * weights * width / 2).sum(axis=(-2, -1)))


def poisson_kl(scores: Array, mu: float) -> Array:
    """Tie-aware KL of best-of-Poisson per prompt (P,)."""
    density, cdf = poisson_law(mu)
    lower, upper = tie_bounds(scores)
    counts = np.sum(~np.isnan(scores), axis=1)[:, None]
    total = stretch_kl(np.array([0.0]), np.array([1.0]), density)[0]
    out = np.full(len(scores), total)
    tied = (upper - lower > 1) & ~np.isnan(scores)
    rows, columns = np.nonzero(tied)
    if len(rows):
        low, high = (lower / counts)[rows, columns], (upper / counts)[rows, columns]
        mass = cdf(high) - cdf(low)
        atom = mass * np.log(mass / (high - low))
        excess = (stretch_kl(low, high, density) - atom) / (upper - lower)[rows, columns]
        np.subtract.at(out, rows, excess)
    return np.maximum(out, 0.0)


def chi2_pessimism(
    optimized: ArrayLike,
    evaluated: Mapping[str, ArrayLike],
    *,
    betas: ArrayLike,
    budget: str = "average",
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    keys: np.ndarray | None = None,
) -> dict[str, BestOfNTable]:
    """Chi-squared-regularised choice (2503.21878): weights relu((r - lambda) / beta) with mean 1 per prompt.

    Column temperature is beta, n is NaN, kl and gain plug-in values of those weights; win_rate compares the weighted
    pick with the prompt's other samples.
    """
    scores = check_scores(optimized, "optimized")
    others = check_evaluated(scores, evaluated)
    beta = np.atleast_1d(np.asarray(betas, dtype=np.float64))
    weights = chi2_weights(scores, beta)
    counts = np.sum(~np.isnan(scores), axis=1)[:, None, None]
    ratio = np.where(weights > 0, weights * counts, 1.0)
    missing = np.full(len(beta), np.nan)
    choice = Choice(
        method="chi2-pessimism",
        n=missing,
        temperature=beta,
        weights=weights,
        kl=np.sum(weights * np.log(ratio), axis=1),
        kl_bound=missing,
        kl_sequence=missing,
        wins={name: np.einsum("pmn,pm->pn", weights, beaten_share(v)) for name, v in others.items()},
    )
    return compare(choice, scores, others, budget=budget, replicates=replicates, seed=seed, level=level, keys=keys)


def chi2_weights(scores: Array, betas: Array) -> Array:
    """Probabilities relu((r - lambda) / beta) / m, summing to 1 over each prompt's samples, (P, M, L).

    As a projection on the simplex: with the k best active, lambda = (their sum - m beta) / k, and k is the largest
    with r_(k) > lambda.
    """
    if betas.ndim != 1 or not np.all(np.isfinite(betas) & (betas > 0)):
        raise EstimateError(f"Betas must be positive and finite; got {betas!r}.")
    counts = np.sum(~np.isnan(scores), axis=1)[:, None, None]
    filled = np.where(np.isnan(scores), -np.inf, scores - np.nanmax(scores, axis=1, keepdims=True))
    ordered = -np.sort(-filled, axis=1)
    finite = np.where(np.isfinite(ordered), ordered, 0.0)
    k = np.arange(1, scores.shape[1] + 1)[None, :, None]
    threshold = (np.cumsum(finite, axis=1)[:, :, None] - counts * betas) / k
    active = (ordered[:, :, None] > threshold) & np.isfinite(ordered)[:, :, None]
    last = scores.shape[1] - 1 - np.argmax(active[:, ::-1], axis=1)  # (P, L)
    level = np.take_along_axis(threshold, last[:, None, :], axis=1)
    weights = np.maximum(filled[:, :, None] - level, 0.0) / betas / counts
    return np.where(np.isfinite(filled)[:, :, None], weights, 0.0)


def beaten_share(scores: Array) -> Array:
    """Share of its prompt's other samples that each sample beats, half for equals, (P, M); 0 where NaN or alone."""
    lower, upper = tie_bounds(scores)
    counts = np.sum(~np.isnan(scores), axis=1)[:, None]
    share = (lower + (upper - lower - 1) / 2) / np.maximum(counts - 1, 1)
    return np.where(np.isnan(scores) | (counts < 2), 0.0, share)
