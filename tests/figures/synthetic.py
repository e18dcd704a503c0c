"""Tables of a world with known answers: Gaussian gold, proxies correlated with it, in the contract's columns.

Gold has frontier √(2κ) (base standard deviations, nats); a proxy of correlation ρ gains ρ√(2κ) − dκ in gold,
where d > 0 lets gold peak at κ = (ρ/d)²/2. Best-of-n gains the expected maximum of n normals.
"""

from __future__ import annotations

import math

import numpy as np
import polars as pl

RHO = {"toxic-comment-classifier": 0.93, "alt-profanity": 0.6, "minilm": 0.5, "vader": 0.3}
ENSEMBLES = {"mean-of-all": 0.78, "minimum-of-all": 0.7, "median-of-all": 0.66}
MEMBERS = {name: list(RHO) for name in ENSEMBLES}
KLS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0)
BETAS = (8.0, 4.0, 2.0, 1.5, 1.0, 0.75, 0.5)
LOG_M = math.log(64)


def frontier(
    *,
    gold: str = "gold",
    half: float = 0.06,
    reach: float = 2.0,
    unreachable: float = 2.6,
    decay: dict[str, float] | None = None,
    spread: float = 0.93,
) -> pl.DataFrame:
    """Frontier rows; reliable up to `reach`, NaN past `unreachable`, intervals of ± `half` (relative)."""
    decay = {"vader": 0.2} if decay is None else decay
    rho = {gold: 1.0, **RHO, **ENSEMBLES}
    rows = []
    for name, r in rho.items():
        for evaluated in {name, gold}:
            c = 1.0 if evaluated == name else r
            d = 0.0 if evaluated == name else decay.get(name, 0.0)
            for budget, factor in (("average", 1.0), ("per-prompt", spread)):
                for kl in KLS:
                    gain = factor * c * math.sqrt(2 * kl) - d * kl if kl <= unreachable else math.nan
                    rows.append(_row(name, evaluated, budget, "kl", 1 / math.sqrt(2 * kl), kl, gain, half, reach))
                for beta in BETAS:
                    kl = 0.5 / beta**2
                    gain = c / beta - d * kl
                    rows.append(_row(name, evaluated, budget, "beta", beta, kl, gain, half, reach))
    return pl.DataFrame(rows)


def _row(
    optimized: str,
    evaluated: str,
    budget: str,
    at: str,
    beta: float,
    kl: float,
    gain: float,
    half: float,
    reach: float,
) -> dict[str, object]:
    width = half * (0.3 + abs(gain))
    reliable = kl <= reach
    return {
        "optimized": optimized,
        "evaluated": evaluated,
        "budget": budget,
        "beta": beta,
        "kl": kl,
        "kl_low": kl * (1 - half),
        "kl_high": kl * (1 + half),
        "kl_reverse": kl,
        "gain": gain,
        "gain_low": gain - width,
        "gain_high": gain + width,
        "gain_plugin": gain * (1.0 if at == "beta" else 0.97),
        "ess": 64 * math.exp(-kl),
        "pareto_k": 0.3 + 0.2 * kl,
        "reliable": reliable,
        "at": at,
        "reason": "" if reliable else "ESS below 10",
        "log_m": LOG_M,
    }


def expected_max(n: int) -> float:
    """E max of n standard normals, by quadrature."""
    x = np.linspace(-9, 9, 20001)
    density = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    cdf = np.cumsum(density) * (x[1] - x[0])
    return float(np.sum(x * n * density * np.clip(cdf, 0, 1) ** (n - 1)) * (x[1] - x[0]))


def best_of_n(
    *, gold: str = "gold", half: float = 0.05, share: float | None = None, spread: float = 0.93
) -> pl.DataFrame:
    """Best-of-n rows of all pairs; `share` overrides the true share of the average limit."""
    rho = {gold: 1.0, **RHO, **ENSEMBLES}
    rows = []
    for name, r in rho.items():
        for evaluated in {name, gold}:
            c = 1.0 if evaluated == name else r
            for n in (1, 2, 4, 8, 16, 32, 64):
                kl = math.log(n) - (n - 1) / n
                for budget, factor in (("average", 1.0), ("per-prompt", spread)):
                    limit = factor * math.sqrt(2 * kl)
                    gain = 0.95 * spread * c * expected_max(n) if share is None else share * math.sqrt(2 * kl)
                    efficiency = gain / limit if n > 1 else math.nan
                    reliable = n <= 8
                    rows.append(
                        {
                            "method": "best-of-n",
                            "optimized": name,
                            "evaluated": evaluated,
                            "n": n,
                            "temperature": None,
                            "kl": kl,
                            "kl_bound": kl,
                            "gain": gain,
                            "gain_low": gain * (1 - half),
                            "gain_high": gain * (1 + half),
                            "limit": limit,
                            "efficiency": efficiency,
                            "kl_low": kl * 0.97,
                            "kl_high": kl,
                            "win_rate": n / (n + 1),
                            "efficiency_low": efficiency * (1 - half),
                            "efficiency_high": efficiency * (1 + half),
                            "budget": budget,
                            "reliable": reliable,
                            "reason": "" if reliable else "n above M/8",
                        }
                    )
    return pl.DataFrame(rows, schema_overrides={"temperature": pl.Float64, "n": pl.Int32})


def standardised(*, prompts: int = 24, samples: int = 64, gold: str = "gold", seed: int = 0) -> pl.DataFrame:
    """Standardised scores: gold skewed to the left, proxies correlated with it, one of them with an atom."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((prompts, samples))
    columns: dict[str, np.ndarray] = {gold: -np.expm1(-0.7 * z)}
    for name, rho in {**RHO, **ENSEMBLES}.items():
        columns[name] = rho * z + math.sqrt(1 - rho**2) * rng.standard_normal((prompts, samples))
    columns["vader"] = np.where(np.abs(columns["vader"]) < 0.6, 0.0, columns["vader"])
    ids = [(f"p{i:03d}", j) for i in range(prompts) for j in range(samples)]
    table = {"prompt_id": [i for i, _ in ids], "sample_id": [j for _, j in ids]}
    for name, values in columns.items():
        centred = values - values.mean(axis=1, keepdims=True)
        table[name] = (centred / centred.std()).ravel().tolist()
    return pl.DataFrame(table, schema_overrides={"sample_id": pl.Int32})


def scales(*, gold: str = "gold", prompts: int = 24) -> pl.DataFrame:
    """Scale 2.5 native units for gold, 1 for the others."""
    return pl.DataFrame(
        [
            {"reward": name, "prompt_id": f"p{i:03d}", "centre": 0.0, "scale": 2.5 if name == gold else 1.0}
            for name in (gold, *RHO)
            for i in range(prompts)
        ]
    )


def summary(*, prompts: int = 24) -> pl.DataFrame:
    """What the sampler says about each prompt."""
    return pl.DataFrame(
        {
            "prompt_id": [f"p{i:03d}" for i in range(prompts)],
            "n_samples": [64] * prompts,
            "truncation_rate": [0.75] * prompts,
            "distinct_share": [0.98] * prompts,
            "mean_tokens": [18.0] * prompts,
            "mean_logprob": [-40.0] * prompts,
        }
    )
