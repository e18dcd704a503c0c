"""A lower bound of KL(π‖π₀) for policies without log-probabilities, from scores of their replies and of the base's.

Put a policy's reply y among M replies of the base to the same prompt, Z = {y, z_1 ... z_M}, and give each of them a
number T(·; Z) that does not depend on their order. If y were from the base too, all orders would be equally likely, so
e^{T(y)} over the mean of e^{T} in Z would have the mean 1: it is a density ratio. Therefore (Donsker and Varadhan)

    KL(π‖π₀) >= E [ T(y; Z) - log mean_{z in Z} e^{T(z; Z)} ],

for every T, every M and with no bias from few samples (arXiv 1807.03748 has it as a bound of mutual information). It
is at most log(M + 1). As T we take a linear form θ·φ in features of the scores in Z:

- each reward r: then the bound is that of the limit, the KL at which the limit reaches the policy's gain;
- each reward over its spread in Z: for policies that spend the same KL on prompts with small and with large spread;
- three functions of each reward's rank in Z: best-of-n is the form (n - 1) log u.

θ maximises a concave likelihood, that of a conditional logit. It is fitted on other prompts than those it is used for,
so that the mean over prompts is one of (nearly) independent numbers with the stated mean, and its lower confidence
bound is one of the KL.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike

from alignment_limits.ensembles.scores import Array, Columns, Counts, Flags, Words, check_keys, check_scores
from alignment_limits.errors import EstimateError
from alignment_limits.limits.bootstrap import PromptBootstrap, no_shorter_than_students
from alignment_limits.limits.curve import CorrectedCurve, judge_points
from alignment_limits.limits.means import enough_prompts, interval, mean_of
from alignment_limits.limits.ranks import tie_bounds

FOLDS = 5  # groups of prompts: θ of one is fitted on the others
RIDGE = 0.5  # of θ, over the number of prompts that it is fitted on, in units of the features' spread
STEPS = 30
FEATURES = 5  # of each reward
FIT = 2000  # replies that θ is fitted on, at most
CELLS = 2**22  # features at once


@dataclass(frozen=True, repr=False)
class ClosedTable(Columns):
    """One row for each policy.

    Attributes:
        policy: its name.
        prompts: prompts with replies of the policy and of the base.
        replies: of the policy.
        gain: mean evaluated reward of its replies minus the base's, over these prompts.
        kl_at_least: the lower confidence bound (97.5 %) of its KL, nats per reply, at least 0.
        kl_bound: the estimate of the bound, without its error. The KL itself may be far above it.
        kl_ceiling: the largest value that these samples allow for the bound: mean log(M + 1).
        limit: the limit at `kl_at_least`. The limit at the policy's own KL is no less.
        efficiency_at_most: gain / limit, at most 1: the policy's share of its limit is no larger; 1 says nothing.
        reliable, reason: the verdict on `kl_at_least`, and why not ("" if reliable).
        limit_reliable, limit_reason: the same of `limit` and `efficiency_at_most`.

    Intervals are `*_low` and `*_high`.
    """

    shown = ("kl_at_least", "gain")

    policy: Words
    prompts: Counts
    replies: Counts
    gain: Array
    gain_low: Array
    gain_high: Array
    kl_at_least: Array
    kl_bound: Array
    kl_ceiling: Array
    limit: Array
    efficiency_at_most: Array
    reliable: Flags
    reason: Words
    limit_reliable: Flags
    limit_reason: Words


def kl_from_scores(
    base: Mapping[str, ArrayLike],
    policies: Mapping[str, Mapping[str, ArrayLike]],
    evaluated: str,
    *,
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    keys: np.ndarray | None = None,
    clusters: ArrayLike | None = None,
) -> ClosedTable:
    """Lower bounds of the KL of policies whose replies have scores and no log-probabilities.

    Args:
        base: scores of the base's replies (prompts, samples) by reward; NaN marks a missing sample.
        policies: by name, scores of the policy's replies to the same prompts (prompts, replies) by reward; one reply
            for each prompt is enough. A row of NaN is a prompt without a reply.
        evaluated: the reward of gain and limit.
        replicates, seed, level, keys, clusters: as for `frontier`.

    Returns:
        One row for each policy.

    Raises:
        EstimateError: scores that cannot be used, or other rewards or prompts for a policy.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> base = {"gold": rng.normal(size=(400, 64))}
        >>> policy = {"gold": rng.normal(1.0, 1.0, size=(400, 4))}  # its KL is 0.5
        >>> table = kl_from_scores(base, {"api": policy}, "gold")
        >>> table.kl_bound.round(1), table.kl_at_least.round(1)
        (array([0.4]), array([0.4]))

    References:
        van den Oord et al. (2018), arXiv 1807.03748; Poole et al. (2019), arXiv 1905.06922; docs/tradeoffs.md,
        "Policies without log-probabilities".
    """
    own = {name: check_scores(scores, name) for name, scores in base.items()}
    if evaluated not in own:
        raise EstimateError(f"No scores of '{evaluated}' for the base; there are: {', '.join(own)}.")
    names = check_keys(keys, len(own[evaluated]))
    boot = PromptBootstrap(len(names), replicates=replicates, seed=seed, level=level, keys=names, clusters=clusters)
    folds = _folds(boot, len(names), clusters, names)
    curve = CorrectedCurve(own[evaluated], seed=seed, keys=names)
    rows = []
    for policy, given in policies.items():
        scores = _checked(policy, given, own)
        rows.append({"policy": policy} | _row(own, scores, evaluated, boot, folds, curve))
    return ClosedTable(**{name: _column(name, [row[name] for row in rows]) for name in ClosedTable.names()})


def _column(name: str, values: list[object]) -> np.ndarray:
    words, counts = ("policy", "reason", "limit_reason"), ("prompts", "replies")
    kind = object if name in words else np.int32 if name in counts else bool if "reliable" in name else np.float64
    return np.array(values, dtype=kind)


def _checked(policy: str, given: Mapping[str, ArrayLike], base: Mapping[str, Array]) -> dict[str, Array]:
    """A policy's scores (P, K) of the base's rewards."""
    if missing := [name for name in base if name not in given]:
        raise EstimateError(f"Policy '{policy}' has no scores of '{missing[0]}', which the base has; add or drop them.")
    out = {}
    for name, others in base.items():
        array = np.asarray(given[name], dtype=np.float64)
        if array.ndim != 2 or len(array) != len(others):
            raise EstimateError(
                f"Scores of '{name}' for policy '{policy}' have shape {array.shape}; the base has {len(others)} rows."
            )
        if np.isinf(array).any():
            raise EstimateError(f"A score of '{name}' for policy '{policy}' is infinite; use NaN for a missing reply.")
        out[name] = array
    present = [np.isnan(array) for array in out.values()]
    if any(not np.array_equal(present[0], other) for other in present[1:]):
        raise EstimateError(f"The rewards of policy '{policy}' do not cover the same replies.")
    if present[0].all():
        raise EstimateError(f"Policy '{policy}' has no reply with a score.")
    return out


def _folds(boot: PromptBootstrap, prompts: int, clusters: ArrayLike | None, names: np.ndarray) -> np.ndarray:
    """The group of each prompt (P,): clusters stay together, in the order of their keys."""
    order = np.argsort(names, kind="stable")
    labels = np.arange(prompts) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    first: dict[int, int] = {}
    number = np.array([first.setdefault(int(label), len(first)) for label in labels[order]])
    out = np.empty(prompts, dtype=np.int64)
    out[order] = np.random.default_rng((boot.seed, 2)).permutation(len(first))[number] % FOLDS
    return out


@dataclass(frozen=True)
class Candidates:
    """A policy's replies, each among the base's replies to its prompt: C replies, and up to M + 1 candidates.

    Attributes:
        features: (C, M + 1, D); the first candidate is the policy's reply.
        present: which candidates there are (C, M + 1).
        prompt: the row of each reply's prompt (C,).
    """

    features: Array
    present: np.ndarray
    prompt: np.ndarray

    @classmethod
    def of(cls, base: Sequence[Array], policy: Sequence[Array]) -> "Candidates":
        """From scores of each reward: the base's (P, M) and the policy's (P, K)."""
        prompt, place = np.nonzero(~np.isnan(policy[0]))
        columns: list[Array] = []
        for own, others in zip(policy, base, strict=True):
            every = np.concatenate([own[prompt, place][:, None], others[prompt]], axis=1)
            columns += _features(every)
        present = ~np.isnan(every)
        features = np.stack(columns, axis=-1)
        features[~present] = 0.0
        return cls(features, present, prompt)

    @classmethod
    def to_fit(cls, base: Sequence[Array], policy: Sequence[Array], rows: np.ndarray, *, seed: int) -> "Candidates":
        """The candidates of at most 2000 replies of some prompts, as many of each prompt as possible."""
        rng = np.random.default_rng((seed, 3))
        rows = np.sort(rng.permutation(rows)[:FIT])
        each = max(1, FIT // len(rows))
        kept = []
        for own in policy:
            first = np.argsort(np.isnan(own[rows]), axis=1, kind="stable")[:, :each]
            kept.append(np.take_along_axis(own[rows], first, axis=1))
        return cls.of([array[rows] for array in base], kept)

    def values(self, theta: Array) -> Array:
        """T(y) − log mean e^T of each reply (C,)."""
        logs = np.where(self.present, self.features @ theta, -np.inf)
        total = scipy.special.logsumexp(logs, axis=1) - np.log(self.present.sum(axis=1))
        return np.asarray(logs[:, 0] - total)

    def fit(self) -> Array:
        """θ (D,) with the largest mean of `values` over prompts, less a ridge, by Newton's method."""
        features, present = self.features, self.present
        ridge = RIDGE / len(np.unique(self.prompt))
        w = 1.0 / np.bincount(self.prompt)[self.prompt]
        w /= w.sum()
        spread = np.sqrt(np.mean(features[present] ** 2, axis=0))
        unit = np.where(spread > 0, spread, 1.0)
        x, theta = features / unit, np.zeros(features.shape[2])
        value = -np.inf
        step = np.zeros_like(theta)
        for _ in range(STEPS):
            for _ in range(STEPS):  # shorter steps until the value rises
                logs = np.where(present, x @ (theta + step), -np.inf)
                top = scipy.special.logsumexp(logs, axis=1, keepdims=True)
                new = float(w @ (logs[:, 0] - top[:, 0])) - ridge / 2 * float(np.sum((theta + step) ** 2))
                if new >= value - 1e-12:
                    break
                step /= 2
            theta = theta + step
            rose, value = new - value, new
            if rose < 1e-9:
                break
            share = np.exp(logs - top)
            mean = np.einsum("cm,cmd->cd", share, x)
            slope = w @ (x[:, 0] - mean) - ridge * theta
            second = np.einsum("cm,cmd,cme->de", share * w[:, None], x, x, optimize=True) - (mean * w[:, None]).T @ mean
            step = np.linalg.solve(second + ridge * np.eye(len(theta)), slope)
        return np.asarray(theta / unit)


def _features(scores: Array) -> list[Array]:
    """Features (C, N) of one reward's scores among N candidates: symmetric in their order."""
    count = np.sum(~np.isnan(scores), axis=1, keepdims=True)
    away = scores - np.nanmean(scores, axis=1, keepdims=True)
    spread = np.sqrt(np.nanmean(away**2, axis=1, keepdims=True))
    lower, upper = tie_bounds(scores)
    u = np.where(np.isnan(scores), 0.5, (lower + upper) / (2.0 * count))
    scaled = away / np.where(spread > 0, spread, 1.0)
    return [away, np.clip(scaled, -5.0, 5.0), scipy.special.ndtri(u), np.log(u), np.log1p(-u)]


def _best_rewards(
    base: Sequence[Array], policy: Sequence[Array], evaluated: int, rows: np.ndarray, seed: int
) -> list[int]:
    """The numbers of the rewards to use: the evaluated one or all, as half of the prompts show by a fit to the rest."""
    every = list(range(len(base)))
    if len(every) == 1 or len(rows) < 4:
        return [evaluated]
    order = np.random.default_rng((seed, 4)).permutation(rows)
    halves = order[::2], order[1::2]
    means = []
    for used in ([evaluated], every):
        arrays = [base[k] for k in used], [policy[k] for k in used]
        theta = Candidates.to_fit(*arrays, halves[0], seed=seed).fit()
        means.append(Candidates.to_fit(*arrays, halves[1], seed=seed).values(theta).mean())
    return every if means[1] > means[0] else [evaluated]


def _row(
    base: Mapping[str, Array],
    policy: Mapping[str, Array],
    evaluated: str,
    boot: PromptBootstrap,
    folds: np.ndarray,
    curve: CorrectedCurve,
) -> dict[str, object]:
    """The columns of one policy."""
    arrays, others = list(base.values()), list(policy.values())
    present = ~np.isnan(others[0])
    replies, some = present.sum(axis=1), present.any(axis=1)
    bound = np.full(len(folds), np.nan)
    for fold in range(FOLDS):
        own = np.flatnonzero(some & (folds == fold))
        rest = np.flatnonzero(some & (folds != fold))
        if not len(own) or not len(rest):
            continue
        used = _best_rewards(arrays, others, list(base).index(evaluated), rest, boot.seed + fold)
        chosen = [arrays[k] for k in used], [others[k] for k in used]
        theta = Candidates.to_fit(*chosen, rest, seed=boot.seed + fold).fit()
        width = len(arrays) * FEATURES * (arrays[0].shape[1] + 1) * others[0].shape[1]
        step = max(1, CELLS // width)
        for rows in (own[start : start + step] for start in range(0, len(own), step)):
            part = Candidates.of(*([each[rows] for each in kind] for kind in chosen))
            bound[rows] = np.bincount(part.prompt, part.values(theta), minlength=len(rows)) / replies[rows]
    gain = np.full(len(folds), np.nan)
    gain[some] = np.nanmean(policy[evaluated][some], axis=1) - np.nanmean(base[evaluated][some], axis=1)
    columns = np.stack([gain, bound], axis=1)
    (gain_low, kl_low), (gain_high, _) = no_shorter_than_students(boot, columns, *interval(boot, columns))
    mean_gain, kl_bound = mean_of(columns)
    ceiling = float(np.log(np.sum(~np.isnan(base[evaluated]), axis=1) + 1)[some].mean())
    kl = max(float(np.nan_to_num(kl_low)), 0.0)
    reason = str(enough_prompts(columns, boot)[1])
    points = curve.at(np.array([kl]))
    limit = float(points.values[:, 0, 0].mean())
    verdict = str(judge_points(base[evaluated], points, clusters=boot.clusters, widened=True).reason[0])
    limit_reason = reason or ("the bound of the KL is 0" if kl == 0 else verdict)
    share = min(mean_gain / limit, 1.0) if limit > 0 else np.nan
    return {
        "prompts": int(some.sum()), "replies": int(replies.sum()), "gain": mean_gain, "gain_low": gain_low,
        "gain_high": gain_high, "kl_at_least": kl, "kl_bound": kl_bound, "kl_ceiling": ceiling, "limit": limit,
        "efficiency_at_most": share, "reliable": reason == "", "reason": reason, "limit_reliable": limit_reason == "",
        "limit_reason": limit_reason,
    }  # fmt: skip
