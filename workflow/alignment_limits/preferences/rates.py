"""How far maximum likelihood is from its target to first order: E forward KL ≈ c/n, c in closed form.

From every policy learned to the chosen ones, their means over seeds, and how fast they close in.

Coefficients are chosen in two ways. `oracle`: one for each n, of least mean forward KL over the seeds, which takes
the target to know. `held-out`: each seed's own, of least log-loss on held-out pairs, which takes nothing but data.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from scipy.special import stdtrit

from alignment_limits.tables.schemas.learning import SLOPES


def first_order(
    log_target: np.ndarray, table: np.ndarray, wins: np.ndarray, *, gamma: float, features: np.ndarray | None = None
) -> float:
    """c of E_x KL(π*‖π̂) ≈ c/n for π̂ = e^{R̂/γ}, R̂ the Bradley-Terry rewards fitted to n pairs of the model.

    Half the trace of the Fisher information of a response over that of a pair, divided by γ²: what plays the part of
    [B]'s C_Π/γ² and log|Π| here. Infinite where the pair sampler never compares some responses.

    Args:
        log_target: log π* (X, Y).
        table: P(a ≻ b) (X, Y, Y).
        wins: expected wins (X, Y, Y) of one pair in all contexts together.
        features: (X, Y, D) in which R̂ is linear; without it, every response has its own reward.
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
    """Rows of the sweep without regularisation, at fixed coefficients, and at those chosen for each n.

    Of equally good coefficients (all infinitely far, say) the largest is taken. The population has no pairs to hold
    out.
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
    """Means over seeds with 95% t-intervals; a mean is infinite, without interval, when one policy ran away."""
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
    """Slopes of log forward KL against log n, and floors at fixed coefficients, each seed's own, then averaged.

    A floor is the intercept of forward KL against 1/n over the last five n, weighted by n (their variance falls as
    1/n near a floor); `exact` is the mean over the same seeds of the population minimiser's, and `excess` the
    intercept above it, seed by seed.
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
    """Mean and 95% t-interval of independent values; no interval for fewer than two, or if one is not finite."""
    finite = np.isfinite(values).all()
    mean = float(values.mean()) if values.size else np.nan
    if not finite or values.size < 2:
        return mean, np.nan, np.nan
    half = float(stdtrit(values.size - 1, 0.975) * values.std(ddof=1) / np.sqrt(values.size))
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
