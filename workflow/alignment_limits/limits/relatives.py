"""The laws of best-of-n's relatives: soft best-of-n, best-of-Poisson, chi-squared pessimism.

Best-of-Poisson (arXiv 2506.19248) is the best of n = 1 + Poisson(mu) draws, a smooth path through best-of-n. Its
distribution in the quantile u of the reward is u e^(mu (u - 1)), with density (mu u + 1) e^(mu (u - 1)).
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import import_module

import numpy as np
from numpy.typing import ArrayLike

from alignment_limits.ensembles.scores import Array, centre
from alignment_limits.errors import EstimateError
from alignment_limits.limits.compare import FEWEST, SAMPLES_PER_DRAW, Choice, Law, kl_of
from alignment_limits.limits.ranks import Beaten, Ranks, atoms_kl, kl_bound, log_factorials, pick_table, tie_bounds

NODES, WEIGHTS = np.polynomial.legendre.leggauss(8)
MOST_LOST = 1e-3  # probability of more draws than there are samples


def poisson_mass(mu: Array, most: int) -> Array:
    """P(n = 1 + Poisson(mu)) for n = 1..top <= most, (K, top); 1 minus the sum is the probability of more draws."""
    top = int(min(most, np.ceil(mu.max() + 10 * np.sqrt(mu.max()) + 10)))
    k = np.arange(top)
    with np.errstate(divide="ignore", invalid="ignore"):
        mass = np.exp(np.where(k > 0, k * np.log(mu[:, None]), 0.0) - mu[:, None] - log_factorials(max(top, 1))[:top])
    return np.asarray(mass / np.maximum(mass.sum(axis=1, keepdims=True), 1.0))


def poisson_mixture(mu: Array, most: int) -> Array:
    """The same, renormalised; rows are NaN if more than 0.1% is cut off."""
    mass = poisson_mass(mu, most)
    kept = mass.sum(axis=1, keepdims=True)
    return np.where(kept < 1 - MOST_LOST, np.nan, mass / kept)


def check_mus(mus: ArrayLike, most: int) -> Array:
    """Return mus as float64 (K,). Each must be at least 0, and `most` draws must be enough for it."""
    mu = np.atleast_1d(np.asarray(mus, dtype=np.float64))
    if mu.ndim != 1 or not np.all(np.isfinite(mu) & (mu >= 0)):
        raise EstimateError(f"mu of best-of-Poisson must be at least 0; got {mus!r}.")
    cut = np.isnan(poisson_mixture(mu, most)[:, 0])
    if cut.any():
        raise EstimateError(
            f"best-of-Poisson with mu = {mu[cut].max():g} draws more than the {most} samples of a prompt in more than "
            f"{100 * MOST_LOST:g}% of cases; use a smaller mu, or draw more samples."
        )
    return mu


def poisson_choice(
    scores: Array,
    others: Mapping[str, Array],
    mu: Array,
    *,
    seed: int = 0,
    keys: np.ndarray | None = None,
    samples_per_draw: float = 1.0,
    beaten: Mapping[str, Beaten] | None = None,
) -> Choice:
    """Best-of-Poisson by checked scores. Gain and win rate are exact mixtures of those of best-of-n.

    Args:
        scores: that select (P, M).
        others: evaluated rewards by name, each (P, M).
        mu: (K,).
        seed, keys: of the KL's correction.
        samples_per_draw: a prompt of m samples is in a row if m ≥ samples_per_draw (1 + μ), and n ≤ m except in 0.1 %
            of cases.
        beaten: counted pairs of each evaluated reward, if already computed.

    Returns:
        The choice. Win rates are known for n < m; `lost` is the probability of more.
    """
    counts = np.sum(~np.isnan(scores), axis=1)
    sizes = np.unique(counts)
    mus = tuple(float(each) for each in mu)
    enough = {int(m): poisson_mass(mu, int(m)).sum(axis=1) >= 1 - MOST_LOST for m in sizes}
    rows = np.stack([enough[int(m)] for m in counts]) & (counts[:, None] >= samples_per_draw * (1.0 + mu))
    ranks = Ranks.of(scores)
    beaten = beaten or {name: Beaten.of(scores, scored) for name, scored in others.items()}

    def gain(scored: Array) -> Array:
        return ranks.sums(ranks.tie_means(ranks.ranked(centre(scored))), lambda m: rank_laws(m, mus))

    kl, left = atoms_kl(
        lambda part, atoms: poisson_kl(part, mu, atoms), scores, poisson_bound(mu), keys=keys, seed=seed
    )
    shown = {int(m): poisson_mass(mu, int(m) - 1).sum(axis=1) for m in sizes}
    return Choice(
        method=np.full(len(mu), "best-of-poisson", dtype=object),
        n=1.0 + mu,
        temperature=np.full(len(mu), np.nan),
        kl=np.where(rows, kl, np.nan),
        kl_left=np.where(rows, left, np.nan),
        kl_bound=poisson_bound(mu),
        kl_sequence=np.full(rows.shape, np.nan),
        largest_ratio=1.0 + mu,
        unbiased=np.ones(len(mu), dtype=bool),
        gains={name: np.where(rows, gain(scored), np.nan) for name, scored in others.items()},
        wins={name: np.where(rows, beaten[name].mixed_wins(_shown(mus)), np.nan) for name in others},
        gains_left=dict.fromkeys(others, np.zeros(rows.shape)),
        wins_left=dict.fromkeys(others, np.zeros(rows.shape)),
        lost=np.where(rows, 1.0 - np.stack([shown[int(m)] for m in counts]), 0.0),
    )


def _shown(mus: tuple[float, ...]) -> Callable[[int], Array]:
    """The law of n among n < m, for `Beaten.mixed_wins`."""

    def mixture(m: int) -> Array:
        mass = poisson_mass(np.array(mus), m - 1)
        kept = mass.sum(axis=1, keepdims=True)
        return np.where(kept > 0, mass / np.where(kept > 0, kept, 1.0), np.nan)

    return mixture


@lru_cache(maxsize=256)
def rank_laws(count: int, mus: tuple[float, ...]) -> Array:
    """Probability that the k-th lowest of `count` untied samples is the pick, for each mu, (count, K).

    NaN if more than 0.1% of the mass is on more draws than samples.
    """
    mix = poisson_mixture(np.array(mus), count)
    return pick_table(count, np.arange(1, 1 + mix.shape[1])) @ mix.T


def density(u: Array, mu: Array) -> Array:
    """Quantile density at u."""
    return np.asarray((mu * u + 1) * np.exp(mu * (u - 1)))


def kl_to(edges: Array, mu: Array) -> Array:
    """Integral of q log q from 0 to each of the increasing edges (E,), one column per mu, (E, K): Gauss-Legendre."""
    width = np.diff(edges)[:, None, None]
    q = density(edges[:-1, None, None] + width * (NODES[:, None] + 1) / 2, mu)
    cells = np.einsum("enk,n->ek", q * np.log(q) * width / 2, WEIGHTS)
    return np.concatenate([np.zeros((1, len(mu))), np.cumsum(cells, axis=0)])


def poisson_bound(mu: Array) -> Array:
    """KL for continuous rewards, (K,); tied scores have less."""
    return np.asarray(kl_to(np.linspace(0, 1, 257), mu)[-1])


def poisson_kl(scores: Array, mu: Array, atoms: np.ndarray | None = None) -> Array:
    """KL per prompt with ties: the continuous law, with each atom in place of its part.

    Args:
        scores: (P, M).
        mu: (K,).
        atoms: the samples that belong to atoms (P, M); default: those that share their score with another.

    Returns:
        Nats (P, K).
    """
    lower, upper = tie_bounds(scores)
    counts = np.sum(~np.isnan(scores), axis=1)
    known = ~np.isnan(scores)
    members = (upper - lower > 1 if atoms is None else atoms) & known
    out = np.repeat(poisson_bound(mu)[None], len(scores), axis=0)
    for count in np.unique(counts[members.any(axis=1)]):
        edges = np.arange(count + 1) / count
        stretch = kl_to(edges, mu)
        cdf = edges[:, None] * np.exp(mu * (edges[:, None] - 1))
        rows, columns = np.nonzero(members & (counts == count)[:, None])
        low, high = lower[rows, columns], upper[rows, columns]
        mass = cdf[high] - cdf[low]
        atom = mass * np.log(mass / (edges[high] - edges[low])[:, None])
        np.subtract.at(out, rows, (stretch[high] - stretch[low] - atom) / (high - low)[:, None])
    return np.maximum(out, 0.0)


CAP = 6.5  # of exponents: e^-e^6.5 is the same as 0
STEP, TAIL = 0.75, 10.0  # grid of noisy scores; a finer one is not needed for a Gumbel law, and its tail is e^-TAIL


def soft_law(ns: np.ndarray, temperatures: ArrayLike) -> Law:
    """Soft best-of-n at every temperature (in units of the reward) and n."""
    heat = np.atleast_1d(np.asarray(temperatures, dtype=np.float64))
    if heat.ndim != 1 or not np.all(np.isfinite(heat) & (heat > 0)):
        raise EstimateError(f"Temperatures of soft best-of-n must be positive; 0 is best_of_n. Got {temperatures!r}.")
    n = np.unique(ns)

    def pick(part: Array) -> tuple[Array, Array]:
        weights = np.concatenate([soft_weights(part / each, n) for each in heat], axis=-1)
        return weights, kl_of(weights, np.sum(~np.isnan(part), axis=1))

    return Law(
        method="soft-best-of-n",
        n=np.tile(n, len(heat)).astype(np.float64),
        temperature=np.repeat(heat, len(n)),
        kl_bound=np.tile(kl_bound(n), len(heat)),
        fewest=np.tile(np.maximum(SAMPLES_PER_DRAW * n, FEWEST), len(heat)).astype(np.float64),
        pick=pick,
    )


def soft_weights(scores: Array, ns: np.ndarray) -> Array:
    """Probability that each sample is soft best-of-n's pick at temperature 1, (P, M, N); ns increasing.

    A softmax over n draws is their maximum of score plus Gumbel noise. M times a sample's probability is its density
    ratio n E[e^r / (e^r + sum of n-1 others)]. This is n times an integral over y: the density of the sample's noisy
    score at y, times P(another is below y) to the power n - 1. It is a sum over a grid, with a relative error of 1e-4.
    NaN where a prompt has fewer than n samples.
    """
    fused = compiled_picks()
    if fused is None:
        return plain_picks(scores, ns)
    known = ~np.isnan(scores)
    counts, order = known.sum(axis=1), None
    z = scores - np.nanmax(scores, axis=1, keepdims=True)
    starts = np.nanmin(z, axis=1) - 3.0
    sizes = np.ceil((np.log(ns[-1]) + TAIL - starts) / STEP).astype(np.int64)
    if not known.all():
        order = np.argsort(~known, axis=1, kind="stable")
        z = np.take_along_axis(z, order, axis=1)
    weights = fused(z, counts, ns, starts, sizes, step=STEP, cap=CAP)
    if order is None:
        return weights
    out = np.zeros_like(weights)
    np.put_along_axis(out, order[:, :, None], weights, axis=1)
    return out


def compiled_picks() -> Callable[..., Array] | None:
    """The compiled probabilities, or None without Numba (or if its cache cannot be written)."""
    try:
        fused: Callable[..., Array] = import_module("alignment_limits.limits.picks").fused_picks
        return fused
    except (ImportError, RuntimeError):
        return None


def plain_picks(scores: Array, ns: np.ndarray) -> Array:
    """The same by NumPy, one prompt after the other."""
    out = np.zeros((*scores.shape, len(ns)))
    for row, into in zip(scores, out, strict=True):
        known = ~np.isnan(row)
        z = row[known] - row[known].max()
        y = np.arange(z.min() - 3.0, np.log(ns[-1]) + TAIL, STEP)
        rate = np.exp(np.minimum(z - y[:, None], CAP))  # (grid, samples)
        below = np.exp(-rate)
        rate *= below  # the density of the noisy score
        np.subtract(below.sum(axis=1, keepdims=True), below, out=below)
        np.maximum(below, 0.0, out=below)
        below /= max(len(z) - 1, 1)
        done, product, squares = 1, rate, [below]
        for j, n in enumerate(ns):
            for bit in range((int(n) - done).bit_length()):
                if bit == len(squares):
                    squares.append(squares[-1] * squares[-1])
                if (int(n) - done) >> bit & 1:
                    product *= squares[bit]
            done = int(n)
            weights = product.sum(axis=0)
            into[known, j] = weights / weights.sum() if n <= len(z) else np.nan
    return out


def chi2_law(betas: ArrayLike) -> Law:
    """Chi-squared pessimism at each beta > 0 (in units of the reward)."""
    beta = np.atleast_1d(np.asarray(betas, dtype=np.float64))

    def pick(part: Array) -> tuple[Array, Array]:
        weights = chi2_weights(part, beta)
        return weights, kl_of(weights, np.sum(~np.isnan(part), axis=1))

    missing = np.full(len(beta), np.nan)
    fewest = np.full(len(beta), float(FEWEST))
    return Law("chi2-pessimism", n=missing, temperature=beta, kl_bound=missing, fewest=fewest, pick=pick)


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
