"""The limit of a reward within a budget of another divergence than KL, from the same base samples.

As for KL, the limit of all samples, of disjoint halves and of quarters of each prompt's samples are computed, and
extrapolated to infinitely many (`correction.py`). A plug-in limit is too low on average for every divergence, because
it is a minimum over β and ν of a mean over samples; so `at_least` holds as for KL.

Under the average budget all prompts have one β, and the divergence is that of the joint laws of prompt and reply: of
Rényi's, log(E_x E p^α) / (α − 1). Under the per-prompt budget each prompt has its own β. Rényi's of order infinity is
offered per prompt only.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from alignment_limits.ensembles.scores import Array, Columns, Flags, Words, centre, check_scores, sample_counts
from alignment_limits.errors import EstimateError
from alignment_limits.limits.bootstrap import PromptBootstrap, limit_interval
from alignment_limits.limits.brackets import SLACK, Bounds, check_bounds, lower_ends
from alignment_limits.limits.correction import extrapolate, remaining
from alignment_limits.limits.curve import CorrectedCurve
from alignment_limits.limits.means import interval_of_unlike, mean_of
from alignment_limits.limits.ranks import best_of_n_means
from alignment_limits.limits.reliability import AVERAGE, PER_PROMPT, judge, tie_rate
from alignment_limits.tradeoffs.divergences import Divergence
from alignment_limits.tradeoffs.level_limits import level_limits

SEEN = 0.95  # share of prompts whose samples must have the highest possible score, if it decides the limit
UNSEEN = "the limit depends on the best possible reply, which samples do not show (give the bounds of the scores)"
UNSHOWN = "beyond the largest divergence these samples can show"
ONLY_PER_PROMPT = "renyi-inf is offered under the per-prompt budget only"
UNTIED = 0.05  # largest share of tied scores at which best-of-n spends what it does without ties


@dataclass(frozen=True, repr=False)
class DivergenceTable(Columns):
    """Limits within budgets of one divergence, as equal 1-D arrays.

    Attributes:
        divergence: its name; see `Divergence.of`.
        budget: "average" (of the joint laws) or "per-prompt".
        spent: the budget in units of the divergence; nats, except "chi2" and "total-variation".
        n: best-of-n without ties spends this budget; NaN of other budgets.
        gain: the largest E_π r − E_{π₀} r, in units of the reward, corrected for finite samples.
        gain_plugin: the same without correction.
        at_least: a lower confidence bound of it that holds for any tail; NaN with fewer than 16 prompts (clusters).
        best_of_n: gain of best-of-n; NaN without n, and where more than 5 % of the scores tie.
        ess: effective sample size of the best law's weights, median over prompts.
        reliable, reason: the verdict on the gain, and why it is not reliable ("" if it is).

    Intervals are `*_low` and `*_high`.
    """

    shown = ("spent", "gain")

    divergence: Words
    budget: Words
    spent: Array
    n: Array
    gain: Array
    gain_low: Array
    gain_high: Array
    gain_plugin: Array
    at_least: Array
    best_of_n: Array
    best_of_n_low: Array
    best_of_n_high: Array
    ess: Array
    reliable: Flags
    reason: Words


def divergence_limit(
    optimized: ArrayLike,
    divergence: str,
    *,
    ns: ArrayLike = (),
    spent: ArrayLike = (),
    budget: str = "average",
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    keys: np.ndarray | None = None,
    clusters: ArrayLike | None = None,
    bounds: Bounds | None = None,
) -> DivergenceTable:
    """The largest gain within budgets of a divergence, and best-of-n at what it spends.

    Args:
        optimized: scores (prompts, samples) of base samples; NaN marks a missing sample.
        divergence: "chi2", "reverse-kl", "total-variation", or "renyi-A" with an order A above 0 (`Divergence.of`).
        ns: draws; budgets are then what best-of-n spends without ties.
        spent: further budgets, in units of the divergence.
        budget, replicates, seed, level, keys, clusters: as for `frontier`.
        bounds: the lowest and the highest score, each one number or one per prompt. Reverse KL, total variation and
            Rényi's of an order below 1 allow a small probability of any reply. So their limit depends on the best
            possible reply, and is reliable only if nearly all prompts have a sample with the highest score.

    Returns:
        One row for each budget, increasing.

    Raises:
        EstimateError: scores that cannot be used, an unknown divergence, or an impossible budget.

    Example:
        >>> scores = np.random.default_rng(0).normal(size=(200, 64))
        >>> divergence_limit(scores, "chi2", spent=[0.25]).gain.round(2)  # √chi2, as no probability reaches 0
        array([0.49])

    References:
        docs/theory.md, "Other divergences"; arXiv 2503.21878 on chi-squared.
    """
    scores = check_scores(optimized, "optimized")
    kind = Divergence.of(divergence)
    if budget == "average" and np.isinf(kind.order):
        raise EstimateError(f"{ONLY_PER_PROMPT}; use budget='per-prompt'.")
    n, given = (np.atleast_1d(np.asarray(each, dtype=np.float64)) for each in (ns, spent))
    if np.any(n <= 1) or n.ndim != 1 or np.any(n != np.floor(n)):
        raise EstimateError(f"n must be whole numbers above 1; got {ns!r}.")
    amounts, draws = np.concatenate([kind.of_best_of_n(n), given]), np.concatenate([n, np.full(len(given), np.nan)])
    if not len(amounts):
        raise EstimateError("Nothing to estimate: give ns or spent.")
    kind.check(amounts)
    order = np.argsort(amounts, kind="stable")
    amounts, draws = amounts[order], draws[order]
    boot = PromptBootstrap(len(scores), replicates=replicates, seed=seed, level=level, keys=keys, clusters=clusters)
    curve = CorrectedCurve(scores, budget=budget, seed=seed, keys=keys)
    found = level_limits(curve, kind, amounts)
    values, correction = extrapolate(found.levels)
    contributions = curve.every(values) * curve.units[0]
    plugin = curve.every(found.levels[0]) * curve.units[0]
    share = curve.padded(curve.spread**2 if budget == "average" else curve.spread, 0.0)
    verdict = judge(
        scores, np.zeros(len(amounts)), curve.padded(found.ess, np.nan), correction.ratio, correction.ratio_error,
        share=share, carriers=AVERAGE if budget == "average" else PER_PROMPT, reached=found.reached,
        clusters=boot.clusters, widened=True,
    )  # fmt: skip
    means = found.levels.mean(axis=1) * curve.units[0]
    left = remaining(means[..., None], correction.factor, verdict.ess)[:, 0]
    if np.isnan(kind.order):  # no series: the correction is not used, and the last step is a bound
        contributions, left = plugin, np.abs(means[0] - means[1])
    low, high = limit_interval(boot, contributions, left)
    reason = np.where(found.reached == 0, UNSHOWN, verdict.reason).astype(object) if curve.sd else verdict.reason.copy()
    if not kind.finite and _seen(scores, bounds) < SEEN:
        reason[reason == ""] = UNSEEN
    return DivergenceTable(
        divergence=np.full(len(amounts), divergence, dtype=object), budget=np.full(len(amounts), budget, dtype=object),
        spent=amounts, n=draws, gain=contributions.mean(axis=0), gain_low=low, gain_high=high,
        gain_plugin=plugin.mean(axis=0), at_least=lower_ends(boot, plugin.mean(axis=0), boot.interval(plugin)[0]),
        ess=verdict.ess, reliable=reason == "", reason=reason, **_best_of_n(scores, draws, boot),
    )  # fmt: skip


def _seen(scores: Array, bounds: Bounds | None) -> float:
    """Share of prompts with a sample of the highest score there is; 0 if this score is not known."""
    if bounds is None:
        return 0.0
    low, high = check_bounds(scores, bounds)
    return float(np.mean(np.nanmax(scores, axis=1) >= high - SLACK * (high - low)))


def _best_of_n(scores: Array, draws: Array, boot: PromptBootstrap) -> dict[str, Array]:
    counts, tied = sample_counts(scores), tie_rate(scores).mean() > UNTIED
    out = {name: np.full(len(draws), np.nan) for name in ("best_of_n", "best_of_n_low", "best_of_n_high")}
    usable = np.flatnonzero(draws <= counts.min())
    if len(usable) and not tied:
        gains = best_of_n_means(scores, centre(scores), draws[usable].astype(np.int64))
        ends = interval_of_unlike(boot, gains, counts)
        for name, values in zip(out, (mean_of(gains), *ends), strict=True):
            out[name][usable] = values
    return out
