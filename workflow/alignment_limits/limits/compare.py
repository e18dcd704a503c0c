"""KL, gain, win rate and share of the limit of every way of choosing among base samples.

Some ways have no unbiased closed form. Their law gives each of a prompt's M samples the probability of being the pick.
Estimated from M samples, its KL and its win rate have a bias of about 1/M, and so has its gain if the probabilities
need a normaliser. 2 full - mean(halves) removes this bias, as for the frontier (docs/theory.md, "Best-of-n").
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from alignment_limits.ensembles.scores import QUARTERS, Array, Columns, Counts, Flags, Words, centre, split_labels
from alignment_limits.limits.bootstrap import PromptBootstrap, widened
from alignment_limits.limits.brackets import WIDER, Bounds, duals, lower_ends
from alignment_limits.limits.curve import CorrectedCurve, split_count
from alignment_limits.limits.means import (
    KNOWN,
    NO_SHARE,
    SLIGHT,
    Mean,
    Part,
    carried_gain,
    columns_of,
    interval,
    interval_of_limit,
    interval_of_unlike,
    judge_kl,
    judge_limits,
    judge_means,
    judge_shares,
    limits_of,
    mean_of,
    plugin_limit,
    read_curves,
    together,
    too_few_for_limit,
)
from alignment_limits.limits.ranks import beaten_share


@dataclass(frozen=True, repr=False)
class BestOfNTable(Columns):
    """One row for each setting of a method, equal 1-D arrays. Gain, win rate and limit are of the evaluated reward.

    Attributes:
        method: "best-of-n", "soft-best-of-n", "best-of-poisson", "chi2-pessimism", or, in the table of a study,
            "predicted-best-of-n": more draws than samples, only with gain and KL.
        budget: of the limit: "average" or "per-prompt".
        n: draws (their mean for best-of-Poisson, NaN for χ²).
        temperature: of soft best-of-n, β of χ², else NaN.
        prompts: number of prompts with enough samples for this row; all columns are over them.
        kl: nats, mean over prompts, ties counted.
        kl_bound: log n − (n − 1)/n.
        kl_sequence: the per-sequence estimate (2401.01879); NaN unless log-probabilities were given.
        gain: in units of the evaluated reward.
        win_rate: P(the pick beats a fresh base sample) + P(tie)/2; NaN at n = M.
        tilt_gain: of the evaluated reward when tilting by the selecting reward at this KL.
        limit: corrected limit of the evaluated reward, by its own tilt, at this KL.
        efficiency: gain / limit.
        at_least, at_most: bounds of the limit, as in `FrontierTable`; the gain of the method counts, as no gain exceeds
            the limit. NaN with fewer than 16 prompts, and without bounds of the evaluated reward.
        gain_at_least: a lower confidence bound of the gain; NaN for methods that are corrected by halves.
        reliable, reason: of the row, the same as for its efficiency. Gain, kl, win_rate, limit and efficiency each have
            a verdict of their own: <name>_reliable, <name>_reason ("" if reliable).

    Intervals are `*_low` and `*_high`.
    """

    shown = ("n", "kl", "gain")

    method: Words
    budget: Words
    n: Counts
    temperature: Array
    prompts: Counts
    kl: Array
    kl_low: Array
    kl_high: Array
    kl_bound: Array
    kl_sequence: Array
    gain: Array
    gain_low: Array
    gain_high: Array
    win_rate: Array
    win_rate_low: Array
    win_rate_high: Array
    tilt_gain: Array
    limit: Array
    limit_low: Array
    limit_high: Array
    efficiency: Array
    efficiency_low: Array
    efficiency_high: Array
    at_least: Array
    at_most: Array
    gain_at_least: Array
    gain_reliable: Flags
    gain_reason: Words
    kl_reliable: Flags
    kl_reason: Words
    win_rate_reliable: Flags
    win_rate_reason: Words
    limit_reliable: Flags
    limit_reason: Words
    efficiency_reliable: Flags
    efficiency_reason: Words
    reliable: Flags
    reason: Words


@dataclass(frozen=True)
class Choice:
    """Ways of choosing at N settings, for P prompts; NaN where a prompt has too few samples for a setting.

    Attributes:
        method, n, temperature, kl_bound: (N,), as in `BestOfNTable`.
        kl, kl_sequence: (P, N), nats.
        kl_left: (P, N), remaining bias after the KL's correction (0 if exact).
        largest_ratio: (N,), largest density ratio to the base law (n for best-of-n). If it is large, few samples carry
            the choice.
        unbiased: (N,), whether gain and win rate are unbiased, and the KL exact without ties; else they are corrected
            by halves.
        gains, wins: (P, N) of each evaluated reward.
        gains_left, wins_left: (P, N), remaining bias after the correction by halves (0 if unbiased).
        lost: (P, N), probability of draws that the win rate does not include (of best-of-Poisson).
    """

    method: np.ndarray
    n: np.ndarray
    temperature: Array
    kl: Array
    kl_left: Array
    kl_bound: Array
    kl_sequence: Array
    largest_ratio: Array
    unbiased: np.ndarray
    gains: Mapping[str, Array]
    wins: Mapping[str, Array]
    gains_left: Mapping[str, Array]
    wins_left: Mapping[str, Array]
    lost: Array


def join(choices: Sequence[Choice]) -> Choice:
    """Several methods as one, so that limits and replicates are computed only once."""

    def joined(parts: Sequence[Any]) -> Any:
        if isinstance(parts[0], Mapping):
            return {name: joined([part[name] for part in parts]) for name in parts[0]}
        return np.concatenate(parts, axis=-1)

    return Choice(**{field.name: joined([getattr(each, field.name) for each in choices]) for field in fields(Choice)})


def compare(
    choice: Choice, scores: Array, others: Mapping[str, Array], *, budget: str, **settings: Any
) -> dict[str, BestOfNTable]:
    """The tables of a `Comparison` under one budget."""
    return Comparison(choice, scores, others, **settings).tables(budget)


class Comparison:
    """One choice, to be compared with the limit; gain and limit are resampled together.

    Args:
        choice: the choice, by `scores`.
        scores: (P, M).
        others: evaluated rewards by name, each (P, M).
        replicates, seed, level, keys, clusters, bounds: as for `best_of_n`.
        curves: curves of evaluated rewards by name and budget that other comparisons of the same rewards have made.
    """

    def __init__(
        self,
        choice: Choice,
        scores: Array,
        others: Mapping[str, Array],
        *,
        replicates: int,
        seed: int,
        level: float = 0.95,
        keys: np.ndarray | None = None,
        clusters: ArrayLike | None = None,
        bounds: Mapping[str, Bounds] | Bounds | None = None,
        curves: dict[tuple[str, str], CorrectedCurve] | None = None,
    ) -> None:
        self.choice, self.scores, self.others, self.seed, self.keys = choice, scores, others, seed, keys
        self.curves = {} if curves is None else curves
        count, kl = len(choice.n), choice.kl
        draws: dict[str, Any] = {"replicates": replicates, "seed": seed, "level": level, "keys": keys}
        self.boot = boot = PromptBootstrap(len(scores), clusters=clusters, **draws)
        # Without a bound of the KL for untied scores, its largest value is unknown.
        ceiling = np.where(np.isfinite(choice.kl_bound), choice.kl_bound, np.inf)
        self.kl_low, self.kl_high = interval(boot, kl, support=(np.zeros(count), ceiling))
        self.kl = mean_of(kl)
        self.doubt = np.maximum(self.kl_high - self.kl_low, np.abs(mean_of(choice.kl_left)))
        of_kl = Mean("KL", kl, choice.kl_left, self.kl_high - self.kl_low)
        self.kl_wrong, self.kl_doubts = judge_kl(of_kl, scores, choice.largest_ratio, choice.unbiased, boot)
        self.few = too_few_for_limit(scores, np.isfinite(kl), choice.n, choice.largest_ratio)
        self.upper = duals(others, bounds, boot)
        self.most_kl = np.minimum(self.kl + WIDER * (self.kl_high - self.kl), ceiling)
        self.common = {
            "method": choice.method, "n": choice.n, "temperature": choice.temperature,
            "prompts": np.isfinite(kl).sum(axis=0), "kl": self.kl, "kl_low": self.kl_low, "kl_high": self.kl_high,
            "kl_bound": choice.kl_bound, "kl_sequence": mean_of(choice.kl_sequence),
        }  # fmt: skip
        self.means = {name: self._means(name) for name in others}

    def _means(self, name: str) -> tuple[dict[str, Array], dict[str, np.ndarray]]:
        """Gain and win rate in one reward: columns and verdicts."""
        choice, boot, scored = self.choice, self.boot, self.others[name]
        same = np.array_equal(scored, self.scores, equal_nan=True)
        counts = np.sum(~np.isnan(self.scores), axis=1)
        gain, wins = choice.gains[name], choice.wins[name]
        low, high = interval_of_unlike(boot, gain, counts)
        win_low, win_high = interval_of_unlike(boot, wins * (1 - choice.lost), counts)
        if choice.lost.any():
            _, win_high = interval_of_unlike(boot, wins * (1 - choice.lost) + choice.lost, counts)
        of_gain = Mean("gain", gain, choice.gains_left[name], high - low)
        of_wins = Mean("win rate", wins, choice.wins_left[name], win_high - win_low)
        judged = partial(judge_means, ratio=choice.largest_ratio, unbiased=choice.unbiased, boot=boot, own=same)
        columns = {
            "gain": mean_of(gain), "gain_low": low, "gain_high": high,
            "win_rate": mean_of(wins), "win_rate_low": win_low, "win_rate_high": win_high,
            "gain_at_least": lower_ends(boot, mean_of(gain), low, choice.unbiased),
        }  # fmt: skip
        kl = together(self.kl_wrong, np.where(self.doubt <= KNOWN * self.kl, "", self.kl_doubts))
        verdicts = {"gain": judged(of_gain, scored), "kl": kl, "win_rate": judged(of_wins, beaten_share(scored))}
        return columns, verdicts

    def tables(self, budget: str) -> dict[str, BestOfNTable]:
        """One table for each evaluated reward."""
        read = partial(read_curves, kl=self.choice.kl, budget=budget, seed=self.seed, keys=self.keys)
        chosen = read(self.scores, list(self.others.values()))
        out = {}
        for index, (name, scored) in enumerate(self.others.items()):
            same = np.array_equal(scored, self.scores, equal_nan=True)
            ideal = chosen if same else read(scored, [], made=self.curves, name=name)
            columns, verdicts = self.means[name]
            of_limit, limit_verdicts = self._limit(name, ideal, budget)
            out[name] = BestOfNTable(
                budget=np.full(len(self.choice.n), budget, dtype=object),
                tilt_gain=carried_gain(chosen, 1 + index, self.choice.kl.shape),
                **self.common | columns | of_limit | columns_of(verdicts | limit_verdicts),
            )
        return out

    def _limit(self, name: str, ideal: Sequence[Part], budget: str) -> tuple[dict[str, Array], dict[str, np.ndarray]]:
        """The limit of one reward at the choice's KL, and the share of it: columns and verdicts."""
        choice, boot, count = self.choice, self.boot, len(self.choice.n)
        scored, gain, limit = self.others[name], choice.gains[name], limits_of(ideal, choice.kl, budget)
        columns, verdicts = self.means[name]
        mean_limit = mean_of(limit)
        share = columns["gain"] / np.where(mean_limit > 0, mean_limit, np.nan)
        of_limit, left = judge_limits(ideal, scored, count, boot.clusters)
        limit_low, limit_high = interval_of_limit(boot, limit, left)
        low, high = interval(boot, gain, limit)
        low, high = widened(share, low, high, share * left / mean_limit)
        # The limit is about proportional to the root of the KL.
        slight = mean_limit * self.doubt <= 2 * self.kl * SLIGHT * (limit_high - limit_low)
        wrong = together(of_limit, self.kl_wrong, np.where(slight, "", self.kl_doubts))
        none = np.where(np.isfinite(share + low + high), "", NO_SHARE)
        unlike = judge_shares(ideal, scored, count, boot.clusters) if budget == "average" else none
        least = lower_ends(boot, *plugin_limit(boot, ideal, choice.kl, budget))
        most = self.upper[name].at(self.most_kl) if name in self.upper else np.full(count, np.nan)
        return {
            "limit": mean_limit, "limit_low": limit_low, "limit_high": limit_high,
            "efficiency": share, "efficiency_low": low, "efficiency_high": high,
            "at_least": np.fmax(least, columns["gain_at_least"]), "at_most": most,
        }, {"limit": wrong, "efficiency": together(wrong, verdicts["gain"], self.few, unlike, none)}  # fmt: skip


FEWEST = 8  # samples that a prompt needs for the correction by halves
SAMPLES_PER_DRAW = 4  # so that halves of them allow twice the draws
AT_ONCE = 16_384  # scores at once, so that their probabilities under all laws fit in the cache


@dataclass(frozen=True)
class Law:
    """A method at N settings.

    Attributes:
        method: its name.
        n, temperature, kl_bound: (N,), as in `BestOfNTable`.
        fewest: (N,), samples a prompt needs to be in a row.
        pick: maps scores (P, M) to probabilities (P, M, N) and KLs (P, N); NaN where a prompt has too few samples.
    """

    method: str
    n: Array
    temperature: Array
    kl_bound: Array
    fewest: Array
    pick: Callable[[Array], tuple[Array, Array]]


def choose(
    laws: Sequence[Law],
    scores: Array,
    others: Mapping[str, Array],
    *,
    seed: int = 0,
    keys: np.ndarray | None = None,
) -> Choice:
    """All laws at all their settings as one Choice, corrected by halves of each prompt's samples.

    NaN where a prompt has fewer samples than its row needs.
    """
    counts = np.sum(~np.isnan(scores), axis=1)
    fewest = np.concatenate([law.fewest for law in laws])
    rows = counts[:, None] >= fewest
    some = rows.any(axis=1)
    names = np.arange(len(scores)) if keys is None else np.asarray(keys)
    measured = _corrected(laws, scores[some], {k: v[some] for k, v in others.items()}, names[some], seed, len(scores))
    largest, *measured = (_spread(each, some, rows) for each in measured)
    # Of a bias a / M + b / M^2, 2 full - halves leaves 2 b / M^2; estimated by the share of the largest weight.
    values, steps = measured[: len(measured) // 2], measured[len(measured) // 2 :]
    (kl, *means), (kl_left, *left) = values, [2 * largest * step for step in steps]
    one, two = slice(0, len(others)), slice(len(others), None)
    return Choice(
        method=np.concatenate([np.full(len(law.n), law.method, dtype=object) for law in laws]),
        n=np.concatenate([law.n for law in laws]),
        temperature=np.concatenate([law.temperature for law in laws]),
        kl=np.maximum(kl, 0.0),
        kl_left=kl_left,
        kl_bound=np.concatenate([law.kl_bound for law in laws]),
        kl_sequence=np.full(kl.shape, np.nan),
        largest_ratio=mean_of(largest * counts[:, None]),
        unbiased=np.zeros(len(fewest), dtype=bool),
        gains=dict(zip(others, means[one], strict=True)),
        wins=dict(zip(others, means[two], strict=True)),
        gains_left=dict(zip(others, left[one], strict=True)),
        wins_left=dict(zip(others, left[two], strict=True)),
        lost=np.zeros(kl.shape),
    )


def _spread(values: Array, some: np.ndarray, rows: np.ndarray) -> Array:
    """Values of some prompts as an array of all prompts, NaN where a prompt is not in a row."""
    out = np.full(rows.shape, np.nan)
    out[some] = values
    out[~rows] = np.nan
    return out


def _corrected(
    laws: Sequence[Law], scores: Array, others: Mapping[str, Array], names: np.ndarray, seed: int, prompts: int
) -> list[Array]:
    """(P, N) each: largest probability; then KL, gains and win rates, 2 full - halves; then full - halves of each."""
    counts = np.sum(~np.isnan(scores), axis=1)
    ranks = np.argsort(scores, axis=1, kind="stable")
    centred = [np.nan_to_num(centre(scored)) for scored in others.values()]
    ranked = [np.take_along_axis(a, ranks, axis=1) for a in (scores, *others.values(), *centred)]
    full = _measure(laws, ranked)
    splits = split_count(2 * prompts)
    halves = [np.zeros_like(each) for each in full]
    for split in range(splits):
        labels = split_labels(counts, scores.shape[1], names, seed + split)
        for half in range(2):
            inside = 2 * labels // QUARTERS == half
            sizes = inside.sum(axis=1)
            cells = np.argsort(~inside, axis=1, kind="stable")[:, : sizes.max(initial=1)]
            missing = np.arange(cells.shape[1]) >= sizes[:, None]
            own, *rest = (np.take_along_axis(a, cells, axis=1) for a in ranked)
            part = _measure(laws, [np.where(missing, np.nan, own), *rest])
            for total, each in zip(halves, part, strict=True):
                total += (sizes / counts / splits)[:, None] * each
    steps = [a - b for a, b in zip(full[1:], halves[1:], strict=True)]
    return [full[0], *(a + step for a, step in zip(full[1:], steps, strict=True)), *steps]


def _measure(laws: Sequence[Law], arrays: Sequence[Array]) -> list[Array]:
    """(P, N) each: largest probability of a sample, KL, then gains and then win rates of each evaluated reward.

    arrays : (P, M) scores, NaN = no such sample; then every evaluated reward, then each of them centred.
    """
    step = max(1, AT_ONCE // arrays[0].shape[1])
    rows = [slice(start, start + step) for start in range(0, max(len(arrays[0]), 1), step)]
    parts = [_measure_rows(laws, [array[some] for array in arrays]) for some in rows]
    return [np.concatenate(each) for each in zip(*parts, strict=True)]


def _measure_rows(laws: Sequence[Law], arrays: Sequence[Array]) -> list[Array]:
    scores, *others = arrays
    pairs = [law.pick(scores) for law in laws]
    weights = np.concatenate([w for w, _ in pairs], axis=-1)
    evaluated, centred = others[: len(others) // 2], others[len(others) // 2 :]
    beaten = [beaten_share(np.where(np.isnan(scores), np.nan, scored)) for scored in evaluated]
    means = [np.matmul(values[:, None], weights)[:, 0] for values in (*centred, *beaten)]
    return [weights.max(axis=1), np.concatenate([kl for _, kl in pairs], axis=-1), *means]


def kl_of(weights: Array, counts: Array) -> Array:
    """KL (P, N) of probabilities (P, M, N) from equal ones over each prompt's counts (P,) samples; not below 0."""
    ratio = np.where(weights > 0, weights * counts[:, None, None], 1.0)
    return np.asarray(np.maximum(np.sum(weights * np.log(ratio), axis=1), 0.0))
