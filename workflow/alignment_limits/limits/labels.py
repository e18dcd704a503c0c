"""Scores that only some samples have, such as labels of people: which samples to use, and are they a random part.

A reward that some samples lack is *partial*. Two rewards are compared on the samples that have both. If labels were
given at random, these are again samples of the base, only fewer. So every estimator is right for them as it is, with
the intervals and verdicts of so many samples. Nothing is filled in, and no weights are needed: within a prompt, every
sample was labelled with the same probability.

If labels depend on the reply (only good replies, only the longest), the labelled samples are another law. The rewards
that all samples have show this: under random labels, their mean and spread among the labelled samples of a prompt are
those of all its samples. `label_check` tests both. Given the number of labels of each prompt, the variance of the sum
over labelled samples is exact (sampling without replacement). It also compares prompts with labels and without. A
dependence on what no reward measures cannot be seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike
from scipy import special  # scipy.stats takes most of a second to import

from alignment_limits.ensembles.scores import Array, Columns, Flags, Words, centre, check_keys, check_scores
from alignment_limits.errors import EstimateError

NORMAL = 1e9  # degrees of freedom
LEVEL = 1e-3  # of all tests together: a verdict on a study, which is looked at once
LEAST = {"mean": 0.05, "spread": 0.1, "prompts": 0.1}  # smaller differences hardly change a limit, however certain


@dataclass(frozen=True, repr=False)
class LabelTable(Columns):
    """Whether the labelled samples differ from the others; a row for each other reward and quantity.

    Attributes:
        reward: that all samples have.
        quantity: mean: of the reward within prompts, in its standard deviations; spread: relative difference of its
            variance within prompts; prompts: the same between prompts with and without labels.
        difference: labelled minus all (for prompts: minus those without), with its 95 % interval.
        p_value: of no difference, two-sided.
        random: whether it is small or not significant at 0.001 over all rows.
        reason: why labels are not random.
    """

    reward: Words
    quantity: Words
    difference: Array
    difference_low: Array
    difference_high: Array
    p_value: Array
    random: Flags
    reason: Words

    shown: ClassVar[tuple[str, ...]] = ("difference",)
    verdict: ClassVar[str] = "random"

    @property
    def why(self) -> str:
        """Why labels are not random; "" if nothing speaks against it."""
        return "; ".join(self.reason[~self.random])


def label_check(labels: ArrayLike, others: Mapping[str, ArrayLike]) -> LabelTable:
    """Test whether samples were labelled at random within prompts, and prompts at random.

    Args:
        labels: a partial reward (prompts, samples); NaN where there is no label.
        others: rewards that all samples have, by name, each (prompts, samples); NaN for a sample that does not exist.

    Returns:
        Three rows for each other reward.

    Raises:
        EstimateError: shapes differ, or a label of a sample that does not exist.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> rm = rng.normal(size=(100, 32))
        >>> human = rm + rng.normal(size=rm.shape)
        >>> label_check(np.where(rng.random(rm.shape) < 0.3, human, np.nan), {"rm": rm}).why
        ''
        >>> label_check(np.where(rm > 0, human, np.nan), {"rm": rm}).why[:48]
        "labels are not at random: by 'rm', labelled repl"

    References:
        docs/import.md, "Missing scores".
    """
    has = np.isfinite(np.asarray(labels, dtype=np.float64))
    rows: list[tuple[str, str, float, float, float]] = []
    for name, given in others.items():
        scores = check_scores(given, name)
        if scores.shape != has.shape:
            raise EstimateError(
                f"'{name}' has shape {scores.shape}, the labels {has.shape}; join them by sample first."
            )
        there = np.isfinite(scores)
        if (has & ~there).any():
            raise EstimateError(f"{int((has & ~there).sum())} samples have a label but no score of '{name}'.")
        rows += [(name, *row) for row in _compared(np.where(there, centre(scores), 0.0), there, has)]
    return _judged(rows)


def _compared(centred: Array, there: Flags, has: Flags) -> list[tuple[str, float, float, float]]:
    """Quantity, difference, standard error and its degrees of freedom."""
    counts, labelled = there.sum(1), has.sum(1)
    variance = (centred**2).sum(1) / np.maximum(counts - 1, 1)
    typical = float((centred**2).sum() / max((counts - 1).sum(), 1)) or 1.0
    out = []
    squares = np.where(there, centred**2 - ((centred**2).sum(1) / counts)[:, None], 0.0) / typical
    for quantity, values in (("mean", centred / math.sqrt(typical)), ("spread", squares)):
        total = float(values[has].sum())
        own = (values**2).sum(1) / np.maximum(counts - 1, 1)
        error = math.sqrt(float((own * labelled * (counts - labelled) / counts).sum()))
        drawn = max(int(labelled.sum()), 1)
        out.append((quantity, total / drawn, error / drawn, NORMAL))
    some, none = variance[labelled > 0] / typical, variance[labelled == 0] / typical
    if min(len(some), len(none)) > 1:
        parts = [(each.var(ddof=1) / len(each), len(each) - 1) for each in (some, none)]  # Welch's test
        square = parts[0][0] + parts[1][0]
        freedom = square**2 / max(sum(v**2 / df for v, df in parts), 1e-300)
        out.append(("prompts", float(some.mean() - none.mean()), math.sqrt(square), freedom))
    else:
        out.append(("prompts", 0.0, 0.0, NORMAL))
    return out


_SAID = {
    "mean": "labelled replies score {d:+.2f} standard deviations from all of their prompt",
    "spread": "the variance of labelled replies is {d:+.0%} from that of all of their prompt",
    "prompts": "the variance within prompts with labels is {d:+.0%} from that in prompts without",
}


def _judged(rows: list[tuple[str, str, float, float, float]]) -> LabelTable:
    difference, error = (np.array([row[i] for row in rows], dtype=np.float64) for i in (2, 3))
    freedom = np.array([row[4] for row in rows])
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(error > 0, difference / error, np.where(np.abs(difference) > 0, np.inf, 0.0))
    p_value = 2 * special.stdtr(freedom, -np.abs(z))
    least = np.array([LEAST[row[1]] for row in rows])
    random = (np.abs(difference) <= least) | (p_value * max(len(rows), 1) >= LEVEL)
    said = [f"labels are not at random: by '{row[0]}', {_SAID[row[1]].format(d=row[2])}" for row in rows]
    reason = np.where(random, "", np.array(said, dtype=object)).astype(object)
    names, quantities = (np.array([row[i] for row in rows], dtype=object) for i in (0, 1))
    width = special.stdtrit(freedom, 0.975) * error
    low, high = difference - width, difference + width
    return LabelTable(names, quantities, difference, low, high, p_value, random, reason)


def common_samples(
    *rewards: ArrayLike, keys: ArrayLike | None = None, clusters: ArrayLike | None = None
) -> tuple[list[Array], dict[str, Any]]:
    """The samples that have all rewards, for estimators of two rewards of which one is partial.

    Args:
        rewards: scores (prompts, samples) each; NaN where a sample lacks the score.
        keys, clusters: of the prompts (prompts,), as for estimators.

    Returns:
        The rewards with NaN at every sample that lacks one of them, without prompts that have no common sample; and
        `keys` and `clusters` of the prompts that are left.

    Raises:
        EstimateError: shapes differ, or no sample has all rewards.

    Example:
        >>> (proxy, gold), prompts = common_samples([[1.0, 2.0], [3.0, 4.0]], [[np.nan, 5.0], [np.nan, np.nan]])
        >>> proxy.tolist(), gold.tolist(), prompts["keys"].tolist()
        ([[nan, 2.0]], [[nan, 5.0]], [0])
    """
    arrays = [np.asarray(reward, dtype=np.float64) for reward in rewards]
    if len({array.shape for array in arrays}) != 1 or arrays[0].ndim != 2:
        raise EstimateError("Rewards have different shapes; join them by (prompt_id, sample_id) first.")
    both = np.all([np.isfinite(array) for array in arrays], axis=0)
    left = both.any(1)
    if not left.any():
        raise EstimateError("No sample has a score of all rewards.")
    prompts: dict[str, Any] = {"keys": check_keys(keys, len(both))[left]}
    prompts["clusters"] = None if clusters is None else np.asarray(clusters)[left]
    return [np.where(both, array, np.nan)[left] for array in arrays], prompts
