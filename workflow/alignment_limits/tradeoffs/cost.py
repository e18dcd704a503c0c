"""Reward for draws and tokens: best-of-n, the best n for each prompt, and a stopping rule, at the same mean cost.

Best-of-n draws as often for a prompt where nothing is to be gained as for any other. A number of draws for each prompt,
and a stopping rule (`rules`), spend the same mean cost better. Each is learned from one half of a prompt's samples and
judged on the other half, in both directions and for several random halves. So the estimate is what a rule gains that is
learned from so many samples; the best possible rule gains no less. Learning it costs samples of the same prompts, which
are not counted as draws.

A rule has one price for all prompts; `Path` has its gain and its cost at many prices. At a mean cost between two prices
it takes each of them with some probability.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike

from alignment_limits.ensembles.scores import (
    Array,
    Columns,
    Counts,
    Flags,
    Words,
    as_given,
    centre,
    check_evaluated,
    check_keys,
    check_scores,
    sample_counts,
    within_prompt_sd,
)
from alignment_limits.errors import EstimateError
from alignment_limits.limits.best_of_n import check_ns
from alignment_limits.limits.bootstrap import PromptBootstrap, no_lower_than_of_a_variance
from alignment_limits.limits.curve import split_count
from alignment_limits.limits.means import (
    Mean,
    interval,
    interval_of_limit,
    interval_of_unlike,
    judge_means,
    mean_of,
    together,
)
from alignment_limits.limits.ranks import best_of_n_means
from alignment_limits.limits.tails import heavy_tail
from alignment_limits.tradeoffs.rules import Judge, Part, Spent, draws_at, parts, reservation_values

BEST_OF_N, PER_PROMPT, STOPPING = "best-of-n", "n-per-prompt", "stopping"
RULES = (PER_PROMPT, STOPPING)
PRICES: Array = np.array([np.inf, *np.geomspace(2.0, 1e-4, 56), 0.0])  # of a draw of mean length, in within-prompt sds
FEW = 0.05  # share of prompts that may have too few samples, and are then left out
MOST_LEFT_OUT = 0.25


@dataclass(frozen=True, repr=False)
class CostTable(Columns):
    """One row for each rule and n. Rows with the same n have the same mean cost: that of best-of-n.

    Attributes:
        method: "best-of-n"; "n-per-prompt": the best number of draws for each prompt; "stopping": draw until the
            reward reaches the prompt's reservation value.
        n: draws of best-of-n at this cost.
        most: largest number of draws of a prompt.
        prompts: number of prompts with enough samples; all columns are means over them.
        draws, tokens: expected draws for a reply, and their length together; tokens are NaN without lengths.
        gain: in units of the evaluated reward.
        extra: gain minus the gain of best-of-n on the same prompts at the same mean cost; 0 for best-of-n.
        same_as: the n with which best-of-n gains as much, between whole numbers too; NaN if no n does.
        reliable, reason: the verdict on the row, and why not ("" if reliable).

    Intervals are `*_low` and `*_high`.
    """

    shown = ("n", "draws", "gain")

    method: Words
    n: Counts
    most: Counts
    prompts: Counts
    draws: Array
    draws_low: Array
    draws_high: Array
    tokens: Array
    tokens_low: Array
    tokens_high: Array
    gain: Array
    gain_low: Array
    gain_high: Array
    extra: Array
    extra_low: Array
    extra_high: Array
    same_as: Array
    same_as_low: Array
    same_as_high: Array
    reliable: Flags
    reason: Words


@overload
def reward_for_cost(
    optimized: ArrayLike, evaluated: Mapping[str, ArrayLike], *, ns: ArrayLike, **settings: Any
) -> dict[str, CostTable]: ...
@overload
def reward_for_cost(
    optimized: ArrayLike, evaluated: ArrayLike | None = None, *, ns: ArrayLike, **settings: Any
) -> CostTable: ...
def reward_for_cost(  # type: ignore[misc]  # the settings are the same for both
    optimized: ArrayLike,
    evaluated: Mapping[str, ArrayLike] | ArrayLike | None = None,
    *,
    ns: ArrayLike,
    lengths: ArrayLike | None = None,
    most: int | None = None,
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    keys: np.ndarray | None = None,
    clusters: ArrayLike | None = None,
) -> dict[str, CostTable] | CostTable:
    """What best-of-n, the best n for each prompt and a stopping rule gain at the same mean cost.

    Args:
        optimized: scores (prompts, samples) that select; NaN marks a missing sample.
        evaluated: scores of the same samples, or such scores by name; default: the selecting reward.
        ns: draws of best-of-n, which set the mean costs that are compared; larger ones than `most` are left out.
        lengths: tokens of the same samples (prompts, samples). The cost is then the mean number of tokens drawn for a
            reply, otherwise the mean number of draws.
        most: largest number of draws for a prompt; default: half of the samples that 95 % of the prompts have. Prompts
            with fewer than twice as many samples are left out.
        replicates, seed, level, keys, clusters: as for `frontier`; gains and costs are resampled together.

    Returns:
        One table, three rows for each n; or one for each name where `evaluated` is a mapping.

    Raises:
        EstimateError: scores or lengths that cannot be used, no n up to `most`, or fewer than 4 samples.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> scores = rng.lognormal(sigma=0.6, size=(400, 1)) * rng.normal(size=(400, 64))  # prompts differ in spread
        >>> table = reward_for_cost(scores, ns=[4])
        >>> dict(zip(table.method, table.gain.round(2).tolist()))
        {'best-of-n': 1.2, 'n-per-prompt': 1.29, 'stopping': 1.52}

    References:
        Weitzman (1979), "Optimal search for the best alternative"; docs/tradeoffs.md, "What a reward costs".
    """
    scores = check_scores(optimized, "optimized")
    others = check_evaluated(scores, scores if evaluated is None else evaluated)
    tokens = _check_lengths(scores, lengths)
    n, names = np.unique(check_ns(ns, scores)), check_keys(keys, len(scores))
    counts = sample_counts(scores)
    most = most_draws(scores) if most is None else most
    if most < 2 or not np.any(counts >= 2 * most):
        raise EstimateError(
            f"Rules of at most {most} draws need at least 2, and prompts with twice as many samples; prompts have "
            f"up to {counts.max()} samples. Draw more samples for each prompt, or give a smaller `most`."
        )
    n = n[n <= most]
    if not n.size:
        raise EstimateError(f"No n up to {most}, half of the samples of a prompt; give a smaller n, or more samples.")
    boot = PromptBootstrap(len(scores), replicates=replicates, seed=seed, level=level, keys=names, clusters=clusters)
    enough = counts >= 2 * most
    out = {}
    for name, scored in others.items():
        whole = Part(scores[enough], scored[enough], tokens[enough])
        found = learned(whole, most, keys=names[enough], seed=seed, by_tokens=lengths is not None)
        out[name] = _table(whole, scored, found, n, most, enough, boot, lengths is not None)
    return as_given(evaluated, out)


def most_draws(scores: Array) -> int:
    """Half of the samples that 95 % of the prompts have, from scores (P, M).

    Example:
        >>> most_draws(np.zeros((3, 9)))
        4
    """
    return int(np.quantile(sample_counts(scores), FEW, method="lower")) // 2


def _check_lengths(scores: Array, lengths: ArrayLike | None) -> Array:
    if lengths is None:
        return np.where(np.isnan(scores), np.nan, 1.0)
    tokens = check_evaluated(scores, {"lengths": lengths})["lengths"]
    if not (tokens[~np.isnan(tokens)] >= 0).all() or not np.nansum(tokens) > 0:
        raise EstimateError("Lengths must be numbers of tokens: none below 0, and not all of them 0.")
    return tokens


@dataclass(frozen=True)
class Path:
    """A rule at all prices, from the highest to the lowest.

    Attributes:
        spent: of each prompt (P, C), a mean over halves.
        cost: the cost that is held equal: tokens, or draws (P, C).
    """

    spent: Spent
    cost: Array

    def at(self, cost: Array, error_of: Callable[[Array], float]) -> tuple[Array, Array, Array]:
        """Contributions (P,) to gain, draws and tokens at a mean cost, that of the costs (P,).

        Resampled, those to the gain follow the change of the rule's own cost and of the cost given. The price is the
        one with this mean cost on these prompts. On others its cost differs by some error s, and as the gain g is
        concave in the cost c, it is too low by (2 g(c) - g(c - s) - g(c + s)) / 2 on average; this is added. `error_of`
        gives the standard error of a mean of (P,) whose expectation is 0.
        """
        mean, target = self.cost.mean(axis=0), float(cost.mean())
        j = int(np.clip(np.searchsorted(mean, target, side="left") - 1, 0, len(mean) - 2))
        step = mean[j + 1] - mean[j]
        share = float(np.clip((target - mean[j]) / step, 0.0, 1.0)) if step > 0 else 0.0
        ends = [values[:, [j, j + 1]] for values in (self.spent.gain, self.cost, self.spent.draws, self.spent.tokens)]
        gain, own, draws, tokens = ((1 - share) * each[:, 0] + share * each[:, 1] for each in ends)
        slope = np.diff(ends[0].mean(axis=0))[0] / step if step > 0 else 0.0
        error = error_of(own - cost)
        around = np.interp([target - error, target, target + error], mean, self.spent.gain.mean(axis=0))
        return gain + slope * (cost - own) + around @ [-0.5, 1.0, -0.5], draws, tokens


def learned(
    part: Part, most: int, *, keys: np.ndarray, seed: int, by_tokens: bool
) -> tuple[dict[str, Path], Array, Array]:
    """The two rules at all prices, each learned from one half of the samples and judged on the other.

    Args:
        part: all samples; every prompt has 2 `most` or more.
        most: largest number of draws.
        keys, seed: of the random halves.
        by_tokens: whether the cost is tokens.

    Returns:
        Paths by name of the rule; best-of-n's gains on the same halves, for n = 1 ... `most` (P, most); the mean length
        of a draw there (P,).
    """
    scale, splits = within_prompt_sd(part.selecting), split_count(2 * len(part.selecting))
    total: dict[str, Spent] = {}
    every = np.arange(1, most + 1)[None]
    for split in range(splits):
        halves = parts(part.selecting, part.evaluated, part.lengths, keys, seed + split)
        for pilot, fresh in (halves, halves[::-1]):
            mean_length = np.nanmean(pilot.lengths, axis=1)
            relative = mean_length / mean_length.mean() if by_tokens else np.ones(len(mean_length))
            prices = (scale or 1.0) * PRICES * np.maximum(relative, 1e-9)[:, None]
            judge = Judge(fresh, most)
            spent = {
                PER_PROMPT: judge.fixed(draws_at(pilot.selecting, prices, most)),
                STOPPING: judge.stopping(reservation_values(pilot.selecting, prices)),
                BEST_OF_N: judge.fixed(np.repeat(every, len(prices), axis=0)),
            }
            total = {rule: total[rule] + each if rule in total else each for rule, each in spent.items()}
    means = {rule: each.over(2 * splits) for rule, each in total.items()}
    constant = means.pop(BEST_OF_N)
    paths = {rule: Path(each, each.tokens if by_tokens else each.draws) for rule, each in means.items()}
    return paths, constant.gain, constant.tokens[:, 0]


def _table(
    part: Part,
    scored: Array,
    found: tuple[dict[str, Path], Array, Array],
    ns: np.ndarray,
    most: int,
    enough: np.ndarray,
    boot: PromptBootstrap,
    by_tokens: bool,
) -> CostTable:
    paths, halves, length = found
    every = np.arange(1, int(sample_counts(part.selecting).min()) + 1)
    curve = best_of_n_means(part.selecting, centre(part.evaluated), every)  # (P, N) of all n
    curve[:, 0] = 0.0

    def error_of(values: Array) -> float:
        every_prompt = np.nan_to_num(_padded(values, enough))
        return float(np.sqrt(np.sum(boot.sums(every_prompt) ** 2))) / len(values)

    rows: list[tuple[str, int, Array, Array, Array]] = []
    for n in ns:
        constant = curve[:, n - 1]
        rows.append((BEST_OF_N, int(n), constant, np.full(len(length), float(n)), n * length))
        for rule, path in paths.items():
            gain, draws, tokens = path.at(n * (length if by_tokens else np.ones(len(length))), error_of)
            # On the same halves, best-of-n has the same errors; all samples know its gain better.
            extra = gain - halves[:, n - 1] if n > 1 else np.zeros(len(gain))
            rows.append((rule, int(n), constant + extra, draws, tokens))
    method = np.array([row[0] for row in rows], dtype=object)
    n = np.array([row[1] for row in rows])
    gain, draws, tokens = (np.stack(each, axis=1) for each in list(zip(*rows, strict=True))[2:])
    extra = gain - curve[:, n - 1]
    equal, moved = same_as(curve, gain)
    gain, draws, tokens, extra, moved = (_padded(each, enough) for each in (gain, draws, tokens, extra, moved))
    none, constant = np.zeros(len(n)), method == BEST_OF_N
    plain, skewed = interval_of_unlike(boot, gain, sample_counts(part.selecting)), interval_of_limit(boot, gain, none)
    ends = {"gain": tuple(np.where(constant, a, b) for a, b in zip(plain, skewed, strict=True))}
    ends |= {"draws": interval(boot, draws), "tokens": interval(boot, tokens)}
    # A few prompts may carry what a rule gains in addition. To leading order, that of the best n is a variance between
    # prompts: of what a draw is worth.
    low, high = interval_of_limit(boot, extra, none)
    more = no_lower_than_of_a_variance(boot, extra, high)
    ends["extra"] = low, np.where(method == PER_PROMPT, more, high)
    if not by_tokens:
        tokens, ends["tokens"] = np.full_like(tokens, np.nan), (np.full(len(n), np.nan),) * 2
    less, more = interval_of_limit(boot, moved, none)
    ends["same_as"] = (equal * np.exp(less), equal * np.exp(more))
    own = np.array_equal(part.selecting, part.evaluated, equal_nan=True)
    of_gain = Mean("gain", gain, np.zeros_like(gain), ends["gain"][1] - ends["gain"][0])
    wrong = judge_means(of_gain, scored, n.astype(np.float64), np.ones(len(n), dtype=bool), boot, own=own)
    few = 1 - enough.mean() > MOST_LEFT_OUT
    left_out = f"only {enough.sum()} of {len(enough)} prompts have {2 * most} samples or more" if few else ""
    # One high sample in a hundred prompts makes the rule draw up to `most` times there. Few prompts may show none.
    heavy = heavy_tail(part.selecting, np.ones(len(part.selecting)))
    outliers = np.where((method == PER_PROMPT) & (n > 1), heavy, "").astype(object)
    reason = together(np.full(len(n), left_out, dtype=object), wrong, outliers)
    known = {name: mean_of(each) for name, each in (("gain", gain), ("draws", draws), ("tokens", tokens))}
    columns = known | {"extra": mean_of(extra), "same_as": equal}
    bounds = {f"{name}_{end}": pair[i] for name, pair in ends.items() for i, end in enumerate(("low", "high"))}
    return CostTable(
        method=method, n=n.astype(np.int32), most=np.full(len(n), most, dtype=np.int32),
        prompts=np.full(len(n), int(enough.sum()), dtype=np.int32), reliable=reason == "", reason=reason,
        **columns, **bounds,
    )  # fmt: skip


def same_as(curve: Array, gain: Array) -> tuple[Array, Array]:
    """The n with which best-of-n gains as much, from its gains (P, N) at n = 1 ... N and other gains (P, K).

    Between whole numbers the curve is linear in log n.

    Returns:
        n (K,), NaN beyond the curve; contributions (P, K) whose mean varies as log n does if prompts are resampled.
    """
    mean, each = curve.mean(axis=0), gain.mean(axis=0)
    log_n = np.log(np.arange(1, len(mean) + 1))
    out, moved = np.full(len(each), np.nan), np.full(gain.shape, np.nan)
    for k, value in enumerate(each):
        above = np.flatnonzero(mean >= value - 1e-12)
        if not above.size or len(mean) < 2:
            continue
        j = max(int(above[0]), 1)
        slope = (mean[j] - mean[j - 1]) / (log_n[j] - log_n[j - 1])
        if slope <= 0:
            continue
        share = np.clip((value - mean[j - 1]) / (mean[j] - mean[j - 1]), 0.0, 1.0)
        out[k] = np.exp(log_n[j - 1] + share * (log_n[j] - log_n[j - 1]))
        moved[:, k] = (gain[:, k] - (1 - share) * curve[:, j - 1] - share * curve[:, j]) / slope
    return out, moved


def _padded(values: Array, rows: np.ndarray) -> Array:
    """Values (P', ...) of some prompts as values of all, NaN for the others."""
    out = np.full((len(rows), *values.shape[1:]), np.nan)
    out[rows] = values
    return out
