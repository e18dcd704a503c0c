"""Verifiable rewards: the limit of a 0/1 reward, pass@k, majority votes and a proxy's choice on one plane.

The plane is pass rate against KL. The limit depends on the law of pass rates over prompts (`binary`), which few samples
show only in part: a prompt without a success may never pass, or pass once in some hundred draws. Estimates of the limit
are therefore a value, under the law of largest likelihood, and an interval over all laws that the counts allow
(`pass_rates`). Pass rates of ways to choose among k replies are unbiased means over subsets (`majority`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from alignment_limits.ensembles.scores import (
    FEWEST_SAMPLES,
    Array,
    Columns,
    Counts,
    Flags,
    Words,
    check_evaluated,
    check_keys,
    sample_counts,
)
from alignment_limits.errors import EstimateError
from alignment_limits.limits.best_of_n import check_ns, corrected_kl
from alignment_limits.limits.bootstrap import PromptBootstrap, widened
from alignment_limits.limits.means import interval, mean_of
from alignment_limits.limits.ranks import best_of_n_means, kl_bound
from alignment_limits.limits.reliability import FEWEST_PROMPTS, too_few
from alignment_limits.tradeoffs.binary import (
    average_limit,
    best_of_n_rates,
    best_pass_rates,
    binary_kl,
    check_budgets,
    check_correct,
    inverse_at,
    tilted_pass_rates,
)
from alignment_limits.tradeoffs.majority import best_of_majority, majority, pass_at_k
from alignment_limits.tradeoffs.pass_rates import PassRates

LIMIT, BEST_OF_N, MAJORITY, BEST_OF_MAJORITY, SELECTED = METHODS = (
    "limit", "best-of-n", "majority", "best-of-majority", "selected",
)  # fmt: skip
MOST_OPEN = 0.05  # of a pass rate: how much prompts without a success may leave open
FEWEST_SUCCEED = 10  # prompts with a success and with a failure, or with a different pick, that a bootstrap needs
TILTS = 1.25  # ratio of neighbouring λ at which upper bounds are computed
WIDER = 4.0  # λ are searched this far beyond those of the estimate
DOUBTS = {  # about the KL; at its bound the KL of best-of-majority has an interval that holds
    MAJORITY: "the KL is an upper bound: a vote of k needs 8 k samples of a prompt",
    BEST_OF_MAJORITY: "",
    SELECTED: "many tied scores: the KL is uncertain",
}
TIES = 0.1  # of the KL: largest remaining bias of the KL of tied scores


@dataclass(frozen=True, repr=False)
class VerifiableTable(Columns):
    """Points of the plane of pass rate and KL, equal 1-D arrays.

    Attributes:
        method: "limit"; "best-of-n" by the 0/1 reward itself, whose pass rate is pass@k; "majority" (maj@k);
            "best-of-majority" and "selected" (best-of-n), both by another reward.
        selecting: that other reward, else "".
        budget: of the limit: "average" (one temperature for all prompts) or "per-prompt" (each has this KL), else "".
        k: number of replies, 0 for the limit.
        prompts: number of prompts in the row.
        no_success: number of these without a success among their samples.
        kl: from the base model, nats per reply, mean over prompts.
        kl_bound: log k - (k - 1)/k, which no rule that returns one of k replies exceeds; NaN for the limit.
        pass_rate: mean over prompts, from 0 to 1.
        limit: the largest pass rate at this mean KL (average budget), under the estimated law of pass rates.
        reliable, reason: the verdict on the row.

    Intervals are `*_low` and `*_high`. Those of the limit and of best-of-n hold for every law of pass rates: "between
    pass_rate_low and pass_rate_high".
    """

    shown = ("kl", "pass_rate")

    method: Words
    selecting: Words
    budget: Words
    k: Counts
    prompts: Counts
    no_success: Counts
    kl: Array
    kl_low: Array
    kl_high: Array
    kl_bound: Array
    pass_rate: Array
    pass_rate_low: Array
    pass_rate_high: Array
    limit: Array
    reliable: Flags
    reason: Words


def verifiable(
    correct: ArrayLike,
    *,
    kls: ArrayLike = (),
    ks: ArrayLike = (),
    answers: ArrayLike | None = None,
    selecting: Mapping[str, ArrayLike] | None = None,
    share: float = 0.5,
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    keys: NDArray[np.int64] | None = None,
    clusters: ArrayLike | None = None,
) -> VerifiableTable:
    """The limit of a 0/1 reward at each KL, and the pass rate and KL of each way to choose among k replies.

    Args:
        correct: 1 or 0 (prompts, samples) of base samples; NaN marks a missing sample.
        kls: budgets in nats.
        ks: numbers of replies. Best-of-n may have more than the samples: the interval then says what they leave open.
        answers: of the samples, for majority votes: texts or numbers; None, NaN or "" for no answer.
        selecting: other rewards of the same samples by name, which choose one of k replies.
        share: of `best_of_majority`.
        replicates, seed, level, keys, clusters: as for `limits.frontier`.

    Returns:
        Rows of the limit under both budgets, of best-of-n, of majority votes, and of each selecting reward.

    Raises:
        EstimateError: values other than 0 and 1, answers or rewards of other samples, a k that no prompt has.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> solved = rng.random((200, 64)) < rng.beta(0.5, 2.0, size=(200, 1))
        >>> table = verifiable(solved, kls=[0.5], ks=[4])
        >>> table
        VerifiableTable: 3 rows, 3 reliable
          kl 0.262 to 0.5, pass_rate 0.478 to 0.593

    References:
        docs/tradeoffs.md, "Verifiable rewards"; docs/theory.md, "Verifiable rewards".
    """
    scores = check_correct(correct)
    names = check_keys(keys, len(scores))
    boot = PromptBootstrap(len(scores), replicates=replicates, seed=seed, level=level, keys=names, clusters=clusters)
    others = check_evaluated(scores, selecting) if selecting else {}
    k = np.atleast_1d(np.asarray(ks, dtype=np.float64))
    if not k.size + np.size(kls):
        raise EstimateError("Nothing to estimate: give kls or ks.")
    within = k[k <= sample_counts(scores).max()]
    drawn = check_ns(within, scores) if within.size else np.zeros(0, dtype=np.int64)
    plane = _Plane(scores, boot, names)
    parts = plane.limits(check_budgets(kls)) if np.size(kls) else []
    if k.size:
        parts.append(plane.best_of_n(check_ns(k, np.zeros((1, int(max(k.max(), 1)))))))
    if drawn.size and answers is not None:
        picks = majority(scores, answers, drawn, seed=seed, keys=names)
        parts.append(plane.chosen(MAJORITY, "", drawn, picks.rates, picks.kl, ~picks.corrected, picks.kl_left))
        for name, other in others.items():
            picks = best_of_majority(scores, answers, other, drawn, share=share, seed=seed, keys=names)
            parts.append(
                plane.chosen(BEST_OF_MAJORITY, name, drawn, picks.rates, picks.kl, ~picks.corrected, picks.kl_left)
            )
    for name, other in others.items() if drawn.size else ():
        kl, left = corrected_kl(other, drawn, seed=seed, keys=names)
        tied = np.abs(left) > TIES * np.maximum(kl, 1e-9)
        parts.append(plane.chosen(SELECTED, name, drawn, best_of_n_means(other, scores, drawn), kl, tied))
    return plane.table(parts)


class _Plane:
    """One study's counts, and the rows that follow from them."""

    def __init__(self, scores: Array, boot: PromptBootstrap, keys: NDArray[np.int64]) -> None:
        self.scores, self.boot = scores, boot
        self.samples = sample_counts(scores)
        self.successes = np.nansum(scores, axis=1).astype(np.int64)
        self.rates = PassRates.of(
            self.successes, self.samples, effect=self._effect(), units=boot.units, keys=keys, level=boot.level
        )
        self.grid = self.rates.grid
        self.unseen = self.rates.without_success()

    def _effect(self) -> float:
        """The largest variance of a mean over prompts, relative to that of independent prompts, if some are alike."""
        if not self.boot.clusters:
            return 1.0
        share = self.successes / self.samples
        columns = np.stack([share, share > 0, share**2], axis=1)
        away = columns - columns.mean(axis=0)
        alone, together = (away**2).sum(axis=0), (self.boot.sums(away) ** 2).sum(axis=0)
        return float(np.max(together / np.where(alone > 0, alone, np.inf)))

    def limits(self, kappa: Array) -> list[dict[str, Any]]:
        """Rows of the limit under both budgets."""
        law, grid = self.rates.law, self.grid
        each = best_pass_rates(grid, kappa).T
        low, high, left = self._bounds(each)
        average = average_limit(grid, kappa, law), *self._average_bounds(kappa)
        return [
            self._limit("average", kappa, *average),
            self._limit("per-prompt", kappa, each @ law, low, high, left),
        ]

    def _limit(self, budget: str, kappa: Array, value: Array, low: Array, high: Array, left: Array) -> dict[str, Any]:
        value = np.clip(value, low, high)
        rows = {"kl": kappa, "kl_low": kappa, "kl_high": kappa, "kl_bound": np.full(len(kappa), np.nan)}
        rows |= {"pass_rate": value, "pass_rate_low": low, "pass_rate_high": high}
        return self._labelled(
            LIMIT, "", budget, np.zeros(len(kappa)), self._judged(low, high, left, FEWEST_SAMPLES), rows
        )

    def _average_bounds(self, kappa: Array) -> tuple[Array, Array, Array]:
        """Bounds of the limit under an average budget (K,), and how much prompts without a success leave open.

        The limit is the minimum over λ of KL/λ + E log(1 - p + p e^λ)/λ. So for every λ the largest mean over the laws
        that are allowed gives an upper bound, and the law with the smallest mean has a limit that is a lower one.
        """
        grid, law = self.grid, self.rates.law
        inverse = inverse_at(grid, kappa, law)
        known = inverse[np.isfinite(inverse) & (inverse > 0)]
        ends = (known.min(), known.max()) if known.size else (1.0, 1.0)
        last = -np.log(grid[1]) if np.isposinf(inverse).any() else WIDER * ends[1]
        lam = np.geomspace(ends[0] / WIDER, last, 1 + int(np.ceil(np.log(WIDER * last / ends[0]) / np.log(TILTS))))
        with np.errstate(divide="ignore"):
            free = np.logaddexp(np.log1p(-grid), np.log(grid) + lam[:, None]) / lam[:, None]
        lowest = [self.rates.bound(row, -1)[0] for row in free]
        highest = [self.rates.bound(row, 1) for row in free]
        above = kappa[:, None] / lam + np.array([most for _, most in highest])
        below = np.stack([average_limit(grid, kappa, each) for each in lowest], axis=1)
        high, low = above.min(axis=1), below.min(axis=1)
        tilted = tilted_pass_rates(grid, lam)
        left = np.array(
            [
                self._open(tilted[:, i], lowest[j], highest[i][0])
                for i, j in zip(above.argmin(1), below.argmin(1), strict=True)
            ]
        )
        none = kappa == 0
        if none.any():
            low[none], high[none] = np.array(self.rates.interval(grid[None]))[:, 0]
        return low, np.minimum(high, 1.0), left

    def _bounds(self, values: Array) -> tuple[Array, Array, Array]:
        """Intervals of means of values (K, G), and how much prompts without a success leave open (K,)."""
        lowest, highest = ([self.rates.bound(row, sign) for row in values] for sign in (-1, 1))
        low, high = (np.maximum([end for _, end in ends], 0.0) for ends in (lowest, highest))
        left = [self._open(row, a[0], b[0]) for row, a, b in zip(values, lowest, highest, strict=True)]
        return low, high, np.array(left)

    def _open(self, values: Array, lowest: Array, highest: Array) -> float:
        """How far the part of a mean that prompts without a success contribute differs between two laws."""
        return float((values * self.unseen) @ (highest - lowest))

    def _judged(self, low: Array, high: Array, left: Array, fewest: int) -> np.ndarray:
        none, prompts = int((self.successes == 0).sum()), len(self.scores)
        few = too_few(self.boot.units, "independent prompt{}")
        samples = int(np.median(self.samples))
        if self.boot.units >= FEWEST_PROMPTS and samples < fewest:
            few = f"{samples} samples per prompt (needs {fewest})"
        return np.array([
            few if self.boot.units < FEWEST_PROMPTS or samples < fewest
            else f"{none} of {prompts} prompts have no success: between {a:.3f} and {b:.3f}" if gap > MOST_OPEN
            else ""
            for a, b, gap in zip(low, high, left, strict=True)
        ], dtype=object)  # fmt: skip

    def best_of_n(self, k: NDArray[np.int64]) -> dict[str, Any]:
        """Rows of best-of-n by the 0/1 reward: pass@k."""
        reached, spent = (each.T for each in best_of_n_rates(self.grid, k))
        low, high, left = self._bounds(reached)
        value = self.rates.mean(reached)
        all_have = k <= self.samples.min()
        if all_have.any():
            value[all_have] = pass_at_k(self.scores, k[all_have]).mean(axis=0)
        kl_low, kl_high, _ = self._bounds(spent)
        rows = {"kl": self.rates.mean(spent), "kl_low": kl_low, "kl_high": kl_high, "kl_bound": kl_bound(k)}
        rows |= {"pass_rate": np.clip(value, low, high), "pass_rate_low": low, "pass_rate_high": high}
        return self._labelled(BEST_OF_N, "", "", k, self._judged(low, high, left, 2), rows)

    def chosen(
        self,
        method: str,
        by: str,
        k: NDArray[np.int64],
        rates: Array,
        kl: Array,
        high: np.ndarray | None = None,
        left: Array | None = None,
    ) -> dict[str, Any]:
        """Rows of a choice among k replies.

        Args:
            method, by: labels.
            k: (N,).
            rates, kl: of each prompt (P, N), NaN where it has too few samples.
            high: where the KL is only an upper bound of what is estimated (P, N).
            left: bias that the KL's correction may leave (P, N).
        """
        bound = kl_bound(k)
        low, top = interval(self.boot, rates, support=(np.zeros(len(k)), np.ones(len(k))))
        kl_low, kl_high = interval(self.boot, kl, support=(np.zeros(len(k)), bound))
        if left is not None:
            kl_low, kl_high = widened(mean_of(kl), kl_low, kl_high, np.abs(mean_of(left)))
        value, spent, known = mean_of(rates), np.minimum(mean_of(kl), bound), np.isfinite(rates)
        base = np.array([(self.successes / self.samples)[rows].mean() if rows.any() else np.nan for rows in known.T])
        # Grouping replies, and averaging over prompts, can only lower a KL.
        least = binary_kl(np.nan_to_num(value), np.where(np.isnan(base), 0.5, base))
        loose = np.zeros(len(k), bool) if high is None else mean_of(np.where(known, high, np.nan)) > 0.5
        rows = {
            "kl": spent, "kl_bound": bound,
            "kl_low": np.where(loose, np.minimum(least, spent), np.maximum(kl_low, 0.0)),
            "kl_high": np.where(loose, np.maximum(spent, np.minimum(kl_high, bound)), np.minimum(kl_high, bound)),
            "pass_rate": value, "pass_rate_low": np.maximum(low, 0.0), "pass_rate_high": np.minimum(top, 1.0),
        }  # fmt: skip
        number = known.sum(axis=0)
        some = np.minimum((rates > 0).sum(axis=0), (rates < 1).sum(axis=0))
        reasons = [
            too_few(min(self.boot.units, n), "independent prompt{}")
            if min(self.boot.units, n) < FEWEST_PROMPTS
            else f"only {s} prompts pass at all, or fail at all (needs {FEWEST_SUCCEED})" if s < FEWEST_SUCCEED
            else DOUBTS[method] if high_kl
            else ""
            for n, s, high_kl in zip(number, some, loose, strict=True)
        ]  # fmt: skip
        return self._labelled(method, by, "", k, np.array(reasons, dtype=object), rows, known)

    def _labelled(
        self,
        method: str,
        by: str,
        budget: str,
        k: ArrayLike,
        reason: np.ndarray,
        rows: Mapping[str, Array],
        known: np.ndarray | None = None,
    ) -> dict[str, Any]:
        count = len(reason)
        inside = np.ones((len(self.scores), count), dtype=bool) if known is None else known
        words = {"method": method, "selecting": by, "budget": budget}
        return {
            **{name: np.full(count, word, dtype=object) for name, word in words.items()},
            "k": np.asarray(k, dtype=np.int64),
            "prompts": inside.sum(axis=0),
            "no_success": (inside & (self.successes == 0)[:, None]).sum(axis=0),
            "reliable": reason == "",
            "reason": reason,
            **rows,
        }

    def table(self, parts: Sequence[Mapping[str, Any]]) -> VerifiableTable:
        """All rows, with the limit at the KL of each."""
        joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        kl = joined["kl"]
        limit = np.full(len(kl), np.nan)
        known = np.isfinite(kl)
        limit[known] = average_limit(self.grid, np.maximum(kl[known], 0.0), self.rates.law)
        return VerifiableTable(limit=limit, **joined)
