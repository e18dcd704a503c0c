"""All objectives, coefficients and data sizes in many seeds' worlds at once: how far is each from its target?

The data depart from the model in one setting, at one level.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from alignment_limits.preferences.fits import linear_reward_fit
from alignment_limits.preferences.learners import LEARNERS, Data, gain, kl, unregularised
from alignment_limits.preferences.objectives import softplus
from alignment_limits.preferences.pairs import (
    Comparisons,
    World,
    comparisons,
    draw_wins,
    draw_world,
)
from alignment_limits.preferences.rates import first_order
from alignment_limits.preferences.tabular import margins, reward_fit

AT_ONCE = 8  # seeds in one batch: what memory is spent on
POPULATION = 0  # stands for n where the data are the population itself
_WORLD, _SETTING, _PAIRS, _FOLDS = range(4)  # streams of a seed's random numbers

Rows = dict[str, np.ndarray]


def sweep(p: Mapping[str, Any], setting: str, level: float, study_seed: int, seeds: Sequence[int]) -> Rows:
    """Rows of one setting at one level: objective, beta, n, seed, forward_kl, reverse_kl, gain, held_out, predicted.

    The base is among the objectives: what is learned from nothing. beta is 0 without regularisation. n is
    `POPULATION` for the minimisers under the population. held_out is the mean −log σ(γ log π⁺/π⁻) of pairs, each
    under the policy learned without its fold; predicted is the forward KL to first order without regularisation. NaN
    where not computed.

    Args:
        p: the study file's `learning`.
        seeds: world, pairs and folds of every seed and n derive from the study's seed, the seed and n alone.
    """
    out = []
    for first in range(0, len(seeds), AT_ONCE):
        some = seeds[first : first + AT_ONCE]
        worlds = [draw_world(p["world"], np.random.default_rng([study_seed, s, _WORLD])) for s in some]
        judged = [
            comparisons(setting, level, w, p["world"], np.random.default_rng([study_seed, s, _SETTING]))
            for s, w in zip(some, worlds, strict=True)
        ]
        wins = np.stack([[_folds(c, p, [study_seed, s], n) for n in p["n"]] for s, c in zip(some, judged, strict=True)])
        out += _learn(p, worlds, judged, wins, some)
        population = np.stack([[[c.expected_wins()]] for c in judged])
        out += _learn({**p, "n": [POPULATION], "prior_sd": 1e4}, worlds, judged, population, some)
    return {name: np.concatenate([rows[name] for rows in out]) for name in out[0]}


def _folds(c: Comparisons, p: Mapping[str, Any], seed: Sequence[int], n: int) -> np.ndarray:
    """Wins (1 + folds, X, Y, Y): all n pairs, then the parts they fall into at random."""
    wins = draw_wins(c.table, c.log_sampler, n, np.random.default_rng([*seed, _PAIRS, n]), tie=c.tie)
    parts = np.random.default_rng([*seed, _FOLDS, n]).multinomial(wins, np.full(p["folds"], 1 / p["folds"]))
    return np.concatenate([wins[None], np.moveaxis(parts, -1, 0)])


def _learn(
    p: Mapping[str, Any], worlds: Sequence[World], judged: Sequence[Comparisons], wins: np.ndarray, seeds: Sequence[int]
) -> list[Rows]:
    """Rows of one batch; wins (S, N, 1 + folds, X, Y, Y) as counts, or as probabilities for the population."""
    target = np.stack([w.log_target for w in worlds])[:, None]
    base = np.stack([w.log_base for w in worlds])[:, None]
    sizes = np.maximum(np.array(p["n"], float), 1)
    keys = {
        "n": np.broadcast_to(p["n"], wins.shape[:2]).ravel(),
        "seed": np.broadcast_to(np.array(seeds)[:, None], wins.shape[:2]).ravel(),
    }

    unknown = np.full(wins.shape[:2], np.nan)

    def row(
        objective: str, beta: float, policy: np.ndarray, held_out: np.ndarray = unknown, predicted: np.ndarray = unknown
    ) -> Rows:
        found = {
            "forward_kl": kl(target, policy),
            "reverse_kl": _reverse(policy, target),
            "gain": gain(policy, base, target - base),
            "held_out": held_out,
            "predicted": predicted,
        }
        size = len(keys["n"])
        named = {"objective": np.full(size, objective), "beta": np.full(size, float(beta))}
        return named | keys | {k: v.ravel() for k, v in found.items()}

    train = wins.copy()
    train[:, :, 1:] = wins[:, :, :1] - wins[:, :, 1:]
    data = _data(p, worlds, judged, train, sizes)
    rows = [row("base", 0.0, np.broadcast_to(base, (*wins.shape[:2], *base.shape[-2:])))]
    for objective in p["objectives"]:
        betas = sorted(p["betas"], reverse=True)
        for beta, policies in zip(betas, LEARNERS[objective](data, betas), strict=True):
            held_out = _held_out(policies[:, :, 1:], wins[:, :, 1:], data.gamma) if wins.shape[2] > 1 else unknown
            rows.append(row(objective, beta, policies[:, :, 0], held_out))
    alone = _data(p, worlds, judged, train[:, :, :1], sizes)
    dimension = judged[0].reward_dimension
    for objective, policy in unregularised(alone, free=dimension is None).items():
        if objective in p["objectives"]:
            own = dimension if objective == "reverse-kl" else None
            constants = np.array([_constant(w, c, own, p) for w, c in zip(worlds, judged, strict=True)])
            rows.append(row(objective, 0.0, policy[:, :, 0], predicted=constants[:, None] / sizes))
    return rows


def _constant(world: World, c: Comparisons, dimension: int | None, p: Mapping[str, Any]) -> float:
    """c of forward KL ≈ c/n in the class of rewards of this dimension; NaN where the target is not in it."""
    if not c.as_modelled or (dimension and dimension < p["world"]["target_dimension"]):
        return np.nan
    features = None if dimension is None else world.features[..., :dimension]
    return first_order(world.log_target, c.table, c.expected_wins(), gamma=c.gamma, features=features)


def _data(
    p: Mapping[str, Any], worlds: Sequence[World], judged: Sequence[Comparisons], wins: np.ndarray, sizes: np.ndarray
) -> Data:
    pairs = np.repeat(sizes[:, None], wins.shape[2], 1)
    pairs[:, 1:] *= 1 - 1 / p["folds"]
    ridge = p["prior_sd"] ** -2.0
    free = reward_fit(wins)
    dimension = judged[0].reward_dimension
    return Data(
        wins=wins.shape[-3] * wins / pairs[:, :, None, None, None],
        log_base=np.stack([w.log_base for w in worlds])[:, None, None],
        gamma=judged[0].gamma,
        reward=reward_fit(wins, ridge=ridge)
        if dimension is None
        else np.stack([_linear(w, d, dimension, ridge) for w, d in zip(wins, worlds, strict=True)]),
        free_reward=free,
    )


def _linear(wins: np.ndarray, world: World, dimension: int, ridge: float) -> np.ndarray:
    flat = wins.reshape(-1, *wins.shape[-3:])
    return linear_reward_fit(flat, world.features[..., :dimension], ridge=ridge).reshape(wins.shape[:-1])


def _held_out(policies: np.ndarray, wins: np.ndarray, gamma: float) -> np.ndarray:
    """Mean −log σ(γ log π⁺/π⁻) over held-out pairs: (S, N, folds, X, Y) → (S, N); inf if one ran away."""
    known = np.nan_to_num(policies)
    loss = (wins * softplus(-gamma * margins(known))).sum((-4, -3, -2, -1)) / np.maximum(wins.sum((-4, -3, -2, -1)), 1)
    return np.where(np.isnan(policies).any((-3, -2, -1)), np.inf, loss)


def _reverse(policy: np.ndarray, target: np.ndarray) -> np.ndarray:
    """E_x KL(π‖π*); NaN for a policy that ran away: its limit is a boundary point we do not follow it to."""
    return ((np.exp(policy) * (policy - target)).sum(-1)).mean(-1)
