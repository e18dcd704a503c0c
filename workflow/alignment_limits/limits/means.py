"""Means and limits over the prompts of a row, resampled together with all others; verdicts on each quantity."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from alignment_limits.ensembles.scores import Array, centre, enough_samples, unit_of
from alignment_limits.limits.bootstrap import PromptBootstrap, limit_interval, no_shorter_than_students, widened
from alignment_limits.limits.correction import MOST_LEFT, remaining
from alignment_limits.limits.curve import CorrectedCurve, CurvePoints, judge_points
from alignment_limits.limits.ranks import tied
from alignment_limits.limits.reliability import AVERAGE_SHARE, FEWEST_PROMPTS, too_few

UNLIKE = 2  # times as many samples for one prompt as for another


def mean_of(values: Array) -> Array:
    """Mean over the prompts that have a value, (P, K) -> (K,); NaN if none has."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    return np.asarray(np.where(count > 0, np.where(known, values, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan))


def interval(
    boot: PromptBootstrap, above: Array, below: Array | None = None, support: tuple[Array, Array] | None = None
) -> tuple[Array, Array]:
    """Interval of the mean of `above` over the prompts that have a value, or of mean(above) / mean(below).

    All prompts are resampled, so the number with a value varies: the mean is a ratio of two means.

    Args:
        boot: replicates.
        above, below: contributions (P, K).
        support: least and largest possible value (K,) of a prompt, if known.

    Returns:
        Low and high (K,); NaN where fewer than two prompts have a value.
    """
    known = np.isfinite(above) if below is None else np.isfinite(above) & np.isfinite(below)
    if known.all():
        return boot.interval(above, support) if below is None else boot.ratio(above, below, support)
    filled = np.where(known, 1.0 if below is None else below, 0.0)
    low, high = boot.ratio(np.where(known, above, 0.0), filled, support)
    few = known.sum(axis=0) < 2
    return np.where(few, np.nan, low), np.where(few, np.nan, high)


def interval_of_unlike(boot: PromptBootstrap, values: Array, counts: np.ndarray) -> tuple[Array, Array]:
    """As `interval` of a mean. If prompts differ in their number of samples, no side is shorter than Student's.

    Prompts with few samples then carry most of the spread, and replicates mistake an uneven draw of their errors for
    skewness. Example: the gain of best-of-2 with 2 to 200 samples on 64 prompts covers in 97 %, in 92 % without this.

    Args:
        values: (P, K), NaN for a prompt without a value.
        counts: (P,) samples of each prompt.
    """
    low, high = interval(boot, values)
    if counts.max() < UNLIKE * counts.min():
        return low, high
    return no_shorter_than_students(boot, values, low, high)


def interval_of_limit(boot: PromptBootstrap, values: Array, left: Array) -> tuple[Array, Array]:
    """As `limit_interval`; if a prompt has no value, `interval` with the remaining bias (K,) alone."""
    if np.isfinite(values).all():
        return limit_interval(boot, values, left)
    return widened(mean_of(values), *interval(boot, values), left)


@dataclass(frozen=True)
class Part:
    """Points of the curve for the settings with the same prompts.

    Attributes:
        prompts: these prompts, (P,) bool.
        columns: the numbers of the settings.
        points: of the curve of these prompts.
    """

    prompts: np.ndarray
    columns: np.ndarray
    points: CurvePoints


def read_curves(
    scores: Array,
    carried: Sequence[Array],
    kl: Array,
    *,
    budget: str,
    seed: int,
    keys: np.ndarray | None,
    made: dict[tuple[str, str], CorrectedCurve] | None = None,
    name: str = "",
) -> list[Part]:
    """The curve of `scores` at the KL (P, N) of each setting, NaN where a prompt is not in its row.

    The curve of all prompts is kept in `made` under `name` and budget, or is taken from there.
    """
    names = np.arange(len(scores)) if keys is None else np.asarray(keys)
    parts = []
    for prompts, columns in _alike(np.isfinite(kl)):
        # A correction of KL 0, as of a prompt whose samples all tie, may be slightly below 0.
        spent = np.maximum(kl[np.ix_(prompts, columns)], 0.0)
        every = made is not None and bool(prompts.all())
        curve = made.get((name, budget)) if made is not None and every else None
        if curve is None:
            curve = CorrectedCurve(
                scores[prompts], [c[prompts] for c in carried], budget=budget, seed=seed, keys=names[prompts]
            )
        if made is not None and every:
            made[name, budget] = curve
        parts.append(Part(prompts, columns, curve.at(spent if budget == "per-prompt" else spent.mean(axis=0))))
    return parts


def _alike(rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Groups of equal columns of rows (P, N) bool, with their numbers; columns without prompts are left out."""
    packed = np.packbits(rows, axis=0).T
    groups: dict[bytes, list[int]] = {}
    for column, bits in enumerate(packed):
        if rows[:, column].any():
            groups.setdefault(bits.tobytes(), []).append(column)
    for columns in groups.values():
        yield rows[:, columns[0]], np.array(columns)


def paired_limit(points: CurvePoints, kl: Array, budget: str, *, plugin: bool = False) -> Array:
    """Per-prompt contributions (P, N) to the limit at the method's KL. Resampled, they also follow changes of this KL.

    Under the average budget a replicate's KL differs from the KL of the curve; the slope corrects for this. `plugin`:
    to the plug-in limit, which is too low on average.
    """
    values = points.plugin if plugin else points.values[..., 0]
    if budget == "per-prompt":
        return values
    return values + points.slope[:, 0] * (kl - kl.mean(axis=0))


def limits_of(parts: Sequence[Part], kl: Array, budget: str, *, plugin: bool = False) -> Array:
    """The same for settings with different prompts, NaN where a prompt is not in a row."""
    out = np.full(kl.shape, np.nan)
    for part in parts:
        place = np.ix_(part.prompts, part.columns)
        out[place] = paired_limit(part.points, kl[place], budget, plugin=plugin)
    return out


def plugin_limit(boot: PromptBootstrap, parts: Sequence[Part], kl: Array, budget: str) -> tuple[Array, Array]:
    """The plug-in limit at each setting, and the lower end of its interval, (N,)."""
    values = limits_of(parts, kl, budget, plugin=True)
    return mean_of(values), interval(boot, values)[0]


def carried_gain(parts: Sequence[Part], index: int, shape: tuple[int, int]) -> Array:
    """Mean gain (N,) of reward `index` (0 is the optimized one) at each setting."""
    out = np.full(shape[1], np.nan)
    for part in parts:
        out[part.columns] = part.points.values[..., index].mean(axis=0)
    return out


def judge_limits(parts: Sequence[Part], scores: Array, settings: int, clusters: int | None) -> tuple[np.ndarray, Array]:
    """Why the limit of each setting is not reliable, "" if it is, and a bound of its remaining bias.

    Args:
        parts: of `read_curves`.
        scores: (P, M).
        settings: their number N.
        clusters: number of clusters that the bootstrap draws.

    Returns:
        Reasons (N,) and bounds (N,).
    """
    out, left = np.full(settings, "no prompt has enough samples", dtype=object), np.zeros(settings)
    for part in parts:
        points = part.points
        verdict = judge_points(scores[part.prompts], points, clusters=clusters, widened=True)
        out[part.columns] = verdict.reason
        left[part.columns] = remaining(points.levels, points.correction.factor, verdict.ess)[:, 0]
    return out, left


def judge_shares(parts: Sequence[Part], scores: Array, settings: int, clusters: int | None) -> np.ndarray:
    """Why too few prompts carry a share of the average limit at each setting (settings,), "" if enough do."""
    out = np.full(settings, "", dtype=object)
    for part in parts:
        enough = enough_samples(scores[part.prompts])
        units = enough.sum() if clusters is None else clusters * enough.mean()
        out[part.columns] = AVERAGE_SHARE.missing(part.points.share[enough], float(units))
    return out


FEW = 0.05  # share of prompts that may have fewer samples than needed
FEWEST_BEHIND = 3.0  # prompts that carry the spread of a mean; with fewer no interval covers
FEWEST_PICKS = 10.0  # independent picks, given the evaluated reward's kurtosis; a hit rate of 2 % needs 500
SAMPLES_PER_DRAW = 16  # shares of the limit need M >= 16 n: with fewer the two have too many samples in common
SAMPLES_PER_RATIO = 4  # needed for corrections by halves and quarters of the samples
# So precise a KL needs no check of its interval: a lone tie among thousands of replies changes its fifth digit.
KNOWN = 0.002  # as a share of the KL
SLIGHT = 0.1  # effect on the limit, as a share of its interval
NO_SHARE = "no limit to compare with"


def together(*reasons: np.ndarray) -> np.ndarray:
    """The first reason that applies to each setting, "" if none does."""
    out = reasons[0].copy()
    for other in reasons[1:]:
        out = np.where(out == "", other, out)
    return out.astype(object)


def columns_of(verdicts: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Columns <name>_reliable and <name>_reason of each quantity, and reliable and reason of the last."""
    out: dict[str, np.ndarray] = {}
    for name, reason in verdicts.items():
        out |= {f"{name}_reliable": reason == "", f"{name}_reason": reason}
    last = list(verdicts.values())[-1]
    return out | {"reliable": last == "", "reason": last}


def enough_prompts(values: Array, boot: PromptBootstrap) -> np.ndarray:
    """Why too few prompts have a contribution (P, N) for a mean, "" if enough do."""
    known = np.isfinite(values)
    units = (boot.sums(known.astype(np.float64)) > 0).sum(axis=0)
    what = "prompt{}" if boot.clusters is None else "cluster{} of prompts"
    out = np.full(len(units), "", dtype=object)
    for j, count in enumerate(units):
        if count == 0:
            out[j] = "no prompt has enough samples"
        elif count < FEWEST_PROMPTS:
            out[j] = too_few(count, what)
    return out


def behind(values: Array, boot: PromptBootstrap) -> Array:
    """How many prompts (or clusters) carry the spread of a mean, (P, N) -> (N,): their number over the kurtosis.

    Infinite without spread, when the mean is exact.
    """
    known = np.isfinite(values)
    away = boot.sums(np.where(known, values - mean_of(values), 0.0))
    scale = np.abs(away).max(axis=0)
    unit = away / np.where(scale > 0, scale, 1.0)
    second, fourth = (unit**2).sum(axis=0), (unit**4).sum(axis=0)
    exact = scale <= 1e-9 * np.abs(np.where(known, values, 0.0)).max(axis=0)
    return np.asarray(np.where(exact, np.inf, second**2 / np.where(fourth > 0, fourth, 1.0)))


def effective_samples(samples: np.ndarray, ratio: Array) -> Array:
    """Effective size of M samples with the weights of best-of-n, M (2 n - 1) / n^2, at least 1."""
    return np.asarray(np.maximum(samples * np.maximum(2 * ratio - 1, 1.0) / ratio**2, 1.0))


def picks_behind(scored: Array, rows: np.ndarray, ratio: Array) -> Array:
    """Independent picks behind the mean of a reward that does not select: their number over its kurtosis, (N,).

    If the selecting reward is independent of this one, a pick is a random sample. A hit of 2 % of the samples then
    occurs in one of 50 picks, and 50 is the kurtosis of its indicator.
    """
    away = np.nan_to_num(centre(scored)) / unit_of(scored)
    second = np.sum(away**2)
    if second == 0:
        return np.full(len(ratio), np.inf)
    present = ~np.isnan(scored)
    kurtosis = present.sum() * np.sum(away**4) / second**2
    counts = present.sum(axis=1)
    effective = np.where(rows, effective_samples(counts[:, None], ratio), 0.0)
    return np.asarray(effective.sum(axis=0) / kurtosis)


def samples_of(scored: Array, rows: np.ndarray) -> np.ndarray:
    """Samples that all but 5 % of the prompts of each row have, (N,); 0 in a row without prompts."""
    counts = np.sum(~np.isnan(scored), axis=1)
    whole = np.quantile(counts, FEW, method="lower")
    return np.array(
        [(whole if row.all() else np.quantile(counts[row], FEW, method="lower")) if row.any() else 0 for row in rows.T]
    )


@dataclass(frozen=True)
class Mean:
    """A mean over picks.

    Attributes:
        name: its name in reasons.
        values: contributions (P, N).
        left: (P, N), remaining bias after their correction.
        width: of its interval (N,).
    """

    name: str
    values: Array
    left: Array
    width: Array


def judge_means(
    mean: Mean, scored: Array, ratio: Array, unbiased: np.ndarray, boot: PromptBootstrap, *, own: bool
) -> np.ndarray:
    """Why a mean over picks (a gain, a win rate) is not reliable, "" if it is, (N,).

    Args:
        mean: the gain, or the win rate.
        scored: (P, M) the values averaged over picks.
        ratio: (N,) largest density ratio to the base.
        unbiased: (N,) whether the mean is unbiased; if not, it is corrected by halves, which needs more samples.
        boot: replicates of the prompts, or of their clusters.
        own: whether `scored` is the selecting reward.
    """
    rows, left = np.isfinite(mean.values), np.abs(mean_of(mean.left))
    carry, picks, samples = behind(mean.values, boot), picks_behind(scored, rows, ratio), samples_of(scored, rows)
    out = []
    for j, reason in enumerate(enough_prompts(mean.values, boot)):
        if reason == "" and not unbiased[j] and samples[j] < SAMPLES_PER_RATIO * ratio[j]:
            reason = (
                f"{samples[j]} samples per prompt for a density ratio of {ratio[j]:.1f} "
                f"(needs {SAMPLES_PER_RATIO} times that)"
            )
        elif reason == "" and not own and picks[j] < FEWEST_PICKS:
            reason = (
                f"only {picks[j]:.1f} independent picks are behind the {mean.name}, given the reward's kurtosis "
                f"(needs {FEWEST_PICKS:g})"
            )
        elif reason == "" and carry[j] < FEWEST_BEHIND:
            reason = f"only {carry[j]:.1f} prompts carry the spread of the {mean.name} (needs {FEWEST_BEHIND:g})"
        elif reason == "" and left[j] > MOST_LEFT * mean.width[j]:
            reason = f"the correction of the {mean.name} is too uncertain for so narrow an interval"
        out.append(reason)
    return np.array(out, dtype=object)


def judge_draws(name: str, values: Array, boot: PromptBootstrap) -> np.ndarray:
    """Why a mean (P, N) over draws, which needs no correction, is not reliable, "" if it is, (N,)."""
    few = [
        f"only {carry:.1f} prompts carry the spread of the {name} (needs {FEWEST_BEHIND:g})"
        if carry < FEWEST_BEHIND
        else ""
        for carry in behind(values, boot)
    ]
    infinite = np.where(np.isinf(values).any(axis=0), f"infinite {name}", "")
    return together(infinite, enough_prompts(values, boot), np.array(few, dtype=object))


def judge_kl(
    mean: Mean, scores: Array, ratio: Array, unbiased: np.ndarray, boot: PromptBootstrap
) -> tuple[np.ndarray, np.ndarray]:
    """Why a KL (P, N) is not reliable, "" if it is. Without ties the KL of best-of-n is exact.

    Arguments as for `judge_means`. Returns two reasons, (N,) each: those that rule the KL out, and doubts about its
    interval or its correction, which do not matter if both are small.
    """
    rows = np.isfinite(mean.values)
    any_tied: np.ndarray = np.any(tied(scores), axis=1)
    samples, last, carry = samples_of(scores, rows), np.abs(mean_of(mean.left)), behind(mean.values, boot)
    # A constant prompt has a KL of exactly 0, so a few constant prompts cause no doubt.
    partly = np.any((mean.values > 0) & any_tied[:, None], axis=0)
    out, doubts = enough_prompts(mean.values, boot), np.full(len(ratio), "", dtype=object)
    for j in np.flatnonzero(out == ""):
        if unbiased[j] and not np.any(any_tied[rows[:, j]]):
            continue
        if samples[j] < SAMPLES_PER_RATIO * ratio[j]:
            what = f"n = {ratio[j]:g} and tied scores" if unbiased[j] else f"a density ratio of {ratio[j]:.1f}"
            out[j] = f"{samples[j]} samples per prompt for {what} (needs {SAMPLES_PER_RATIO} times that)"
        elif last[j] > MOST_LEFT * mean.width[j]:
            doubts[j] = "the correction of the KL is too uncertain for so narrow an interval"
        elif carry[j] < FEWEST_BEHIND and partly[j]:
            doubts[j] = f"only {carry[j]:.1f} prompts with ties carry the spread of the KL (needs {FEWEST_BEHIND:g})"
    return out, doubts


def too_few_for_limit(scores: Array, rows: np.ndarray, n: Array, ratio: Array) -> np.ndarray:
    """Why a share of the limit is not reliable: fewer than 16 samples per draw, (N,)."""
    samples = samples_of(scores, rows)
    out = []
    for j, each in enumerate(n):
        draws = ratio[j] if np.isnan(each) else each
        what = (
            f"a density ratio of {draws:.1f} (needs 16 times that)" if np.isnan(each) else f"n = {draws:g} (needs 16 n)"
        )
        out.append(f"{samples[j]} samples per prompt for {what}" if samples[j] < SAMPLES_PER_DRAW * draws else "")
    return np.array(out, dtype=object)
