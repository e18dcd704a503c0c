"""Best-of-Poisson (2506.19248): the best of n = 1 + Poisson(mu) draws, a smooth path through best-of-n.

In the quantile u of the reward its law is u e^(mu (u - 1)), with density (mu u + 1) e^(mu (u - 1)).
"""

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from alignment_limits.errors import EstimateError
from alignment_limits.limits.arrays import Array
from alignment_limits.limits.ranks import log_choose, log_factorials, tie_bounds

NODES, WEIGHTS = np.polynomial.legendre.leggauss(8)
MOST_LOST = 1e-3  # probability of more draws than there are samples


def poisson_mixture(mu: Array, most: int) -> Array:
    """P(n = 1 + Poisson(mu)) for n = 1..top <= most, renormalised, (K, top); NaN rows where over 0.1% is cut off."""
    top = int(min(most, np.ceil(mu.max() + 10 * np.sqrt(mu.max()) + 10)))
    k = np.arange(top)
    with np.errstate(divide="ignore", invalid="ignore"):
        mass = np.exp(np.where(k > 0, k * np.log(mu[:, None]), 0.0) - mu[:, None] - log_factorials(top)[:top])
    kept = mass.sum(axis=1, keepdims=True)
    return np.where(kept < 1 - MOST_LOST, np.nan, mass / kept)


def check_mus(mus: ArrayLike, most: int) -> Array:
    """Return mus as float64 (K,); each must be at least 0 and leave `most` draws enough."""
    mu = np.atleast_1d(np.asarray(mus, dtype=np.float64))
    if mu.ndim != 1 or not np.all(np.isfinite(mu) & (mu >= 0)):
        raise EstimateError(f"mu of best-of-Poisson must be at least 0; got {mus!r}.")
    cut = np.isnan(poisson_mixture(mu, most)[:, 0])
    if cut.any():
        raise EstimateError(
            f"best-of-Poisson with mu = {mu[cut].max():g} draws more than the {most} samples of a prompt in more than "
            f"{100 * MOST_LOST:g}% of cases; lower mu or draw more samples."
        )
    return mu


def poisson_weights(scores: Array, mu: Array) -> Array:
    """Probability that each sample is the pick, (P, M, K): best-of-n's rank weights mixed over n, ties shared.

    NaN where a prompt has too few samples for a mu.
    The mixture is taken once per number of samples, not per prompt: the weight of a rank depends on nothing else.
    """
    lower, upper = tie_bounds(scores)
    counts = np.sum(~np.isnan(scores), axis=1)
    out = np.zeros((*scores.shape, len(mu)))
    for count in np.unique(counts):
        below, single = _rank_laws(int(count), tuple(mu))
        rows = counts == count
        low, high = np.minimum(lower[rows], count), np.minimum(upper[rows], count)
        size = np.maximum(high - low, 1)[:, :, None]
        out[rows] = np.where(size == 1, single[high], (below[high] - below[low]) / size)
    out[np.isnan(scores)] = 0.0
    return out


@lru_cache(maxsize=256)
def _rank_laws(count: int, mus: tuple[float, ...]) -> tuple[Array, Array]:
    """P(pick has rank <= k) and P(it has rank k), without cancellation, of k = 0..count untied samples, (., K)."""
    mix = poisson_mixture(np.array(mus), count)
    n, rank = np.arange(1, 1 + mix.shape[1]), np.arange(count + 1)[:, None]
    whole = log_choose(np.asarray(count), n)
    return np.exp(log_choose(rank, n) - whole) @ mix.T, np.exp(log_choose(rank - 1, n - 1) - whole) @ mix.T


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
    """Tie-aware KL per prompt, (P, K): the continuous law, each atom's stretch replaced by the atom.

    atoms : which samples belong to atoms (default: those that share their score with another).
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
