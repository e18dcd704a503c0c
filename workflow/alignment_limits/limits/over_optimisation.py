"""Gold when another reward is optimised more strongly, along two paths: its peak, and the fit of Gao et al.

Two rows: the tilt with increasing KL (hacking onset; the form for policies), and best-of-n with increasing n
(HedgeTune's stopping point; the form for best-of-n). The sub-Gaussian bound is a reference curve next to a frontier.
"""

from dataclasses import asdict, dataclass, fields

import numpy as np
from numpy.typing import ArrayLike

from alignment_limits.ensembles.scores import (
    Array,
    Columns,
    Counts,
    Flags,
    Words,
    check_evaluated,
    check_scores,
    within_prompt_sd,
)
from alignment_limits.errors import EstimateError
from alignment_limits.limits.best_of_n import corrected_kl
from alignment_limits.limits.bootstrap import PromptBootstrap
from alignment_limits.limits.means import Mean, interval, judge_means, mean_of
from alignment_limits.limits.onset import Path, draws_path, peak_of, reliable_draws, tilt_path
from alignment_limits.limits.reliability import FEWEST_PROMPTS, too_few


def sub_gaussian_bound(optimized: ArrayLike, kls: ArrayLike) -> Array:
    """σ √(2 KL), where σ is the pooled within-prompt standard deviation of the base's scores.

    Exact for Gaussian rewards, and an upper bound only if the tails are not heavier.

    Args:
        optimized: scores (prompts, samples); NaN marks a missing sample.
        kls: budgets (K,) in nats.

    Returns:
        Gains (K,) in units of the reward.

    Raises:
        EstimateError: a negative budget, or scores that cannot be used.

    Example:
        >>> scores = np.random.default_rng(0).normal(size=(200, 64))
        >>> sub_gaussian_bound(scores, [0.5]).round(1)
        array([1.])

    References:
        arXiv 2406.05883; docs/theory.md, "Over-optimisation".
    """
    kl = np.atleast_1d(np.asarray(kls, dtype=np.float64))
    if np.any(kl < 0):
        raise EstimateError(f"KL budgets must be at least 0; got {kls!r}.")
    return np.asarray(within_prompt_sd(check_scores(optimized, "optimized")) * np.sqrt(2.0 * kl))


@dataclass(frozen=True)
class GaoFit:
    """R(d) = d (α − β d) ("best-of-n") or d (α − β log d) ("policy"), d = √KL.

    Attributes:
        form: "best-of-n" or "policy".
        alpha, alpha_low, alpha_high, beta, beta_low, beta_high: coefficients with intervals.
        residual: root mean square misfit, in gold units.

    References:
        Gao et al. (2022), arXiv 2210.10760; docs/theory.md, "Over-optimisation".
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
    """Least-squares fit of R(d) = d (α − β d) or d (α − β log d), d = √KL, with intervals by bootstrap over prompts.

    The fit is linear in the gains, so it is the mean of coefficients for each prompt.

    Args:
        kls: positive budgets (K,) in nats, at least three.
        gains: of each prompt (prompts, K); a prompt with only NaN is excluded.
        form: "best-of-n" or "policy".
        replicates, seed, level, keys, clusters: as for `frontier`.
        boot: replicates to use instead of new ones.

    Returns:
        The coefficients with intervals, and the misfit.

    Raises:
        EstimateError: an unknown form, or points that cannot be fitted.

    Example:
        >>> kls = np.array([0.1, 0.4, 0.9])
        >>> fit = gao_fit(kls, np.tile(np.sqrt(kls) * (1.4 - 0.5 * np.sqrt(kls)), (50, 1)), replicates=200)
        >>> round(fit.alpha, 6), round(fit.beta, 6), round(fit.peak_kl, 6)
        (1.4, 0.5, 1.96)

    References:
        Gao et al. (2022), arXiv 2210.10760; docs/theory.md, "Over-optimisation".
    """
    kl = np.atleast_1d(np.asarray(kls, dtype=np.float64))
    gain = np.asarray(gains, dtype=np.float64)
    if form not in ("best-of-n", "policy"):
        raise EstimateError(f"Unknown form '{form}': use 'best-of-n' or 'policy'.")
    if gain.ndim != 2 or gain.shape[1] != len(kl) or len(kl) < 3:
        raise EstimateError(f"Gains have shape {gain.shape}; expected (prompts, {len(kl)}), at least 3 KLs.")
    part = ~np.isnan(gain).all(axis=1)
    if np.any(kl <= 0) or not part.any() or not np.all(np.isfinite(gain[part])):
        raise EstimateError("A fit needs positive KLs and finite gains; leave out points that are not reliable.")
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


FIT_POINTS = 8  # along best-of-n: the exact KL of tied scores is expensive
FEWEST_POINTS = 4
MOST_MISFIT = 0.05  # of the largest gain: with a larger misfit the form does not describe the path


@dataclass(frozen=True, repr=False)
class OverOptimisationTable(Columns):
    """One row for each path of optimisation ("tilt", "best-of-n"), equal 1-D arrays.

    Attributes:
        path, unit: the path, and the unit of its axis: nats, or draws.
        peak, finding, gain, drop, change, end, prompts, found, reason: as `at` and the others of `Onset`.
        form, alpha, beta, residual: Gao's fit (2210.10760) to the gold gain over KLs from fit_from to fit_to (nats).
        peak_kl: KL of the fit's peak; NaN unless beta is significantly positive and the peak is within the path.
        fit_reliable, fit_reason: whether the fit describes the path.
    """

    shown = ("peak", "gain")
    verdict = "found"

    path: Words
    unit: Words
    peak: Array
    peak_low: Array
    peak_high: Array
    finding: Words
    gain: Array
    gain_low: Array
    gain_high: Array
    drop: Array
    drop_low: Array
    drop_high: Array
    change: Array
    change_low: Array
    change_high: Array
    end: Array
    prompts: Counts
    found: Flags
    reason: Words
    form: Words
    alpha: Array
    alpha_low: Array
    alpha_high: Array
    beta: Array
    beta_low: Array
    beta_high: Array
    residual: Array
    fit_from: Array
    fit_to: Array
    peak_kl: Array
    fit_reliable: Flags
    fit_reason: Words


def over_optimisation(
    optimized: ArrayLike,
    gold: ArrayLike,
    *,
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    keys: np.ndarray | None = None,
    clusters: ArrayLike | None = None,
) -> OverOptimisationTable:
    """The peak of gold, and Gao's fit, when `optimized` is optimised more and more strongly in place of gold.

    Args:
        optimized, gold: scores (prompts, samples); NaN marks a missing sample.
        replicates, seed, level, keys, clusters: as for `frontier`.

    Returns:
        Two rows: along the tilt, and along best-of-n.

    Raises:
        EstimateError: scores that cannot be used.

    Example:
        >>> proxy = np.random.default_rng(0).normal(size=(300, 256))
        >>> table = over_optimisation(proxy, proxy - (proxy**2 - 1) / 2, replicates=200)
        >>> [(row["path"], row["finding"]) for row in table]
        [('tilt', 'over-optimisation'), ('best-of-n', 'over-optimisation')]

    References:
        Gao et al. (2022), arXiv 2210.10760; docs/theory.md, "Over-optimisation".
    """
    proxy = check_scores(optimized, "optimized")
    truth = check_evaluated(proxy, {"gold": gold})["gold"]
    boot = PromptBootstrap(len(proxy), replicates=replicates, seed=seed, level=level, keys=keys, clusters=clusters)
    tilt = tilt_path(proxy, truth, boot, seed=seed, keys=keys)
    n, gains = draws_path(proxy, truth)
    few = fit_places(n)
    draws = reliable_draws(proxy, truth, n, gains, boot)
    kl, _ = corrected_kl(proxy, n[few].astype(np.int64), seed=seed, keys=keys)
    spent = mean_of(np.where(np.isfinite(gains[:, few]), kl, np.nan))
    ways: list[tuple[str, Path, str, Array, Array]] = [
        ("tilt", tilt, "policy", tilt.at, tilt.gold),
        ("best-of-n", draws, "best-of-n", spent, gains[:, few]),
    ]
    # The fit extends beyond the path, so its own points must be reliable.
    why = {"tilt": "", "best-of-n": unknown_gains(proxy, truth, n[few], gains[:, few], boot)}
    rows: list[dict[str, object]] = []
    for name, path, form, spent, gains in ways:
        onset = asdict(peak_of(path, boot))
        place = {"peak": onset.pop("at"), "peak_low": onset.pop("low"), "peak_high": onset.pop("high")}
        fit = fitted(spent, gains, form, boot, path.biased or why[name])
        rows.append({"path": name, "unit": path.unit, **place, **onset, **fit})
    names = [field.name for field in fields(OverOptimisationTable)]
    each = {name: [row[name] for row in rows] for name in names}
    words = {name: object for name, values in each.items() if isinstance(values[0], str)}
    return OverOptimisationTable(**{name: np.array(values, words.get(name)) for name, values in each.items()})


def unknown_gains(proxy: Array, gold: Array, n: Array, gains: Array, boot: PromptBootstrap) -> str:
    """Why gold's gains (P, K) at n (K,) cannot be fitted, "" if they can."""
    own = np.array_equal(proxy, gold, equal_nan=True)
    mean = Mean("gain", gains, np.zeros(gains.shape), np.full(len(n), np.inf))
    reasons = judge_means(mean, gold, n, np.ones(len(n), dtype=bool), boot, own=own)
    return next((str(reason) for reason in reasons if reason), "")


def fit_places(n: Array) -> np.ndarray:
    """About `FIT_POINTS` indices of n, even in log n, from 2 to half of the samples (more would add mostly noise)."""
    wanted = np.geomspace(2, max(n[-1] / 2, 2), FIT_POINTS)
    return np.unique(np.argmin(np.abs(np.log(n)[:, None] - np.log(wanted)), axis=0))


def fitted(kl: Array, gains: Array, form: str, boot: PromptBootstrap, biased: str) -> dict[str, object]:
    """Gao's fit as columns, or NaN with the reason; not reliable if the gains are `biased` (the reason)."""
    columns = [name for name in GaoFit.__dataclass_fields__ if name != "form"]
    usable = kl > 0
    kl, gains = kl[usable], gains[:, usable]
    if len(kl) < FEWEST_POINTS:
        reason = f"only {len(kl)} reliable points to fit (needs {FEWEST_POINTS})"
        ends = {"fit_from": np.nan, "fit_to": np.nan, "peak_kl": np.nan}
        return {"form": form, **dict.fromkeys(columns, np.nan), **ends, "fit_reliable": False, "fit_reason": reason}
    fit = gao_fit(kl, gains, form=form, boot=boot)
    share = fit.residual / max(float(np.abs(mean_of(gains)).max()), 1e-300)
    prompts = int(np.isfinite(gains[:, 0]).sum())
    reason = too_few(prompts) if prompts < FEWEST_PROMPTS else biased
    if share > MOST_MISFIT:
        reason = reason or f"the fit deviates from the path by {share:.0%} of its largest gain"
    inside = fit.beta_low > 0 and kl[0] <= fit.peak_kl <= kl[-1]
    return {
        **asdict(fit),
        "fit_from": float(kl[0]),
        "fit_to": float(kl[-1]),
        "peak_kl": fit.peak_kl if inside else np.nan,
        "fit_reliable": reason == "",
        "fit_reason": reason,
    }
