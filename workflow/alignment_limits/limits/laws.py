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
from alignment_limits.limits.ranks import tie_bounds, tied

FEWEST = 8  # samples a prompt needs for halves to say anything
AT_ONCE = 16_384  # scores whose probabilities under all laws stay in a cache


@dataclass(frozen=True)
class Law:
    """A method at N settings.

    n, temperature, kl_bound : (N,), as in BestOfNTable. pick(scores) : probabilities (P, M, N) and KLs (P, N) of
    scores (P, M), NaN where a prompt has too few samples. atomic(scores, atoms) : KL (P, N) where it is
    known from the atoms alone, in place of pick's. unbiased : whether gains under the probabilities are.
    """

    method: str
    n: Array
    temperature: Array
    kl_bound: Array
    pick: Callable[[Array], tuple[Array, Array]]
    atomic: Callable[[Array, np.ndarray], Array] | None = None
    unbiased: bool = False


def choose(
    laws: Sequence[Law],
    scores: Array,
    others: Mapping[str, Array],
    *,
    seed: int = 0,
    keys: np.ndarray | None = None,
) -> Choice:
    """All laws at all their settings as one Choice, corrected by halves of each prompt's samples."""
    counts = np.sum(~np.isnan(scores), axis=1)
    names = np.arange(len(scores)) if keys is None else np.asarray(keys)
    ranks = np.argsort(scores, axis=1, kind="stable")
    centred = [np.nan_to_num(centre(scored)) for scored in others.values()]
    ranked = [np.take_along_axis(a, ranks, axis=1) for a in (scores, *others.values(), *centred)]
    atoms = np.take_along_axis(tied(scores), ranks, axis=1)
    full = _measure(laws, ranked, atoms)
    splits = split_count(2 * len(scores))
    halves = [np.zeros_like(each) for each in full]
    for split in range(splits):
        labels = split_labels(counts, scores.shape[1], names, seed + split)
        for half in range(2):
            inside = 2 * labels // QUARTERS == half
            sizes = inside.sum(axis=1)
            cells = np.argsort(~inside, axis=1, kind="stable")[:, : sizes.max()]
            missing = np.arange(sizes.max()) >= sizes[:, None]
            own, *rest = (np.take_along_axis(a, cells, axis=1) for a in ranked)
            own = np.where(missing, np.nan, own)
            part = _measure(laws, [own, *rest], np.take_along_axis(atoms, cells, axis=1))
            for total, each in zip(halves, part, strict=True):
                total += (sizes / counts / splits)[:, None] * each
    # 2 full - halves, or full where a prompt or its halves have too few samples.
    usable = [(counts >= FEWEST)[:, None] & np.isfinite(half) for half in halves]
    _, kl, *means = (np.where(u, 2 * a - b, a) for u, a, b in zip(usable, full, halves, strict=True))
    gains, wins = means[: len(others)], means[len(others) :]
    unbiased = np.concatenate([np.full(len(law.n), law.unbiased) for law in laws])
    return Choice(
        method=np.concatenate([np.full(len(law.n), law.method, dtype=object) for law in laws]),
        n=np.concatenate([law.n for law in laws]),
        temperature=np.concatenate([law.temperature for law in laws]),
        kl=np.maximum(kl, 0.0),
        kl_bound=np.concatenate([law.kl_bound for law in laws]),
        kl_sequence=np.full(kl.shape[1], np.nan),
        largest_ratio=(full[0] * counts[:, None]).mean(axis=0),
        gains={name: np.where(unbiased, a, b) for name, a, b in zip(others, full[2:], gains, strict=False)},
        wins=dict(zip(others, wins, strict=True)),
    )


def _measure(laws: Sequence[Law], arrays: Sequence[Array], atoms: np.ndarray) -> list[Array]:
    """(P, N) each: largest probability of a sample, KL, then gains and then win rates of each evaluated reward.

    arrays : (P, M) scores, NaN = no such sample; then every evaluated reward, then each of them centred.
    """
    step = max(1, AT_ONCE // atoms.shape[1])
    rows = [slice(start, start + step) for start in range(0, len(atoms), step)]
    parts = [_measure_rows(laws, [array[some] for array in arrays], atoms[some]) for some in rows]
    return [np.concatenate(each) for each in zip(*parts, strict=True)]


def _measure_rows(laws: Sequence[Law], arrays: Sequence[Array], atoms: np.ndarray) -> list[Array]:
    scores, *others = arrays
    pairs = [law.pick(scores) for law in laws]
    weights = np.concatenate([w for w, _ in pairs], axis=-1)
    kls = [law.atomic(scores, atoms) if law.atomic else kl for law, (_, kl) in zip(laws, pairs, strict=True)]
    evaluated, centred = others[: len(others) // 2], others[len(others) // 2 :]
    beaten = [beaten_share(np.where(np.isnan(scores), np.nan, scored)) for scored in evaluated]
    means = [np.matmul(values[:, None], weights)[:, 0] for values in (*centred, *beaten)]
    return [weights.max(axis=1), np.concatenate(kls, axis=-1), *means]


def kl_of(weights: Array, counts: Array) -> Array:
    """KL (P, N) of probabilities (P, M, N) from equal ones over each prompt's counts (P,) samples."""
    ratio = np.where(weights > 0, weights * counts[:, None, None], 1.0)
    return np.asarray(np.sum(weights * np.log(ratio), axis=1))


def beaten_share(scores: Array) -> Array:
    """Share of its prompt's other samples that each sample beats, half for equals, (P, M); 0 where NaN or alone."""
    lower, upper = tie_bounds(scores)
    counts = np.sum(~np.isnan(scores), axis=1)[:, None]
    share = (lower + (upper - lower - 1) / 2) / np.maximum(counts - 1, 1)
    return np.where(np.isnan(scores) | (counts < 2), 0.0, share)
