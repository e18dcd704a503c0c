"""The exact value of what each row of the study's tables estimates.

A row of `frontier.parquet`, `best_of_n.parquet` or `policies.parquet` names a law over replies (a tilt, a way of
picking, a policy) and a reward; its exact values are sums over all replies (theory §8).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from alignment_limits.enumerable import laws
from alignment_limits.enumerable.values import Limit, gain, kl, limit, win_rate
from alignment_limits.errors import EstimateError
from alignment_limits.limits.arrays import Array

Row = Mapping[str, Any]
Values = dict[str, float]


@dataclass(frozen=True)
class Everything:
    """All replies to some prompts: log π₀, every reward and ensemble, and log π of every policy, each [p, R]."""

    base: Array
    rewards: Mapping[str, Array]
    policies: Mapping[str, Array] = field(default_factory=dict)
    _limits: dict[Any, Limit] = field(default_factory=dict)
    _picks: dict[Any, Array] = field(default_factory=dict)

    def limit(self, reward: str, budget: Any, convention: str) -> Limit:
        """The limit of a reward at a budget; each is looked for once."""
        key = reward, convention, np.asarray(budget).tobytes()
        if key not in self._limits:
            self._limits[key] = limit(self.base, self.rewards[reward], budget, convention)
        return self._limits[key]

    def frontier(self, row: Row) -> Values:
        """Of a row of the frontier: at a temperature its KLs and gain, at a budget its temperature and gain."""
        evaluated = self.rewards[row["evaluated"]]
        if row["at"] == "beta":
            law = laws.tilt(self.base, self.rewards[row["optimized"]], row["beta"])
            spent = {"kl": _mean(kl(law, self.base)), "kl_reverse": _mean(kl(self.base, law))}
            return spent | {"gain": _mean(gain(law, self.base, evaluated))}
        found = self.limit(row["optimized"], row["kl"], row["budget"])
        return {"beta": found.beta, "gain": _mean(gain(found.law, self.base, evaluated))}

    def best_of_n(self, row: Row) -> Values:
        """Of a row of best-of-n or a relative: KL, gain, win rate, and what share of the limit that is."""
        law, evaluated = self._pick(row), self.rewards[row["evaluated"]]
        spent, gained = kl(law, self.base), _mean(gain(law, self.base, evaluated))
        best = self.limit(row["evaluated"], spent, row["budget"])
        most = _mean(gain(best.law, self.base, evaluated))
        tilted = self.limit(row["optimized"], spent, row["budget"])
        return {
            "kl": _mean(spent),
            "gain": gained,
            "win_rate": _mean(win_rate(law, self.base, evaluated)),
            "limit": most,
            "tilt_gain": _mean(gain(tilted.law, self.base, evaluated)),
            "efficiency": gained / most if most > 0 else np.nan,
        }

    def policy(self, row: Row) -> Values:
        """Of a row of the policies; `regret` is how far below its own optimum its training ended: 𝒥(π_β) − 𝒥(π)."""
        law, reward = self.policies[row["policy"]], self.rewards[row["evaluated"]]
        spent, gained = kl(law, self.base), _mean(gain(law, self.base, reward))
        best = self.limit(row["evaluated"], spent, "average")
        most = _mean(gain(best.law, self.base, reward))
        values = {
            "kl": _mean(spent),
            "kl_log_ratio": _mean(spent),
            "gain": gained,
            "limit": most,
            "efficiency": gained / most if most > 0 else np.nan,
            "optimality_gap": _mean(kl(law, best.law)),
            "win_rate": _mean(win_rate(law, self.base, reward)),
        }
        if row["coefficient"] is not None and row["optimized"] == row["evaluated"]:
            optimum = laws.tilt(self.base, reward, row["coefficient"])
            values["regret"] = row["coefficient"] * _mean(kl(law, optimum))
        return values

    def _pick(self, row: Row) -> Array:
        key = tuple(row[name] for name in ("method", "optimized", "n", "temperature"))
        if key not in self._picks:
            self._picks[key] = self._picked(*key)
        return self._picks[key]

    def _picked(self, method: str, optimized: str, n: int, temperature: float) -> Array:
        reward = self.rewards[optimized]
        match method:
            case "best-of-n":
                return laws.best_of_n(self.base, reward, n)
            case "best-of-poisson":
                return laws.best_of_poisson(self.base, reward, n - 1.0)
            case "soft-best-of-n":
                return laws.soft_best_of_n(self.base, reward, n, temperature)
            case "chi2-pessimism":
                return laws.chi2_pessimism(self.base, reward, temperature)
        raise EstimateError(f"no exact law is known for the method '{method}'")


def _mean(values: Array) -> float:
    return float(values.mean())
