"""What the distance of a trained policy from its optimum is made of.

For a policy π trained at β, 𝒥(π) = gain − β·KL(π‖π₀), and the largest 𝒥 over all laws is that of the tilt π_β. With T
the prompts that π was trained on and H those held out,

    𝒥_H(π_β) − 𝒥_H(π)  =  generalisation + expressibility + objective + optimisation + rest

    generalisation   [𝒥_H(π_β) − 𝒥_H(π)] − [𝒥_T(π_β) − 𝒥_T(π)]   how much larger the distance is on new prompts
    expressibility   𝒥_T(π_β) − 𝒥_T(π_fit)     π_fit: the same network, fitted to the tilt itself
    objective        𝒥_T(π_β) − 𝒥_T(π_obj)     π_obj: the optimum over all laws of what training minimised
    optimisation     𝒥_T(π_long) − 𝒥_T(π)      π_long: the same objective and network, trained until it converged
    rest             what is left: noise of steps at a constant learning rate, errors of estimates, overlaps

This is our choice of parts. A part without its reference is unknown, and is then within the rest. The sum is exact.
Expressibility and objective are both measured from the tilt, so they may overlap, and the rest may be negative.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from alignment_limits.ensembles.scores import Array
from alignment_limits.limits.bootstrap import PromptBootstrap
from alignment_limits.limits.correction import extrapolate_at_beta
from alignment_limits.limits.curve import CorrectedCurve
from alignment_limits.limits.frontier import frontier

PARTS = ("total", "generalisation", "expressibility", "objective", "optimisation", "rest")
ESTIMATED, THEORY, EXACT, UNKNOWN = "estimated", "theory", "exact", "unknown"


def tilt_objective(scores: Array, beta: float, *, seed: int = 0, keys: NDArray[np.int_] | None = None) -> Array:
    """𝒥 of the tilt at each prompt, from base samples: gain − β·KL of the limit at β, corrected as there.

    Args:
        scores: of the base's samples [p, m]; NaN marks a missing sample.
        beta: in units of the scores.
        seed, keys: how samples are divided for the correction (`limits.frontier`).

    Returns:
        [p], in units of the scores.

    Example:
        >>> scores = np.random.default_rng(0).normal(size=(500, 64))
        >>> bool(abs(tilt_objective(scores, 1.0).mean() - 0.5) < 0.02)  # a Gaussian has 1/(2β)
        True

    References:
        docs/theory.md, "The tilt".
    """
    m = CorrectedCurve(scores, seed=seed, keys=keys).moments(np.array([1 / beta]))
    return np.asarray(extrapolate_at_beta(np.moveaxis(m.mean - beta * m.kl, -1, 0))[:, 0])


@dataclass(frozen=True)
class References:
    """𝒥 at each prompt [p] of what a policy is compared with; None where there is nothing.

    Attributes:
        tilt: of the tilt at the policy's β.
        fit: of the same network fitted to the tilt.
        optimum: of the objective's own optimum; with `optimum_basis`: known by theory, or exact.
        longer: of the same objective trained until convergence; the policy itself if it has converged.
    """

    tilt: Array
    fit: Array | None = None
    optimum: Array | None = None
    optimum_basis: str = UNKNOWN
    longer: Array | None = None


def decompose(policy: Array, of: References, trained: NDArray[np.bool_], boot: PromptBootstrap) -> list[dict[str, Any]]:
    """The parts of a policy's distance from the tilt, with intervals that are paired over prompts.

    Args:
        policy: its 𝒥 at each prompt [p].
        of: what it is compared with.
        trained: the prompts it was trained on [p]; if it was trained on all, there is no generalisation.
        boot: replicates of the prompts.

    Returns:
        One row for each part: `part`, `value`, `low`, `high` (NaN for an unknown part) and `basis`. All other parts sum
        to the total.

    Example:
        >>> here, there = np.array([1.0, 1.0, 0.0, 0.0]), np.array([True, True, False, False])
        >>> of = References(tilt=np.full(4, 2.0), fit=np.full(4, 1.5))
        >>> rows = decompose(here, of, there, PromptBootstrap(4, replicates=100))
        >>> [(row["part"], row["value"]) for row in rows[:3]]
        [('total', 2.0), ('generalisation', 1.0), ('expressibility', 0.5)]
    """
    split = bool((~trained).any())
    none = np.zeros(len(policy))
    short = of.tilt - policy
    # each part is a mean over held-out prompts of the first, plus one over trained prompts of the second
    parts: dict[str, tuple[Array, Array] | None] = {"total": (short, none) if split else (none, short)}
    parts["generalisation"] = (short, -short) if split else None
    parts["expressibility"] = None if of.fit is None else (none, of.tilt - of.fit)
    parts["objective"] = None if of.optimum is None else (none, of.tilt - of.optimum)
    parts["optimisation"] = None if of.longer is None else (none, of.longer - policy)
    known = [parts[name] for name in PARTS[2:5]]
    parts["rest"] = (none, short - sum((part[1] for part in known if part), start=none))
    basis = dict.fromkeys(PARTS, ESTIMATED) | {"objective": of.optimum_basis}
    rows = []
    for name in PARTS:
        part = parts[name]
        if part is None:
            rows.append({"part": name, "value": np.nan, "low": np.nan, "high": np.nan, "basis": UNKNOWN})
            continue
        each = _contributions(part[0], ~trained) + _contributions(part[1], trained)
        low, high = boot.interval(each[:, None])
        rows.append({"part": name, "value": float(each.mean()), "low": low[0], "high": high[0], "basis": basis[name]})
    return rows


def _contributions(values: Array, of: NDArray[np.bool_]) -> Array:
    """Numbers [p] whose mean is the mean of the values over some prompts, and whose spread is that of this mean."""
    if not of.any():
        return np.zeros(len(values))
    mean = float(values[of].mean())
    return np.asarray(mean + np.where(of, values - mean, 0.0) / of.mean())


@dataclass(frozen=True)
class Trained:
    """A policy in the decomposition.

    Attributes:
        policy, objective, optimized, coefficient, seed: its labels in the study file.
        network: its weights (adapter or all) and its share of prompts; policies are compared if these are equal.
        ended: how its training ended.
    """

    policy: str
    objective: str
    optimized: str
    coefficient: float
    seed: int
    network: str
    ended: str

    def like(self, other: Trained) -> bool:
        """Whether both have one target and one network."""
        mine, theirs = ((p.optimized, p.coefficient, p.network) for p in (self, other))
        return mine == theirs


def fitted_to_the_tilt(policy: Trained, all_: Sequence[Trained]) -> Trained | None:
    """The policy that shows what the network can express: by the exact gradient, else by the tilt's samples."""
    found = [p for p in all_ if p.objective in ("exact", "tilt") and p.like(policy)]
    return min(found, key=lambda p: (p.objective != "exact", p.seed != policy.seed, p.seed), default=None)


def trained_longer(policy: Trained, all_: Sequence[Trained]) -> Trained | None:
    """The policy itself if it has converged, else one of the same objective that has."""
    if policy.ended == "converged":
        return policy
    found = [p for p in all_ if p.objective == policy.objective and p.like(policy) and p.ended == "converged"]
    return min(found, key=lambda p: (p.seed != policy.seed, p.seed), default=None)


def tilts_of(
    policies: Sequence[Trained], scores: Mapping[str, Array], **draws: Any
) -> dict[tuple[str, float], tuple[Array, str]]:
    """𝒥 of the tilts that policies are compared with, as `gaps` takes them.

    Args:
        policies: those with a β.
        scores: of the base's samples [p, m], by reward.
        draws: arguments of `limits.frontier`: replicates, seed, keys, clusters.

    Returns:
        𝒥 at each prompt [p] by reward and β, and why the limit at this β is not reliable ("" where it is).
    """
    out = {}
    for reward, beta in sorted({(policy.optimized, policy.coefficient) for policy in policies}):
        row = frontier(scores[reward], betas=[beta], **draws)
        worth = tilt_objective(scores[reward], beta, seed=draws.get("seed", 0), keys=draws.get("keys"))
        out[reward, beta] = worth, str(row.reason[0])
    return out


def gaps(
    policies: Sequence[Trained],
    by_prompt: pl.DataFrame,
    tilts: Mapping[tuple[str, float], tuple[Array, str]],
    boot: PromptBootstrap,
    *,
    same_optimum: Sequence[str],
    exact: Mapping[str, float],
) -> pl.DataFrame:
    """The table `gap`: the parts of every policy's distance from the tilt at its β.

    Args:
        policies: those with a β.
        by_prompt: table `by_prompt`, in the order of the prompts of `tilts`.
        tilts: 𝒥 of the tilt at each prompt [p] by reward and β, and why it is not reliable ("" where it is).
        boot: replicates of the prompts.
        same_optimum: objectives whose optimum is the tilt.
        exact: 𝒥 of the tilt minus that of the objective's optimum, where it is known by sums, by policy.

    Returns:
        Rows of the table `gap`, in base standard deviations. All parts but "optimisation" need the tilt.
    """
    worth, trained = {}, {}
    for p in policies:
        own = by_prompt.filter((pl.col("policy") == p.policy) & (pl.col("evaluated") == p.optimized)).sort("prompt_id")
        worth[p.policy] = own["gain"].to_numpy() - p.coefficient * own["kl"].to_numpy()
        trained[p.policy] = own["trained"].to_numpy()
    rows = []
    for p in policies:
        tilt, reason = tilts[p.optimized, p.coefficient]
        fit, longer = fitted_to_the_tilt(p, policies), trained_longer(p, policies)
        optimum, basis = (tilt, THEORY) if p.objective in same_optimum else (None, UNKNOWN)
        if p.policy in exact:
            optimum, basis = tilt - exact[p.policy], EXACT
        of = References(
            tilt, worth[fit.policy] if fit else None, optimum, basis, worth[longer.policy] if longer else None
        )
        against = {"expressibility": fit, "optimisation": longer}
        for row in decompose(worth[p.policy], of, trained[p.policy], boot):
            known = row["basis"] != UNKNOWN
            why = reason if row["part"] not in ("optimisation", "objective") else ""
            other = against.get(row["part"])
            rows.append(
                {
                    **{key: getattr(p, key) for key in ("policy", "objective", "optimized", "coefficient", "seed")},
                    "ended": p.ended,
                    **row,
                    "against": other.policy if other else None,
                    "reliable": known and not why and bool(np.isfinite([row["low"], row["high"]]).all()),
                    "reason": why if known else "nothing to compare with",
                }
            )
    return pl.DataFrame(rows, infer_schema_length=None)
