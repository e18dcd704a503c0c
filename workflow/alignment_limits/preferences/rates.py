"""How fast each objective approaches its target: a sweep over worlds, chosen coefficients, rates and slopes.

The sweep learns with all objectives, coefficients and data sizes in the worlds of many seeds at once. The data depart
from the model in one setting, at one level.

Coefficients are chosen in two ways. `oracle`: for each n one coefficient, the one with the smallest mean forward KL
over the seeds; this needs the target. `held-out`: for each seed its own, the one with the smallest log-loss on held-out
pairs; this needs the data only.

To first order, the mean forward KL of maximum likelihood is c/n, with c in closed form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import scipy

from alignment_limits.preferences.fits import (
    linear_reward_fit,
    margins,
    reward_fit,
)
from alignment_limits.preferences.learners import LEARNERS, Data, unregularised
from alignment_limits.preferences.objectives import softplus
from alignment_limits.preferences.pairs import (
    Comparisons,
    World,
    comparisons,
    draw_wins,
    draw_world,
)
from alignment_limits.tables.schemas.limits import SLOPES

AT_ONCE = 8  # seeds in one batch; memory grows with it
POPULATION = 0  # stands for n where the data are the population itself
_WORLD, _SETTING, _PAIRS, _FOLDS = range(4)  # streams of a seed's random numbers

Rows = dict[str, np.ndarray]


def sweep(p: Mapping[str, Any], setting: str, level: float, study_seed: int, seeds: Sequence[int]) -> Rows:
    """Rows of one setting at one level, of all objectives, coefficients and data sizes.

    Args:
        p: the study file's `learning`.
        setting, level: departure from the model, as for `comparisons`.
        study_seed: world, pairs and folds derive from it, the seed and n alone.
        seeds: of the worlds.

    Returns:
        Columns. objective: `base` is the base itself, learned from no data. beta: 0 without regularisation. n:
        `POPULATION` for the minimisers under the population. seed, forward_kl, reverse_kl, gain. held_out: the mean
        −log σ(γ log π⁺/π⁻) of pairs, each under the policy learned without its fold. predicted: the forward KL to first
        order without regularisation. NaN where not computed.
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
    """Wins (1 + folds, X, Y, Y): of all n pairs, then of the random parts that they are split into."""
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
    """Mean −log σ(γ log π⁺/π⁻) over held-out pairs: (S, N, folds, X, Y) → (S, N); inf if a policy diverged."""
    known = np.nan_to_num(policies)
    loss = (wins * softplus(-gamma * margins(known))).sum((-4, -3, -2, -1)) / np.maximum(wins.sum((-4, -3, -2, -1)), 1)
    return np.where(np.isnan(policies).any((-3, -2, -1)), np.inf, loss)


def kl(log_p: np.ndarray, log_q: np.ndarray) -> np.ndarray:
    """E_x KL(p‖q), contexts equally likely.

    Args:
        log_p, log_q: log-policies (..., X, Y); a NaN (a policy that diverged) is infinitely far.

    Returns:
        Nats (...).

    Example:
        >>> round(float(kl(np.log([[0.5, 0.5]]), np.log([[0.25, 0.75]]))), 3)
        0.144
    """
    each = (np.exp(log_p) * (log_p - log_q)).sum(-1)
    return np.where(np.isnan(each), np.inf, each).mean(-1)


def gain(log_policy: np.ndarray, log_base: np.ndarray, reward: np.ndarray) -> np.ndarray:
    """E_x (E_π r − E_π₀ r), contexts equally likely.

    Args:
        log_policy, log_base, reward: (..., X, Y).

    Returns:
        Gains (...) in the reward's units; NaN for a policy that diverged.

    Example:
        >>> float(gain(np.log([[0.25, 0.75]]), np.log([[0.5, 0.5]]), np.array([[0.0, 1.0]])))
        0.25
    """
    return ((np.exp(log_policy) - np.exp(log_base)) * reward).sum(-1).mean(-1)


def _reverse(policy: np.ndarray, target: np.ndarray) -> np.ndarray:
    """E_x KL(π‖π*); NaN for a policy that diverged, since its limit is a boundary point that is not followed."""
    return ((np.exp(policy) * (policy - target)).sum(-1)).mean(-1)


def first_order(
    log_target: np.ndarray, table: np.ndarray, wins: np.ndarray, *, gamma: float, features: np.ndarray | None = None
) -> float:
    """c of E_x KL(π*‖π̂) ≈ c/n for π̂ = e^{R̂/γ}, R̂ the Bradley-Terry rewards fitted to n pairs of the model.

    It is half the trace of (the Fisher information of a response × the inverse of that of a pair), divided by γ². It
    plays the part of C_Π/γ² and log|Π| in the bounds of the paper.

    Args:
        log_target: log π* (X, Y).
        table: P(a ≻ b) (X, Y, Y).
        wins: expected wins (X, Y, Y) of one pair in all contexts together.
        gamma: inverse temperature of the preferences.
        features: (X, Y, D) in which R̂ is linear; default: every response has its own reward.

    Returns:
        c in nats × pairs; infinite where the pair sampler never compares some responses.

    Example:
        >>> table = np.full((1, 2, 2), 0.5)
        >>> round(first_order(np.log([[0.5, 0.5]]), table, table * (1 - np.eye(2)) / 2, gamma=1.0), 6)
        1.0

    References:
        docs/theory.md, "Three ways to learn it".
    """
    target = np.exp(log_target)
    response = _laplacian(target[:, :, None] * target[:, None, :]) / len(target)
    pair = _laplacian(wins * (1 - table))
    if features is not None:
        response = np.einsum("xad,xab,xbe->de", features, response, features)[None]
        pair = np.einsum("xad,xab,xbe->de", features, pair, features)[None]
    rank = np.linalg.matrix_rank(response, hermitian=True)
    if (np.linalg.matrix_rank(pair, hermitian=True) < rank).any():
        return float("inf")
    return float(np.einsum("xab,xba->", response, np.linalg.pinv(pair, hermitian=True)) / (2 * gamma**2))


def _laplacian(weights: np.ndarray) -> np.ndarray:
    """diag(W·1) − W of symmetric weights (X, Y, Y)."""
    out = -weights
    diagonal = np.arange(weights.shape[-1])
    out[:, diagonal, diagonal] += weights.sum(-1)
    return out


GROUP = ("setting", "level", "objective", "tuning")
QUANTITIES = ("forward_kl", "reverse_kl", "gain", "predicted")


def choose(sweep: pl.DataFrame, fixed_betas: Sequence[float]) -> pl.DataFrame:
    """Rows of the sweep without regularisation, at fixed coefficients, and at the coefficients chosen for each n.

    Among equally good coefficients (for example all infinitely far) the largest is taken. The population has no pairs
    to hold out.

    Args:
        sweep: the table of a sweep.
        fixed_betas: coefficients of the fixed rows.

    Returns:
        Rows of the sweep, with a column `tuning`: "none", "fixed", "oracle" or "held-out".
    """
    keys = ["setting", "level", "objective", "n"]
    regular = sweep.filter(pl.col("beta") > 0)
    best = (
        regular.group_by(*keys, "beta")
        .agg(pl.col("forward_kl").mean())
        .sort("forward_kl", "beta", descending=[False, True])
        .group_by(keys, maintain_order=True)
        .first()
    )
    parts = {
        "none": sweep.filter(pl.col("beta") == 0),
        "fixed": regular.filter(pl.col("beta").is_in(list(fixed_betas))),
        "oracle": regular.join(best.select(*keys, "beta"), on=[*keys, "beta"]),
        "held-out": regular.filter(pl.col("n") > 0)
        .sort("held_out", "beta", descending=[False, True])
        .group_by(*keys, "seed", maintain_order=True)
        .first()
        .select(sweep.columns),
    }
    chosen = pl.concat([rows.with_columns(tuning=pl.lit(name)) for name, rows in parts.items()])
    return chosen.sort(*GROUP, "n", "beta", "seed")


def summary(rates: pl.DataFrame) -> pl.DataFrame:
    """Means over seeds with 95 % t-intervals. A mean is infinite, without an interval, if one policy diverged.

    Args:
        rates: from `choose`.

    Returns:
        A row for each setting, objective, tuning, n and quantity; `finite` is the share of seeds whose policy did not
        diverge.
    """
    at = pl.when(pl.col("tuning") == "fixed").then(pl.col("beta")).alias("at")
    rows = []
    for key, part in rates.with_columns(at).group_by(*GROUP, "at", "n", maintain_order=True):
        named = dict(zip((*GROUP, "at", "n"), key, strict=True))
        del named["at"]
        finite = float(part["forward_kl"].is_finite().to_numpy().mean())
        for quantity in QUANTITIES:
            value, low, high = mean_interval(part[quantity].to_numpy())
            found = {"quantity": quantity, "value": value, "low": low, "high": high, "finite": finite}
            rows.append(named | {"beta": part["beta"].median()} | found)
    return pl.DataFrame(rows)


def slopes(rates: pl.DataFrame, slope_from: int) -> pl.DataFrame:
    """Slopes of log forward KL against log n, and floors at fixed coefficients: of each seed, then averaged.

    A floor is the intercept of forward KL against 1/n over the last five n, weighted by n (their variance falls as 1/n
    near a floor). `exact` is the mean over the same seeds of the population minimiser's forward KL, and `excess` is the
    intercept above it, seed by seed.

    Args:
        rates: from `choose`.
        slope_from: smallest n of the slopes.

    Returns:
        Rows of the table `slopes`.
    """
    at = pl.when(pl.col("tuning") == "fixed").then(pl.col("beta")).alias("at")
    rows = []
    for key, part in rates.with_columns(at).group_by(*GROUP, "at", maintain_order=True):
        *group, beta = key
        named = dict(zip(GROUP, group, strict=True)) | {"beta": beta}
        drawn = part.filter(pl.col("n") > 0)
        if drawn["n"].n_unique() < 3:
            continue
        sizes, table = _by_seed(drawn)
        exact = part.filter(pl.col("n") == 0).sort("seed")["forward_kl"].to_numpy()
        use = sizes >= slope_from
        if use.sum() >= 3:
            with np.errstate(divide="ignore"):
                each = _lines(np.log(sizes[use]), np.log(table[:, use]), np.ones(use.sum()))[0]
            rows.append(named | _row("slope", each, np.nan, int(sizes[use][0])))
        if beta is not None and sizes.size >= 5:
            last = sizes[-5:]
            each = _lines(1 / last, table[:, -5:], last)[1]
            rows.append(named | _row("floor", each, float(exact.mean()), int(last[0])))
            rows.append(named | _row("excess", each - exact, 0.0, int(last[0])))
    return pl.DataFrame(rows, schema=SLOPES.columns)


def mean_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean and 95 % t-interval of independent values.

    Args:
        values: (seeds,).

    Returns:
        Mean, low and high; no interval for fewer than two values, or if one is not finite.

    Example:
        >>> tuple(round(x, 3) for x in mean_interval(np.array([1.0, 2.0, 3.0])))
        (2.0, -0.484, 4.484)
    """
    finite = np.isfinite(values).all()
    mean = float(values.mean()) if values.size else np.nan
    if not finite or values.size < 2:
        return mean, np.nan, np.nan
    half = float(scipy.special.stdtrit(values.size - 1, 0.975) * values.std(ddof=1) / np.sqrt(values.size))
    return mean, mean - half, mean + half


def _row(quantity: str, each: np.ndarray, exact: float, n_from: int) -> dict[str, object]:
    value, low, high = mean_interval(each)
    return {"quantity": quantity, "value": value, "low": low, "high": high, "exact": exact, "n_from": n_from}


def _by_seed(rows: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Sizes (N,) and forward KL (seeds, N)."""
    wide = rows.pivot("n", index="seed", values="forward_kl", sort_columns=False).sort("seed")
    sizes = np.array(sorted(int(c) for c in wide.columns[1:]))
    return sizes.astype(float), wide.select([str(int(n)) for n in sizes]).to_numpy()


def _lines(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slopes and intercepts of weighted least squares of each row of y (B, N) on x (N,)."""
    w = weight / weight.sum()
    with np.errstate(invalid="ignore"):
        mean = y @ w
        slope = ((y - mean[:, None]) * (x - w @ x)) @ w / (w @ (x - w @ x) ** 2)
    return slope, mean - slope * (w @ x)
