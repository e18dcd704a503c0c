"""Ways of choosing among base samples that have no unbiased closed form: measured from all samples and from halves.

A law gives each of a prompt's M samples the probability of being the pick. Taken from M samples, its KL, its win
rate and (where the probabilities need a normaliser) its gain are biased by about 1/M; 2 full - mean(halves) takes
that away, as for the frontier (theory.md section 1).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from alignment_limits.limits.arrays import QUARTERS, Array, centre, split_labels
from alignment_limits.limits.curve import split_count
from alignment_limits.limits.methods import Choice
from alignment_limits.limits.paired import mean_of
from alignment_limits.limits.ranks import beaten_share

FEWEST = 8  # samples a prompt needs for halves to say anything
SAMPLES_PER_DRAW = 4  # so that halves of them allow twice the draws
AT_ONCE = 16_384  # scores whose probabilities under all laws stay in a cache


@dataclass(frozen=True)
class Law:
    """A method at N settings.

    n, temperature, kl_bound : (N,), as in BestOfNTable. fewest : (N,) samples a prompt needs to be in a row.
    pick(scores) : probabilities (P, M, N) and KLs (P, N) of scores (P, M), NaN where a prompt has too few samples.
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
    # What 2 full - halves leaves of a bias a / M + b / M^2 is 2 b / M^2: that term, by the share of the largest weight.
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
    """Values of some prompts as those of all, NaN where a prompt is not in a row."""
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
    """KL (P, N) of probabilities (P, M, N) from equal ones over each prompt's counts (P,) samples."""
    ratio = np.where(weights > 0, weights * counts[:, None, None], 1.0)
    return np.asarray(np.sum(weights * np.log(ratio), axis=1))
