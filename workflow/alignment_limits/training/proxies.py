"""Proxy rewards of chosen quality: heads fitted to gold labels on prompts that the study does not evaluate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from alignment_limits.errors import ArtifactError, EstimateError
from alignment_limits.rewards.heads import Array, Head, bradley_terry, ridge
from alignment_limits.tables.artifacts import KEY


def held_out(training: pl.DataFrame, evaluation: pl.DataFrame) -> pl.DataFrame:
    """The training prompts (prompt_id, text), without those whose text is also an evaluation prompt.

    Raises:
        ArtifactError: a prompt_id is in both sets, or no prompt is left.
    """
    both = training.join(evaluation, on="prompt_id", how="semi")
    if both.height:
        raise ArtifactError(f"{both.height} prompts are trained and evaluated on, the first is {both['prompt_id'][0]}")
    left = training.join(evaluation.select("text"), on="text", how="anti")
    if not left.height:
        raise ArtifactError("every training prompt's text is also an evaluation prompt's: nothing to train on")
    return left


def training_arrays(
    features: pl.DataFrame, scores: pl.DataFrame, prompts: pl.DataFrame
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]]:
    """Features [n, d], gold [n] and prompt number [n] of the samples of `prompts`, in key order.

    Raises:
        ArtifactError: a sample has features but no gold score, or a gold score but no features.
    """
    ours, theirs = (t.join(prompts, on="prompt_id", how="semi").sort(KEY) for t in (features, scores))
    if not ours.select(KEY).equals(theirs.select(KEY)):
        raise ArtifactError("features and gold labels are not of the same samples; delete both and run again")
    _, number = np.unique(ours["prompt_id"].to_numpy().astype(str), return_inverse=True)
    return np.array(ours["features"].to_list(), dtype=np.float64), theirs["score"].to_numpy(), number


_LABELS, _FEATURES = 0, 1  # random streams


def fit_proxy(
    features: Array,
    gold: Array,
    prompt: NDArray[np.intp],
    *,
    labels: int,
    noise: float,
    loss: str,
    seed: int,
    dimensions: float = 1.0,
    feature_seed: int | None = None,
) -> Head:
    """A head trained on `labels` labels (regression) or preferences (Bradley-Terry) drawn without replacement.

    Args:
        features: [n, d] of all training samples. gold: [n]. prompt: [n], the prompt of each sample.
        labels: number of labelled samples (Bradley-Terry: pairs of one prompt's samples).
        noise: in units of gold's spread. Regression: standard deviation of the error of a label. Bradley-Terry: a is
            preferred to b with probability σ((gold_a − gold_b)/noise); 0: always the better one, ties at random.
        loss: 'regression' or 'bradley-terry'.
        seed: seed of labels and their noise. feature_seed: seed of the features used; default: seed.
        dimensions: share of features used, in (0, 1].

    Raises:
        EstimateError: fewer samples or pairs than labels, or gold is constant within every prompt.
    """
    rng = np.random.default_rng([seed, _LABELS])
    values = _standard(gold, prompt)
    used = _used(features.shape[1], dimensions, seed if feature_seed is None else feature_seed)
    if loss == "regression":
        if labels > len(gold):
            raise EstimateError(f"{labels} labels are asked for, but there are only {len(gold)} training samples")
        picked = rng.permutation(len(gold))[:labels]
        head = ridge(features[np.ix_(picked, used)], values[picked] + noise * rng.standard_normal(labels))
    else:
        better, worse = _preferences(values, prompt, labels, noise, rng)
        head = bradley_terry(features[np.ix_(better, used)] - features[np.ix_(worse, used)])
    weight = np.zeros(features.shape[1])
    weight[used] = head.weight
    return replace(head, weight=weight)


def preferences(
    gold: Array, prompt: NDArray[np.intp], *, labels: int, noise: float, seed: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The pairs that `fit_proxy` learns from: indices [labels] of the preferred samples, and of the others.

    Raises:
        EstimateError: as in `fit_proxy`.
    """
    return _preferences(_standard(gold, prompt), prompt, labels, noise, np.random.default_rng([seed, _LABELS]))


def _preferences(
    values: Array, prompt: NDArray[np.intp], labels: int, noise: float, rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    a, b = _pairs(prompt, labels, rng)
    margin = values[a] - values[b]
    uniform = rng.random(labels)  # the same numbers for every noise, so that only the noise differs
    with np.errstate(over="ignore"):
        chance = 1 / (1 + np.exp(-margin / noise)) if noise > 0 else 0.5 + 0.5 * np.sign(margin)
    chosen = uniform < chance
    return np.where(chosen, a, b), np.where(chosen, b, a)


def _standard(gold: Array, prompt: NDArray[np.intp]) -> Array:
    """Gold minus its overall mean, in units of its pooled within-prompt spread."""
    _, row, count = np.unique(prompt, return_inverse=True, return_counts=True)
    centred = gold - (np.bincount(row, gold) / count)[row]
    freedom = len(gold) - len(count)
    spread = float(np.sqrt(np.sum(centred**2) / max(freedom, 1)))
    if not spread > 1e-12 * max(1.0, float(np.abs(gold).max(initial=0.0))):
        raise EstimateError("gold is constant within every training prompt: there is nothing to learn")
    return (gold - gold.mean()) / spread


def _used(count: int, share: float, seed: int) -> NDArray[np.intp]:
    most = max(1, round(share * count))
    return np.sort(np.random.default_rng([seed, _FEATURES]).permutation(count)[:most])


def _pairs(prompt: NDArray[np.intp], count: int, rng: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """`count` distinct pairs of two samples of one prompt."""
    order = rng.permutation(len(prompt))
    groups = [order[prompt[order] == p] for p in np.unique(prompt)]
    rounds = max((len(g) // 2 for g in groups), default=0)
    # in every round each prompt gives one pair of unused samples; then the samples are paired again
    pairs: list[tuple[int, int]] = []
    seen: set[tuple[int, int]] = set()
    most = sum(len(g) * (len(g) - 1) // 2 for g in groups)
    if count > most:
        raise EstimateError(f"{count} preferences are asked for, but there are only {most} pairs of training samples")
    while len(pairs) < count:
        groups = [rng.permutation(g) for g in groups]
        for turn in range(rounds):
            for g in groups:
                if 2 * turn + 1 < len(g):
                    pair = (int(g[2 * turn]), int(g[2 * turn + 1]))
                    if (key := (min(pair), max(pair))) not in seen:
                        seen.add(key)
                        pairs.append(pair)
    first, second = np.array(pairs[:count], dtype=np.intp).T
    return first, second
