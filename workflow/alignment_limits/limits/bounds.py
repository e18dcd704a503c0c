"""Reference curves to draw beside a frontier: the sub-Gaussian bound and the fits of Gao et al."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from alignment_limits.errors import EstimateError
from alignment_limits.limits.arrays import Array, check_scores, within_prompt_sd
from alignment_limits.limits.bootstrap import PromptBootstrap
from alignment_limits.limits.paired import interval, mean_of


def sub_gaussian_bound(optimized: ArrayLike, kls: ArrayLike) -> Array:
    """sigma sqrt(2 kl), sigma the pooled within-prompt sd of base samples (2406.05883), (K,).

    Exact for Gaussian rewards. With the variance as proxy it is a bound only for rewards no heavier-tailed than that.
    """
    kl = np.atleast_1d(np.asarray(kls, dtype=np.float64))
    if np.any(kl < 0):
        raise EstimateError(f"KL budgets must be at least 0; got {kls!r}.")
    return np.asarray(within_prompt_sd(check_scores(optimized, "optimized")) * np.sqrt(2.0 * kl))


@dataclass(frozen=True)
class GaoFit:
    """R(d) = d (alpha - beta d) ("best-of-n") or d (alpha - beta log d) ("policy"), d = sqrt(KL), 2210.10760.

    Coefficients with intervals; residual : root mean square misfit; curve(kls) draws it. peak_kl : where the fitted
    reward peaks, inf if beta <= 0.
    """

    form: str
    alpha: float
    alpha_low: float
    alpha_high: float
    beta: float
    beta_low: float
    beta_high: float
    residual: float

    def curve(self, kls: ArrayLike) -> Array:
        """Fitted gain at KL budgets (K,)."""
        d = np.sqrt(np.atleast_1d(np.asarray(kls, dtype=np.float64)))
        return np.asarray(_design(d, self.form) @ np.array([self.alpha, self.beta]))

    @property
    def peak_kl(self) -> float:
        """KL of the fitted maximum: (alpha / 2 beta)^2, or exp(2 (alpha / beta - 1)) for the policy form."""
        if self.beta <= 0:
            return float("inf")
        ratio = self.alpha / self.beta
        return float((ratio / 2) ** 2 if self.form == "best-of-n" else np.exp(2 * (ratio - 1)))


def gao_fit(
    kls: ArrayLike,
    gains: ArrayLike,
    *,
    form: str = "best-of-n",
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    keys: np.ndarray | None = None,
    clusters: ArrayLike | None = None,
    boot: PromptBootstrap | None = None,
) -> GaoFit:
    """Least-squares fit of gains at kls > 0 (K,), with intervals from a bootstrap over prompts.

    gains : (P, K) contributions per prompt; a prompt that is all NaN takes no part. The fit is linear in them, so every
    prompt has coefficients of its own whose mean is the fit. boot : replicates to use in place of new ones.
    """
    kl = np.atleast_1d(np.asarray(kls, dtype=np.float64))
    gain = np.asarray(gains, dtype=np.float64)
    if form not in ("best-of-n", "policy"):
        raise EstimateError(f"Unknown form '{form}': use 'best-of-n' or 'policy'.")
    if gain.ndim != 2 or gain.shape[1] != len(kl) or len(kl) < 3:
        raise EstimateError(f"Gains have shape {gain.shape}; expected (prompts, {len(kl)}), at least 3 KLs.")
    part = ~np.isnan(gain).all(axis=1)
    if np.any(kl <= 0) or not part.any() or not np.all(np.isfinite(gain[part])):
        raise EstimateError("A fit needs positive KLs and finite gains; leave unreliable points out.")
    design = _design(np.sqrt(kl), form)
    each = gain @ np.linalg.pinv(design).T  # (P, 2)
    alpha, beta = mean_of(each)
    boot = boot or PromptBootstrap(
        len(gain), replicates=replicates, seed=seed, level=level, keys=keys, clusters=clusters
    )
    low, high = interval(boot, each)
    misfit = mean_of(gain) - design @ np.array([alpha, beta])
    return GaoFit(
        form,
        float(alpha),
        float(low[0]),
        float(high[0]),
        float(beta),
        float(low[1]),
        float(high[1]),
        float(np.sqrt(np.mean(misfit**2))),
    )


def _design(d: Array, form: str) -> Array:
    safe = np.where(d > 0, d, 1.0)
    second = d * d if form == "best-of-n" else d * np.log(safe)
    return np.stack([d, -second], axis=1)
