"""The exponential tilt of the base samples at given inverse temperatures: KL, gain, covariances, Pareto k̂.

For each prompt, weights w_i = softmax(lambda r_i), lambda = 1/beta, over its samples. With r and v centred
by the prompt's mean, L = log mean exp(lambda r):

    gain of v = sum w_i v_i,  KL(pi_beta || pi_0) = lambda sum w_i r_i - L,  KL(pi_0 || pi_beta) = L,

so gain of r = beta (KL + reverse KL) holds exactly in every sample
(docs/theory.md, "The gain is a Jeffreys divergence").
All in nats. Pareto k̂ is that of PSIS (arXiv 1507.02646), for many prompts and temperatures at once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import overload

import numpy as np
from numpy.typing import ArrayLike

from alignment_limits.ensembles.scores import Array, as_given, centre, check_evaluated, check_scores
from alignment_limits.errors import EstimateError
from alignment_limits.limits.samples import Quartered, whole

SMALLEST_TAIL = 5


def pareto_k(rewards: Array, inverse: Array, log_weights: Array | None = None) -> Array:
    """Shape k̂ of the generalised Pareto tail of the weights w e^{λr}, one for each prompt and λ.

    As in Pareto-smoothed importance sampling: from the largest min(0.2 m, 3 √m) weights, with its weak prior
    (k n + 5) / (n + 10).

    Args:
        rewards: scores (prompts, samples); NaN marks a missing sample.
        inverse: λ = 1/β, (L,) or (prompts, L).
        log_weights: log w (prompts, samples) if not all samples are from the base (`Pool.log_weights`); default 0.

    Returns:
        k̂ (prompts, L); NaN without a tail to fit: fewer than 5 values above the cut, or all of them equal.

    Example:
        >>> scores = np.random.default_rng(0).normal(size=(200, 64))
        >>> np.median(pareto_k(scores, np.array([0.5, 2.0])), axis=0).round(1)
        array([0.3, 0.6])

    References:
        Vehtari et al. (2024), arXiv 1507.02646; docs/theory.md, "Intervals and reliability".
    """
    prompts = len(rewards)
    lam = np.broadcast_to(inverse, (prompts, np.shape(inverse)[-1]))
    counts = np.sum(~np.isnan(rewards), axis=1)
    out = np.full(lam.shape, np.nan)
    for m in np.unique(counts):
        tail = int(min(0.2 * m, 3.0 * np.sqrt(m)))
        if tail < SMALLEST_TAIL:
            continue
        rows = np.flatnonzero(counts == m)
        if log_weights is not None:  # another order at each λ
            for j in range(lam.shape[1]):
                logs = np.sort(lam[rows, j, None] * rewards[rows] + log_weights[rows], axis=1)[:, :m]
                out[rows, j] = _tail_shape(logs[:, m - tail - 1 :], np.ones((len(rows), 1)))[:, 0]
            continue
        ordered = np.sort(rewards[rows], axis=1)[:, :m]  # NaN sort last
        for start in range(0, len(rows), 32):
            part = slice(start, start + 32)
            out[rows[part]] = _tail_shape(ordered[part, m - tail - 1 :], lam[rows[part]])
    return out


def _tail_shape(top: Array, lam: Array) -> Array:
    """k-hat from the ascending top values (p, T + 1), the first of which is the cut; lam (p, L)."""
    tail = top[:, 1:] - top[:, -1:]
    # Excess weights relative to the largest, zero where tied with the cut.
    excess = np.exp(lam[:, :, None] * tail[:, None, :]) - np.exp(lam * (top[:, :1] - top[:, -1:]))[:, :, None]
    n = np.sum(top[:, 1:] > top[:, :1], axis=1)
    usable = (n >= SMALLEST_TAIL) & (top[:, -1] > top[np.arange(len(top)), -np.minimum(n, top.shape[1] - 1)])
    out = np.full(lam.shape, np.nan)
    for count in np.unique(n[usable]):
        rows = np.flatnonzero(usable & (n == count))
        out[rows] = _zhang_stephens(excess[rows][:, :, excess.shape[2] - count :])
    return out


def _zhang_stephens(x: Array) -> Array:
    """Zhang & Stephens (2009) posterior-mean shape of ascending positive excesses (..., n)."""
    n = x.shape[-1]
    grid = 30 + int(np.sqrt(n))
    quartile = x[..., int(n / 4 + 0.5) - 1]
    b = 1.0 - np.sqrt(grid / (np.arange(1, grid + 1) - 0.5))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        b = b / (3.0 * quartile[..., None]) + 1.0 / x[..., -1:]
        k = np.mean(np.log1p(-b[..., :, None] * x[..., None, :]), axis=-1)
        likelihood = n * (np.log(-(b / k)) - k - 1.0)
        weights = 1.0 / np.exp(likelihood[..., None, :] - likelihood[..., :, None]).sum(axis=-1)
        keep = weights >= 10 * np.finfo(np.float64).eps
        weights = np.where(keep, weights, 0.0)
        weights = weights / weights.sum(axis=-1, keepdims=True)
        best = np.sum(np.where(keep, b, 0.0) * weights, axis=-1)
        shape = np.mean(np.log1p(-best[..., None] * x), axis=-1)
    return np.asarray((n * shape + 5.0) / (n + 10.0))


CHUNK = 250_000  # exponentials at once: 2 MB, which fits in the cache
NEVER = -1e250  # exponent of padding: weight 0 without -inf * 0
OF_LEVEL = slice(0, 1), slice(1, 3), slice(3, 7)  # the blocks of all samples, of halves, of quarters
LEVELS = len(OF_LEVEL)


@dataclass(frozen=True)
class TiltMoments:
    """Moments under the tilt, for P prompts, L inverse temperatures, V evaluated rewards, B blocks of samples.

    Attributes:
        inverse: λ (L,) or (P, L).
        log_mean_exp, kl, reward, variance: (P, L, B).
        gain, covariance: (P, L, V, B).
        ess: (P, L), of all samples.
    """

    inverse: Array
    log_mean_exp: Array
    kl: Array
    reward: Array
    variance: Array
    gain: Array
    covariance: Array
    ess: Array


@dataclass(frozen=True)
class Tilt:
    """Plug-in moments of one evaluated reward v under the tilt by r, each prompt's (P, L).

    Attributes:
        beta: (L,).
        kl, kl_reverse: KL(π_β‖π₀) and KL(π₀‖π_β), nats.
        gain: E_w v − mean v.
        covariance, variance: Cov_w(v, r) and Var_w(r).
        ess: effective sample size 1 / Σ w².
    """

    beta: Array
    kl: Array
    kl_reverse: Array
    gain: Array
    covariance: Array
    variance: Array
    ess: Array


def block_weights(sizes: np.ndarray) -> Array:
    """Share of each block within its level, (P, 7): 1 | halves | quarters.

    With weights by size, a bias of b/m counts exactly once, twice and four times at the three levels.
    """
    total = sizes.sum(axis=1, keepdims=True)
    halves = sizes.reshape(len(sizes), 2, 2).sum(axis=2)
    return np.concatenate([np.ones_like(total), halves / total, sizes / total], axis=1)


def by_level(values: Array, weights: Array, level: int | None = None) -> Array:
    """Average (P, ..., 7) over the blocks of each level -> (P, ..., 3): full, halves, quarters; or of one -> (P, ...).

    For one level, values (P, ..., B) are those of its own blocks.
    """
    if level is not None:
        weights = weights[:, OF_LEVEL[level]]
    weighted = values * weights.reshape(len(weights), *([1] * (values.ndim - 2)), weights.shape[1])
    blocks = [weighted[..., i] for i in range(weighted.shape[-1])]  # sums over so short an axis are slow in NumPy
    if level is not None:
        return np.asarray(sum(blocks[1:], blocks[0]))
    full, left, right, *quarters = blocks
    return np.stack([full, left + right, (quarters[0] + quarters[1]) + (quarters[2] + quarters[3])], axis=-1)


def compiled_sums() -> Callable[..., tuple[Array, Array]] | None:
    """The compiled kernel, or None if it is not available.

    The two differ in the last digits. So the choice must not depend on earlier calls in a process: results repeat
    exactly."""
    try:
        kernel: Callable[..., tuple[Array, Array]] = import_module(
            "alignment_limits.limits.streaming.kernels"
        ).fused_sums
        return kernel
    except (ImportError, RuntimeError):  # no Numba, or no folder for its cache
        return None


def block_sums(parts: Quartered, inverse: Array) -> tuple[Array, Array, Array]:
    """Sums over each of B blocks: log shift (B, P, L), moments (F, B, P, L), squared weights (B, P, L).

    `inverse` is (P, L). Moments F, weighted by exp(lambda (r - the block's best r)): 1, r, r^2, then v and v r of
    every evaluated reward. Short axes come first, so that NumPy loops over the long ones.
    """
    shift = inverse * parts.tops.T[:, :, None]
    fused = compiled_sums()
    if fused is not None:
        return shift, *fused(parts.rewards, parts.tops, parts.features, parts.sizes, inverse, parts.weights)
    return shift, *plain_sums(parts, inverse)


def plain_sums(parts: Quartered, inverse: Array) -> tuple[Array, Array]:
    """The same sums with NumPy, in chunks of prompts that fit in the cache."""
    prompts, blocks, room = parts.rewards.shape
    carried, count = parts.features.shape[-1], inverse.shape[1]
    sums, squares = np.empty((3 + 2 * carried, blocks, prompts, count)), np.empty((blocks, prompts, count))
    step = max(1, CHUNK // (blocks * room * count))
    for start in range(0, prompts, step):
        rows = slice(start, start + step)
        r, present = parts.rewards[rows], parts.present[rows]
        below = np.where(present, r - parts.tops[rows, :, None], NEVER)
        columns = [present.astype(np.float64), r, r * r]
        for v in np.moveaxis(parts.features[rows], -1, 0):
            columns += [v, v * r]
        e = np.exp(inverse[rows, None, :, None] * below[:, :, None, :])
        if parts.weights is not None:
            e *= parts.weights[rows, :, None, :]
        sums[:, :, rows] = np.matmul(e, np.stack(columns, axis=2).swapaxes(-1, -2)).transpose(3, 1, 0, 2)
        squares[:, rows] = np.einsum("pqls,pqls->qpl", e, e)
    return sums, squares


def _paired(sums: Array, shift: Array, sizes: np.ndarray) -> tuple[Array, Array, np.ndarray]:
    """Merge neighbouring blocks, (F, B, P, L) with log shifts (B, P, L) and sizes (B, P), into B / 2 of them."""
    top = np.maximum(shift[::2], shift[1::2])
    base = np.where(np.isfinite(top), top, 0.0)  # two empty blocks stay empty
    left, right = np.exp(shift[::2] - base), np.exp(shift[1::2] - base)
    return sums[:, ::2] * left + sums[:, 1::2] * right, top, sizes[::2] + sizes[1::2]


def moments_of(parts: Quartered, inverse: Array, level: int | None = None) -> TiltMoments:
    """All moments of quartered samples.

    Args:
        parts: the samples; samples in one block (`samples.whole`) give one block.
        inverse: 1/β > 0, (L,) shared or (P, L).
        level: 0 all samples, 1 halves, 2 quarters, for only these B = 1, 2 or 4 blocks; default all 7.

    Returns:
        The moments.
    """
    inverse = np.ascontiguousarray(np.broadcast_to(inverse, (len(parts.rewards), np.shape(inverse)[-1])))
    shift, sums, squares = block_sums(parts, inverse)
    layers = [(sums, np.where(sums[0] <= 0, -np.inf, shift), parts.mass.T)]
    while len(layers[0][1]) > 1:
        layers.insert(0, _paired(*layers[0]))
    every, highest, _ = layers[0]
    if level is not None and len(layers) > 1:
        layers = [layers[level]]
    blocks = np.concatenate([layer[0] for layer in layers], axis=1)
    tops = np.concatenate([layer[1] for layer in layers])
    counts = np.concatenate([layer[2] for layer in layers])[:, :, None]
    none = counts == 0
    total = np.where(none, 1.0, blocks[0])
    mean = blocks[1:] / total
    below = mean[0]  # E_w r less the prompt's largest r
    log_mean_exp = np.log(total) + np.where(none, 0.0, tops) - np.log(np.where(none, 1, counts))
    kl = np.where(none, 0.0, np.maximum(inverse * below - log_mean_exp, 0.0))
    log_mean_exp = np.where(none, 0.0, log_mean_exp + inverse * parts.offset[:, None])
    to_full = np.where(parts.sizes.T[:, :, None] > 0, np.exp(np.minimum(shift - highest, 0.0)), 0.0)
    gain = mean[2::2]
    by_block = (
        log_mean_exp,
        kl,
        np.where(none, 0.0, below + parts.offset[:, None]),
        np.maximum(mean[1] - below**2, 0.0),
        gain,
        mean[3::2] - gain * below,
    )
    ess = every[0, 0] ** 2 / (squares * to_full**2).sum(axis=0)
    log_z, kl, reward, variance, gain, covariance = (np.moveaxis(each, (-2, -1), (0, 1)) for each in by_block)
    return TiltMoments(inverse, log_z, kl, reward, variance, gain, covariance, ess)


@overload
def tilt(optimized: ArrayLike, evaluated: Mapping[str, ArrayLike], betas: ArrayLike) -> dict[str, Tilt]: ...
@overload
def tilt(optimized: ArrayLike, evaluated: ArrayLike, betas: ArrayLike) -> Tilt: ...
def tilt(
    optimized: ArrayLike, evaluated: Mapping[str, ArrayLike] | ArrayLike, betas: ArrayLike
) -> dict[str, Tilt] | Tilt:
    """Plug-in moments of each prompt's tilt at each temperature, without correction or interval.

    Args:
        optimized: scores (prompts, samples); NaN marks a missing sample.
        evaluated: scores of the same samples by name, or one array of them.
        betas: positive temperatures (L,) in units of the optimized reward.

    Returns:
        Moments (prompts, L): one result, or one for each name where `evaluated` is a mapping.

    Raises:
        EstimateError: scores that cannot be used, or a temperature that is not positive.

    Example:
        >>> scores = np.random.default_rng(0).normal(size=(200, 64))
        >>> moments = tilt(scores, scores, [1.0])
        >>> np.allclose(moments.gain, moments.kl + moments.kl_reverse)  # β times the Jeffreys divergence
        True

    References:
        docs/theory.md, "Estimates at a fixed temperature".
    """
    scores = check_scores(optimized, "optimized")
    others = check_evaluated(scores, evaluated)
    beta = check_betas(betas)
    # If the optimized reward is also evaluated, it needs no further sums.
    own = [name for name, array in others.items() if np.array_equal(array, scores, equal_nan=True)]
    carried = [name for name in others if name not in own]
    moments = moments_of(whole(scores, [others[name] for name in carried]), 1.0 / beta)
    kl, reverse, variance = moments.kl[..., 0], moments.log_mean_exp[..., 0], moments.variance[..., 0]
    tables = {}
    for name in others:
        if name in own:
            gain, covariance = moments.reward[..., 0], variance
        else:
            index = carried.index(name)
            gain, covariance = moments.gain[:, :, index, 0], moments.covariance[:, :, index, 0]
        tables[name] = Tilt(beta, kl, reverse, gain, covariance, variance, moments.ess)
    return as_given(evaluated, tables)


def check_betas(betas: ArrayLike) -> Array:
    """Return betas as a float64 vector; raise EstimateError unless all are positive and finite."""
    beta = np.atleast_1d(np.asarray(betas, dtype=np.float64))
    if beta.ndim != 1 or not np.all(np.isfinite(beta) & (beta > 0)):
        raise EstimateError(f"Betas must be positive and finite, in one list; got {betas!r}.")
    return beta


def gain_from_jeffreys(table: Tilt) -> Array:
    """Gain of the optimized reward as β times the Jeffreys divergence of tilt and base; exact in every sample.

    Args:
        table: of `tilt`.

    Returns:
        Gains (prompts, L) in units of the reward.

    Example:
        >>> scores = np.random.default_rng(0).normal(size=(200, 64))
        >>> by_divergence = gain_from_jeffreys(tilt(scores, scores, [2.0]))
        >>> bool(np.allclose(by_divergence, gain_from_covariance(scores, scores, [2.0]), rtol=1e-9))
        True

    References:
        "Theoretical Limits of Language Model Alignment", arXiv 2605.07105;
        docs/theory.md, "The gain is a Jeffreys divergence".
    """
    return table.beta * (table.kl + table.kl_reverse)


def gain_from_covariance(optimized: ArrayLike, evaluated: ArrayLike, betas: ArrayLike) -> Array:
    """Gain as Cov(v, e^{r/β}) / E e^{r/β} over the base samples; exact in every sample.

    Args:
        optimized, evaluated: scores r and v (prompts, samples); NaN marks a missing sample.
        betas: positive temperatures (L,).

    Returns:
        Gains (prompts, L) in units of the evaluated reward.

    Raises:
        EstimateError: scores that cannot be used, or a temperature that is not positive.

    Example:
        >>> scores = np.random.default_rng(0).normal(size=(200, 64))
        >>> gain_from_covariance(scores, scores, [2.0]).mean().round(2)  # without the correction of `frontier`
        np.float64(0.48)

    References:
        "Theoretical Limits of Language Model Alignment", arXiv 2605.07105;
        docs/theory.md, "The gain is a Jeffreys divergence".
    """
    r = check_scores(optimized, "optimized")
    v = check_evaluated(r, {"evaluated": evaluated})["evaluated"]
    gains = []
    for beta in check_betas(betas):
        e = np.exp((r - np.nanmax(r, axis=1, keepdims=True)) / beta)
        gains.append(np.nanmean(centre(v) * (e - np.nanmean(e, axis=1, keepdims=True)), axis=1) / np.nanmean(e, axis=1))
    return np.stack(gains, axis=1)
