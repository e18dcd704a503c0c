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
                            "win_rate": _wins(c, n) if n < 64 else math.nan,
                            "win_rate_low": _wins(c, n) - 0.01,
                            "win_rate_high": _wins(c, n) + 0.01,
                            "efficiency_low": efficiency * (1 - half),
                            "efficiency_high": efficiency * (1 + half),
                            "budget": budget,
                            "prompts": 64,
                            "limit_low": limit * (1 - half),
                            "limit_high": limit * (1 + half),
                            "gain_reliable": True,
                            "kl_reliable": True,
                            "win_rate_reliable": n < 64,
                            "limit_reliable": reliable,
                            "efficiency_reliable": reliable and n > 1,
                            "reliable": reliable and n > 1,
                            "reason": "" if reliable and n > 1 else "n above M/8" if n > 1 else "no limit",
                            **{f"{q}_reason": "" for q in ("gain", "kl", "win_rate")},
                            **{f"{q}_reason": "" if reliable else "n above M/8" for q in ("limit", "efficiency")},
                        }
                    )
    return pl.DataFrame(rows, schema_overrides={"temperature": pl.Float64, "n": pl.Int32})


def _wins(rho: float, n: int) -> float:
    """Of best-of-n by a reward itself n / (n + 1), shrunk towards a half by the correlation."""
    return 0.5 + rho * (n / (n + 1) - 0.5)


def relatives(*, gold: str = "gold", half: float = 0.03) -> pl.DataFrame:
    """Soft best-of-n, best-of-Poisson and chi-squared pessimism by gold; pessimism is not reliable at beta 0.5."""
    own = best_of_n(gold=gold).filter((pl.col("optimized") == gold) & (pl.col("n") == 4))
    settings = [("soft-best-of-n", 2, 0.5), ("soft-best-of-n", 4, 0.5), ("soft-best-of-n", 2, 1.0)]
    settings += [("best-of-poisson", 2, None), ("best-of-poisson", 4, None)]
    settings += [("chi2-pessimism", None, 2.0), ("chi2-pessimism", None, 0.5)]
    parts = []
    for i, (method, n, temperature) in enumerate(settings):
        kl, share = 0.1 + 0.1 * i, 0.93 + 0.005 * i
        told = temperature != 0.5 or n is not None
        parts.append(
            own.with_columns(
                method=pl.lit(method),
                n=pl.lit(n, dtype=pl.Int32),
                temperature=pl.lit(temperature, dtype=pl.Float64),
                kl=pl.lit(kl),
                gain=pl.col("limit") * share,
                efficiency=pl.lit(share),
                efficiency_low=pl.lit(share - half),
                efficiency_high=pl.lit(share + half),
                win_rate=pl.lit(0.5 + 0.33 * math.sqrt(kl)),
                win_rate_low=pl.lit(0.49 + 0.33 * math.sqrt(kl)),
                win_rate_high=pl.lit(0.51 + 0.33 * math.sqrt(kl)),
                reliable=pl.lit(told),
                efficiency_reliable=pl.lit(told),
                reason=pl.lit("" if told else "too few samples"),
                efficiency_reason=pl.lit("" if told else "too few samples"),
            )
        )
    return pl.concat(parts)


def over_optimisation(
    *, peaked: tuple[str, ...] = ("vader",), misfit: tuple[str, ...] = ("minilm",), opposed: tuple[str, ...] = ()
) -> pl.DataFrame:
    """Both paths of every proxy and ensemble; gold of the `peaked` ones turns at 0.5 nats and at n = 5.

    Under the `opposed` ones it falls from the start.
    """
    rows = []
    for name, rho in {**RHO, **ENSEMBLES}.items():
        for path, unit, form, at, end in (
            ("tilt", "nats", "policy", 0.5, 2.0),
            ("best-of-n", "draws", "best-of-n", 5.0, 64.0),
        ):
            found, fits, against = name in peaked, name not in misfit, name in opposed
            change = 0.1 if found else -0.3 if against else 0.4
            reason = f"gold still rises at the end of the path ({end:g} {unit})"
            if against:
                reason = f"opposed to gold: gold falls from the start, and is below the base by {end:g} {unit}"
            rows.append(
                {
                    "optimized": name,
                    "path": path,
                    "unit": unit,
                    "peak": at if found else math.nan,
                    "peak_low": 0.7 * at if found else math.nan,
                    "peak_high": 1.4 * at if found else math.nan,
                    "finding": "over-optimisation" if found else "opposed to gold" if against else "neither",
                    "gain": 0.2 if found else 0.0 if against else 0.4,
                    "gain_low": 0.1 if found else -0.01 if against else 0.3,
                    "gain_high": 0.3 if found else 0.01 if against else 0.5,
                    "drop": 0.1 if found else 0.3 if against else 0.0,
                    "drop_low": 0.05 if found else 0.2 if against else 0.0,
                    "drop_high": 0.15 if found else 0.4 if against else 0.0,
                    "change": change,
                    "change_low": change - 0.1,
                    "change_high": change + 0.1,
                    "end": end,
                    "prompts": 64,
                    "found": found,
                    "reason": "" if found else reason,
                    "form": form,
                    "alpha": 1.4 * rho,
                    "alpha_low": 1.3 * rho,
                    "alpha_high": 1.5 * rho,
                    "beta": 0.1,
                    "beta_low": 0.05,
                    "beta_high": 0.15,
                    "residual": 0.01,
                    "fit_from": 0.2,
                    "fit_to": 2.5,
                    "peak_kl": math.nan,
                    "fit_reliable": fits,
                    "fit_reason": "" if fits else "the fit deviates from the path by 7% of its largest gain",
                }
            )
    return pl.DataFrame(rows)


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
            "unknown_share": [0.0] * prompts,
        }
    )


def policies(evaluated: tuple[str, ...] = ("gold", "vader")) -> pl.DataFrame:
    """Four policies: a sweep of two at 0.8 of the limit, the base itself, and one of infinite KL."""
    named = [("ppo-a", "ppo", 0.5, 0.8), ("ppo-b", "ppo", 1.2, 0.8), ("still", None, 0.0, math.nan)]
    rows = []
    for reward in evaluated:
        for policy, objective, kl, share in [*named, ("cut", None, math.inf, math.nan)]:
            limit = math.sqrt(2 * kl) if kl < math.inf else math.nan
            gain = 0.4 if kl == math.inf else share * limit if kl else 0.01
            reason = "" if 0 < kl < math.inf else "no KL to speak of" if kl == 0 else "infinite KL"
            row = {
                "policy": policy, "objective": objective, "optimized": "gold" if objective else None,
                "coefficient": 0.1 if objective else None, "seed": None, "kl_estimator": "rao-blackwell",
                "evaluated": reward, "limit": limit, "reliable": not reason, "reason": reason,
                "kl_infinite": 0.25 if kl == math.inf else 0.0, "truncation_rate": 0.5, "mean_tokens": 12.5,
                "logprob_deviation": 3.4e-5,
                "note": "LORA adapter" if objective else "", "beta": 1.0,
            }  # fmt: skip
            shown = {"kl": kl, "kl_log_ratio": kl - 0.02, "gain": gain, "efficiency": share, "win_rate": 0.6,
                     "optimality_gap": 0.1}  # fmt: skip
            for name, value in shown.items():
                row |= {name: value, f"{name}_low": value - 0.05, f"{name}_high": value + 0.05}
            row |= dict.fromkeys(("gain_reliable", "win_rate_reliable"), True)
            row |= dict.fromkeys(("kl_reliable", "kl_log_ratio_reliable"), kl < math.inf)
            if kl == math.inf:
                row |= {"kl_low": math.nan, "kl_high": math.nan}
            rows.append(row)
    return pl.DataFrame(rows, schema_overrides={"objective": pl.String, "seed": pl.Int64})
