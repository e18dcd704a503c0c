"""Closed forms of 0/1 rewards: KL, the largest pass rate within a budget, best-of-n.

A tilt by a 0/1 reward changes the probability of a reply only through whether it passes. So a prompt's pass rate p says
everything: a policy that raises it to q costs at least kl(q || p) = q log(q/p) + (1-q) log((1-q)/(1-p)) nats, and the
tilt at 1/beta = lambda has logit q = logit p + lambda.
"""

import numpy as np
import scipy
from numpy.typing import ArrayLike

from alignment_limits.ensembles.scores import Array, check_scores
from alignment_limits.errors import EstimateError

HALVINGS = 60  # of a bisection


def check_rates(pass_rates: ArrayLike) -> Array:
    """Pass rates as float64; raise EstimateError unless all are between 0 and 1."""
    p = np.asarray(pass_rates, dtype=np.float64)
    wrong = ~((p >= 0) & (p <= 1))
    if wrong.any():
        raise EstimateError(f"Pass rates must be between 0 and 1 (not in per cent); got {p[wrong][0]:g}.")
    return p


def is_binary(scores: Array) -> bool:
    """Whether a reward has only the values 0 and 1, and both of them."""
    known = scores[~np.isnan(scores)]
    return bool(np.isin(known, (0.0, 1.0)).all() and known.min(initial=1) == 0 and known.max(initial=0) == 1)


def check_correct(correct: ArrayLike, name: str = "correct") -> Array:
    """Scores (P, M) that are 0 or 1, NaN where there is no sample.

    Raises:
        EstimateError: other values (with the first place), or scores that cannot be used.
    """
    scores = check_scores(correct, name)
    other = ~np.isnan(scores) & (scores != 0) & (scores != 1)
    if other.any():
        row, column = np.argwhere(other)[0]
        raise EstimateError(
            f"'{name}' is {scores[row, column]:g} at row {row}, sample {column} ({int(other.sum())} such values); "
            "a verifiable reward is 0 or 1. Round it, or cut it at a threshold."
        )
    return scores


def check_budgets(kls: ArrayLike) -> Array:
    """Budgets (K,) as float64; raise EstimateError unless all are finite and at least 0."""
    kappa = np.atleast_1d(np.asarray(kls, dtype=np.float64))
    if kappa.ndim != 1 or not np.all(np.isfinite(kappa) & (kappa >= 0)):
        raise EstimateError(f"KL budgets must be finite and at least 0 nats, in one list; got {kls!r}.")
    return kappa


def binary_kl(reached: ArrayLike, pass_rates: ArrayLike) -> Array:
    """KL between two 0/1 laws: the least KL of a policy with this pass rate.

    Args:
        reached: pass rates q of the policy, of any shape.
        pass_rates: pass rates p of the base, of a shape that broadcasts with it.

    Returns:
        kl(q || p) in nats; inf where the policy does what the base never does.

    Raises:
        EstimateError: a rate outside of 0 to 1.

    Example:
        >>> binary_kl([0.5, 1.0], 0.25).round(3)  # the second is -log p
        array([0.144, 1.386])

    References:
        docs/tradeoffs.md, "Verifiable rewards".
    """
    q, p = check_rates(reached), check_rates(pass_rates)
    return np.asarray(scipy.special.rel_entr(q, p) + scipy.special.rel_entr(1 - q, 1 - p))


def best_pass_rates(pass_rates: ArrayLike, kls: ArrayLike) -> Array:
    """The largest pass rate of each prompt if each may use the same KL (a per-prompt budget).

    Args:
        pass_rates: of the base, (prompts,).
        kls: budgets in nats (K,).

    Returns:
        Pass rates q with kl(q || p) = KL, (prompts, K): 1 from -log p nats on, 0 for a prompt that never passes.

    Raises:
        EstimateError: a rate outside of 0 to 1, or a budget that is negative.

    Example:
        >>> best_pass_rates([0.25], [0.0, 0.144, 2.0]).round(3)
        array([[0.25, 0.5 , 1.  ]])

    References:
        "Theoretical Limits of Language Model Alignment", arXiv 2605.07105; docs/tradeoffs.md, "Verifiable rewards".
    """
    p, kappa = check_rates(np.atleast_1d(pass_rates))[:, None], check_budgets(kls)
    low, high = np.broadcast_to(p, (len(p), len(kappa))), np.ones((len(p), len(kappa)))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        within = binary_kl(middle, p) <= kappa
        low, high = np.where(within, middle, low), np.where(within, high, middle)
    with np.errstate(divide="ignore"):
        sure = (p > 0) & (kappa >= -np.log(p))
    return np.where(p == 0, 0.0, np.where(sure, 1.0, low))


def tilted_pass_rates(pass_rates: ArrayLike, inverse: ArrayLike) -> Array:
    """Pass rates of the tilt, logit q = logit p + λ.

    Args:
        pass_rates: of the base, (prompts,).
        inverse: λ = 1/β (L,), inf for the best reply of each prompt.

    Returns:
        Pass rates (prompts, L).

    Example:
        >>> tilted_pass_rates([0.25], [0.0, np.log(3.0), np.inf])
        array([[0.25, 0.5 , 1.  ]])
    """
    p, lam = check_rates(np.atleast_1d(pass_rates))[:, None], np.atleast_1d(np.asarray(inverse, dtype=np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        q = scipy.special.expit(scipy.special.logit(p) + lam)
    return np.where(p == 0, 0.0, np.where(np.isposinf(lam), 1.0, q))


def average_limit(pass_rates: ArrayLike, kls: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """The largest mean pass rate within a mean KL (an average budget): one temperature for all prompts.

    Args:
        pass_rates: of the base, (prompts,).
        kls: mean KLs in nats (K,).
        weights: share of each prompt (prompts,); default: equal shares.

    Returns:
        Mean pass rates (K,): the share of prompts that can pass, from the mean of -log p of these prompts on.

    Raises:
        EstimateError: a rate outside of 0 to 1, or a budget that is negative.

    Example:
        >>> average_limit([0.5, 0.25], [0.0, 0.1, 3.0]).round(3)
        array([0.375, 0.588, 1.   ])

    References:
        "Theoretical Limits of Language Model Alignment", arXiv 2605.07105; docs/tradeoffs.md, "Verifiable rewards".
    """
    p, kappa = check_rates(np.atleast_1d(pass_rates)), check_budgets(kls)
    w = np.full(len(p), 1.0) if weights is None else np.asarray(weights, dtype=np.float64)
    w = w / w.sum()
    return np.asarray(w @ tilted_pass_rates(p, inverse_at(p, kappa, w)))


def inverse_at(p: Array, kappa: Array, w: Array) -> Array:
    """λ (K,) at which the mean KL of the tilt is kappa; inf where all prompts that can pass always do."""
    some = p > 0
    ceiling = float(w[some] @ -np.log(p[some]))
    low, high = np.full(len(kappa), -16.0), np.full(len(kappa), 16.0)  # of log λ
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        within = w @ binary_kl(tilted_pass_rates(p, np.exp(middle)), p[:, None]) <= kappa
        low, high = np.where(within, middle, low), np.where(within, high, middle)
    return np.where(kappa >= ceiling, np.inf, np.where(kappa == 0, 0.0, np.exp(low)))


def best_of_n_rates(pass_rates: ArrayLike, ns: ArrayLike) -> tuple[Array, Array]:
    """Pass rate and KL of the best of n replies by a 0/1 reward, exactly.

    Args:
        pass_rates: of the base, (prompts,).
        ns: numbers of draws (N,).

    Returns:
        Pass rates 1 - (1 - p)ⁿ and KLs in nats, (prompts, N) each. Best-of-n is on the limit of its prompt.

    Raises:
        EstimateError: a rate outside of 0 to 1.

    Example:
        >>> rates, kls = best_of_n_rates([0.25], [1, 4])
        >>> rates.round(3), kls.round(3)
        (array([[0.25 , 0.684]]), array([[0.   , 0.415]]))

    References:
        docs/tradeoffs.md, "Verifiable rewards".
    """
    p, n = check_rates(np.atleast_1d(pass_rates))[:, None], np.atleast_1d(np.asarray(ns, dtype=np.float64))
    rest = scipy.special.xlog1py(n, -p)  # log (1 - p)^n
    q = -np.expm1(rest)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(p > 0, np.log(q) - np.log(p), 0.0)
        kl = q * ratio + np.where(p < 1, np.exp(rest) * (n - 1) * np.log1p(-p), 0.0)
    return q, np.maximum(kl, 0.0)
