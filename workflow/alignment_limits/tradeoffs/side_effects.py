"""Side effects: what else changes as a reward is optimised, such as the length of replies.

Any column f of the same samples is carried along: under the tilt its change is Cov₀(f, e^{r/β}) / E₀ e^{r/β}, and under
best-of-n it gets the weights of the ranks. Correction, intervals and verdicts are those of gold under a proxy. Rare
events (a refusal in 1 % of the replies) need a further rule: few of them carry the change.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from alignment_limits.ensembles.scores import (
    Array,
    Columns,
    Counts,
    Flags,
    Words,
    centre,
    check_evaluated,
    check_scores,
    unit_of,
)
from alignment_limits.errors import EstimateError
from alignment_limits.limits.best_of_n import check_ns, corrected_kl
from alignment_limits.limits.bootstrap import PromptBootstrap
from alignment_limits.limits.frontier import FrontierTable, frontier
from alignment_limits.limits.means import (
    FEWEST_PICKS,
    Mean,
    interval,
    interval_of_unlike,
    judge_draws,
    judge_kl,
    judge_means,
    mean_of,
    together,
)
from alignment_limits.limits.ranks import best_of_n_means

TILT, BEST_OF_N, POLICY = "tilt", "best-of-n", "policy"
CONSTANT = "the column does not differ within any prompt"


@dataclass(frozen=True, repr=False)
class SideEffectsTable(Columns):
    """Rows of all columns, each under the tilt at every KL and under best-of-n at every n; equal 1-D arrays.

    Attributes:
        column: what changes.
        method: "tilt" (of one β for all prompts, at this mean KL), "best-of-n", or "policy" (of `of_policy`).
        n: number of draws of best-of-n, else 0.
        kl: KL from the base model, nats per reply, mean over prompts.
        base: mean of the column under the base model, in its own units, over the same prompts.
        change: how much the mean changes, in the column's units.
        samples: number of samples that have the column.
        reliable, reason: of the change and its interval.

    Intervals (bootstrap over prompts) are `*_low` and `*_high`.
    """

    shown = ("kl", "change")

    column: Words
    method: Words
    n: Counts
    kl: Array
    kl_low: Array
    kl_high: Array
    base: Array
    change: Array
    change_low: Array
    change_high: Array
    samples: Counts
    reliable: Flags
    reason: Words


def side_effects(
    optimized: ArrayLike,
    columns: Mapping[str, ArrayLike],
    *,
    kls: ArrayLike = (),
    ns: ArrayLike = (),
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    keys: np.ndarray | None = None,
    clusters: ArrayLike | None = None,
) -> SideEffectsTable:
    """How the mean of each column changes as a reward is optimised, by the tilt at each KL and by best-of-n.

    Args:
        optimized: scores (prompts, samples) of base samples; NaN marks a missing sample.
        columns: further numbers of the same samples by name, such as lengths, or 1 for a refusal and 0 for none. A
            column may be missing (NaN) for some of the samples, if which ones is chance: they are then left out.
        kls: budgets in nats, of the tilt with one β for all prompts.
        ns: numbers of draws of best-of-n.
        replicates, seed, level, keys, clusters: as for `limits.frontier`.

    Returns:
        For each column a row at each KL, then a row at each n.

    Raises:
        EstimateError: scores that cannot be used, a column of another shape, or nothing to estimate.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> length = rng.normal(50.0, 10.0, size=(200, 64))
        >>> reward = 0.05 * length + rng.normal(size=(200, 64))  # longer replies score higher
        >>> side_effects(reward, {"tokens": length}, kls=[0.5], ns=[4]).change.round(1)
        array([4.3, 4.5])

    References:
        docs/theory.md, "Side effects"; docs/tradeoffs.md.
    """
    scores = check_scores(optimized, "optimized")
    if not columns:
        raise EstimateError("No column was given: pass {name: values} with at least one entry.")
    kappa, draws = np.atleast_1d(np.asarray(kls, dtype=np.float64)), np.atleast_1d(np.asarray(ns, dtype=np.float64))
    if not kappa.size + draws.size:
        raise EstimateError("Nothing to estimate: give kls or ns.")
    n = check_ns(draws, scores) if draws.size else np.zeros(0, dtype=np.int64)
    names = np.arange(len(scores)) if keys is None else np.asarray(keys)
    labels = None if clusters is None else np.asarray(clusters)
    settings = {"replicates": replicates, "seed": seed, "level": level}
    parts: dict[str, SideEffectsTable] = {}
    groups, units = _alike(scores, columns)
    for rows, own, carried in groups:
        more = settings | {"keys": names[rows], "clusters": None if labels is None else labels[rows]}
        tables = [_tilted(own, carried, kappa, more)] if kappa.size else []
        tables += [_picked(own, carried, n, more)] if n.size else []
        parts |= {name: _joined([table[name] for table in tables], units[name]) for name in carried}
    return _joined([parts[name] for name in columns])


def _joined(tables: Sequence[SideEffectsTable], unit: float = 1.0) -> SideEffectsTable:
    """Tables one after the other, with the column in units of `unit`."""
    each = [table.columns() for table in tables]
    joined = {name: np.concatenate([c[name] for c in each]) for name in SideEffectsTable.names()}
    scaled = {name: unit * joined[name] for name in ("base", "change", "change_low", "change_high")}
    return SideEffectsTable(**joined | scaled)


def _alike(
    scores: Array, columns: Mapping[str, ArrayLike]
) -> tuple[list[tuple[np.ndarray, Array, dict[str, Array]]], dict[str, float]]:
    """Columns that have the same samples, with the scores of these samples, and the prompts (P,) that have any.

    Also the unit of each column: 1, but a power of two if its squares would overflow or be 0.
    """
    units: dict[str, float] = {}
    groups: dict[bytes, tuple[np.ndarray, Array, dict[str, Array]]] = {}
    for name, given in columns.items():
        values = np.asarray(given, dtype=np.float64)
        if values.shape != scores.shape:
            raise EstimateError(f"Column '{name}' has shape {values.shape}, the optimized reward {scores.shape}.")
        both = ~np.isnan(scores) & ~np.isnan(values)
        rows = both.any(axis=1)
        if not rows.any():
            raise EstimateError(f"Column '{name}' has no value at any sample of the optimized reward; leave it out.")
        own = np.where(both, scores, np.nan)[rows]
        group = groups.setdefault(both.tobytes(), (rows, own, {}))
        given_here = check_evaluated(own, {name: np.where(both, values, np.nan)[rows]})[name]
        units[name] = unit_of(given_here)
        group[2][name] = given_here / units[name]
    return list(groups.values()), units


def _tilted(scores: Array, carried: dict[str, Array], kls: Array, settings: dict[str, Any]) -> dict[str, Any]:
    """Rows of every column under the tilt."""
    tables = frontier(scores, carried, kls=kls, **settings)
    out = {}
    for name, values in carried.items():
        table: FrontierTable = tables[name]
        few = _events(values, table.ess, np.sum(~np.isnan(scores), axis=1))
        reason = together(_constant(values, len(kls)), table.gain_reason, few)
        out[name] = _table(
            name, TILT, np.zeros(len(kls)), (kls, kls, kls), values,
            (table.gain, table.gain_low, table.gain_high), np.full(len(kls), True)[None].repeat(len(values), 0), reason,
        )  # fmt: skip
    return out


def _picked(scores: Array, carried: dict[str, Array], n: np.ndarray, settings: dict[str, Any]) -> dict[str, Any]:
    """Rows of every column under best-of-n, unbiased."""
    boot, counts = PromptBootstrap(len(scores), **settings), np.sum(~np.isnan(scores), axis=1)
    rows, ratio, unbiased = counts[:, None] >= n, n.astype(np.float64), np.ones(len(n), dtype=bool)
    kl, left = (
        np.where(rows, x, np.nan) for x in corrected_kl(scores, n, seed=settings["seed"], keys=settings["keys"])
    )
    kl_low, kl_high = interval(boot, kl)
    spent = mean_of(kl), kl_low, kl_high
    of_kl = judge_kl(Mean("KL", kl, left, kl_high - kl_low), scores, ratio, unbiased, boot)[0]
    out = {}
    for name, values in carried.items():
        change = np.where(rows, np.where(n == 1, 0.0, best_of_n_means(scores, centre(values), n)), np.nan)
        low, high = interval_of_unlike(boot, change, counts)
        mean = Mean("change", change, np.zeros_like(change), high - low)
        judged = judge_means(mean, values, ratio, unbiased, boot, own=np.array_equal(values, scores, equal_nan=True))
        reason = together(_constant(values, len(n)), judged, of_kl)
        out[name] = _table(name, BEST_OF_N, n, spent, values, (mean_of(change), low, high), rows, reason)
    return out


def of_policy(
    name: str, base: Array, policy: Array, kl: tuple[float, float, float], kl_reason: str, boot: PromptBootstrap
) -> SideEffectsTable:
    """One row: how much a column of a policy's replies differs from the base's on the same prompts.

    Args:
        name: of the column.
        base, policy: its values (prompts, samples) and (prompts, other samples); NaN marks a missing one.
        kl: the policy's KL in nats, and its interval.
        kl_reason: why the KL is not reliable, "" if it is.
        boot: replicates of the prompts.

    Raises:
        EstimateError: other prompts than the base's.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> short, long = rng.normal(50.0, 10.0, size=(64, 32)), rng.normal(60.0, 10.0, size=(64, 32))
        >>> of_policy("tokens", short, long, (1.0, 0.9, 1.1), "", PromptBootstrap(64)).change.round(0)
        array([10.])
    """
    if len(base) != len(policy):
        raise EstimateError(f"Column '{name}': the policy has {len(policy)} prompts, the base {len(base)}.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a prompt without values has no mean
        change = (np.nanmean(policy, axis=1) - np.nanmean(base, axis=1))[:, None]
    low, high = interval(boot, change)
    reason = together(judge_draws("change", change, boot), np.array([kl_reason], dtype=object))
    spent = np.array([kl[0]]), np.array([kl[1]]), np.array([kl[2]])
    return _table(name, POLICY, np.zeros(1), spent, base, (mean_of(change), low, high), ~np.isnan(change), reason)


def _table(
    name: str,
    method: str,
    n: np.ndarray,
    kl: tuple[Array, Array, Array],
    values: Array,
    change: tuple[Array, Array, Array],
    rows: np.ndarray,
    reason: np.ndarray,
) -> SideEffectsTable:
    count, present = len(n), ~np.isnan(values)
    means = np.where(present, values, 0.0).sum(axis=1) / np.maximum(present.sum(axis=1), 1)
    base = mean_of(np.where(rows, means[:, None], np.nan))
    return SideEffectsTable(
        np.full(count, name, dtype=object), np.full(count, method, dtype=object), n.astype(np.int32),
        *kl, base, *change, np.full(count, present.sum(), dtype=np.int32), reason == "", reason,
    )  # fmt: skip


def _constant(values: Array, count: int) -> np.ndarray:
    """The reason of every row of a column that does not differ within any prompt."""
    same = bool(np.all(np.nanmax(values, axis=1) == np.nanmin(values, axis=1)))
    return np.full(count, CONSTANT if same else "", dtype=object)


def _events(values: Array, ess: Array, counts: np.ndarray) -> np.ndarray:
    """Why too few independent samples are behind a change under the tilt, "" if there are enough, (K,).

    As of best-of-n (`limits.means.picks_behind`): the effective samples of all prompts over the column's kurtosis, 10
    or more. The kurtosis of an event of 1 % is 100, so 1,000 effective samples are needed.
    """
    away = np.nan_to_num(centre(values))
    second = np.sum(away**2)
    kurtosis = counts.sum() * np.sum(away**4) / second**2 if second > 0 else 0.0
    out = np.full(len(ess), "", dtype=object)
    for j, size in enumerate(ess):
        behind = len(values) * size / kurtosis if kurtosis > 0 else np.inf
        if behind < FEWEST_PICKS:
            out[j] = (
                f"only {behind:.1f} independent samples are behind the change, given the column's kurtosis "
                f"(needs {FEWEST_PICKS:g})"
            )
    return out
