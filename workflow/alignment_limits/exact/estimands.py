"""The exact value of each estimate in the study's tables, next to the estimate.

A row of `frontier.parquet`, `best_of_n.parquet` or `policies.parquet` names a law over replies (a tilt, a way of
picking, a policy) and a reward. Its exact values are sums over all replies (docs/theory.md, "Worlds with known
answers"). Distances to a target that is a tilt of the base are among them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from alignment_limits.ensembles.scales import aggregate, apply_standardisation
from alignment_limits.ensembles.scores import Array
from alignment_limits.errors import ArtifactError, EstimateError
from alignment_limits.exact import laws
from alignment_limits.exact.laws import Limit, gain, kl, limit, mean, win_rate
from alignment_limits.exact.optima import per_token_optimum
from alignment_limits.study.objectives import counts
from alignment_limits.tables.grid import Grid
from alignment_limits.tables.schemas.limits import EXACT_TARGETS, VALUES

Row = Mapping[str, Any]
Values = dict[str, float]


@dataclass(frozen=True)
class Everything:
    """All replies to some prompts, R of them to each.

    Attributes:
        base: log π₀ [p, R].
        rewards: every reward and ensemble [p, R].
        policies: log π of every policy [p, R].
        tokens: token ids of every reply [R]; needed for `objective_gap` only.
    """

    base: Array
    rewards: Mapping[str, Array]
    policies: Mapping[str, Array] = field(default_factory=dict)
    tokens: Sequence[Sequence[int]] | None = None
    _limits: dict[Any, Limit] = field(default_factory=dict)
    _picks: dict[Any, Array] = field(default_factory=dict)

    def limit(self, reward: str, budget: Any, convention: str) -> Limit:
        """The limit of a reward at a budget; each is computed once.

        Args:
            reward: its name.
            budget, convention: as for `laws.limit`.

        Returns:
            The law and its β.
        """
        key = reward, convention, np.asarray(budget).tobytes()
        if key not in self._limits:
            self._limits[key] = limit(self.base, self.rewards[reward], budget, convention)
        return self._limits[key]

    def frontier(self, row: Row) -> Values:
        """Exact values of a row of the frontier.

        Args:
            row: with `at`, `optimized`, `evaluated`, `budget` and its temperature or KL; at a level of tempered
                sampling, its temperature.

        Returns:
            At a temperature `kl`, `kl_reverse` (nats) and `gain`; at a budget `beta` and `gain`.
        """
        evaluated = self.rewards[row["evaluated"]]
        if row["at"] in ("beta", "level"):
            law = laws.tilt(self.base, self.rewards[row["optimized"]], row["beta"])
            spent = {"kl": _mean(kl(law, self.base)), "kl_reverse": _mean(kl(self.base, law))}
            return spent | {"gain": _mean(gain(law, self.base, evaluated))}
        found = self.limit(row["optimized"], row["kl"], row["budget"])
        return {"beta": found.beta, "gain": _mean(gain(found.law, self.base, evaluated))}

    def best_of_n(self, row: Row) -> Values:
        """Exact values of a row of best-of-n or of a relative.

        Args:
            row: with `method`, `optimized`, `evaluated`, `budget`, `n` and `temperature`.

        Returns:
            `kl` (nats), `gain`, `win_rate`, `limit`, `tilt_gain` and `efficiency`.
        """
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
        """Exact values of a row of the policies.

        Args:
            row: with `policy`, `evaluated`, `optimized` and `coefficient`.

        Returns:
            The quantities of the table `policies`. For the reward that the policy was trained on also `regret`, the
            distance of training from its own optimum: 𝒥(π_β) − 𝒥(π). For GRPO also `objective_gap`, the distance of
            the objective's own optimum: 𝒥(π_β) − 𝒥(π_GRPO).
        """
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
        if row["coefficient"] is not None and row["optimized"] == row["evaluated"] and not counts(row.get("objective")):
            optimum = laws.tilt(self.base, reward, row["coefficient"])
            values["regret"] = row["coefficient"] * _mean(kl(law, optimum))
            if row.get("objective") == "grpo" and self.tokens is not None:
                own = per_token_optimum(self.base, reward, row["coefficient"], self.tokens)
                values["objective_gap"] = row["coefficient"] * _mean(kl(own, optimum))
        return values

    def _pick(self, row: Row) -> Array:
        key = tuple(row[name] for name in ("method", "optimized", "n", "temperature"))
        if key not in self._picks:
            self._picks[key] = self._picked(*key)
        return self._picks[key]

    def _picked(self, method: str, optimized: str, n: float, temperature: float) -> Array:
        if method not in laws.WAYS_OF_CHOOSING:
            raise EstimateError(f"no exact law is known for the method '{method}'")
        return laws.WAYS_OF_CHOOSING[method](self.base, self.rewards[optimized], n, temperature)


def _mean(values: Array) -> float:
    return float(values.mean())


ROUNDING = 1e-6  # models are read in float32 by the pipeline, in float64 here


def on_study_scale(
    base: Array,
    scores: Mapping[str, Array],
    scales: Mapping[str, float],
    ensembles: Mapping[str, Mapping[str, Any]],
) -> dict[str, Array]:
    """Rewards and ensembles of every reply, centred by their exact means, in the study's units.

    A unit is the spread that the study found on its samples, a number on record. So exact values and estimates have one
    unit. Ensembles consist of exactly centred members.

    Args:
        base: log π₀ [p, R].
        scores: of every reply [p, R], by name.
        scales: unit of each reward and ensemble.
        ensembles: members, aggregator and penalty of each.

    Returns:
        Rewards and ensembles [p, R] by name, in base standard deviations.
    """
    out: dict[str, Array] = {}
    for name, score in scores.items():
        out[name] = apply_standardisation(score, mean(base, score), scales[name], name=name)
    for name, e in ensembles.items():
        members = np.stack([out[member] for member in e["members"]])
        combined = aggregate(members, e["aggregator"], coefficient=e["penalty"])
        out[name] = apply_standardisation(combined, mean(base, combined), scales[name], name=name)
    return out


def beside(
    table: pl.DataFrame,
    keys: Sequence[str],
    exact: Callable[[Everything], Callable[[Row], Values]],
    own: Everything,
    population: Everything,
) -> pl.DataFrame:
    """Each quantity of each row: its estimate and interval, its exact value, and whether the interval contains it.

    Args:
        table: of estimates.
        keys: columns that identify a row.
        exact: which values of `Everything` are compared.
        own: the study's prompts.
        population: all prompts of its source, which an interval is about.

    Returns:
        One row for each row of the table and quantity.
    """
    rows = []
    for row in table.iter_rows(named=True):
        here, everywhere = exact(own)(row), exact(population)(row)
        for quantity, value in here.items():
            estimate, low, high = (_number(row, f"{quantity}{end}") for end in ("", "_low", "_high"))
            rows.append(
                {
                    **{key: row[key] for key in keys},
                    "quantity": quantity,
                    "estimate": estimate,
                    "low": low,
                    "high": high,
                    "exact": value,
                    "population": everywhere[quantity],
                    "holds_exact": _holds(low, value, high),
                    "holds_population": _holds(low, everywhere[quantity], high),
                }
            )
    types = {key: table.schema[key] for key in keys} | {"holds_exact": pl.Boolean, "holds_population": pl.Boolean}
    return pl.DataFrame(rows, schema_overrides=types, infer_schema_length=None)


def _number(row: Row, name: str) -> float:
    value = row.get(name)
    return np.nan if value is None else float(value)


def _holds(low: float, value: float, high: float) -> bool | None:
    """Whether the interval contains the value; None where there is no interval."""
    return low - ROUNDING <= value <= high + ROUNDING if np.isfinite([low, value, high]).all() else None


def every_reply(table: pl.DataFrame, column: str, prompt_ids: Sequence[str]) -> Array:
    """A column of a long table of all replies as an array.

    Args:
        table: with prompt_id, sample_id and the column.
        column: its name.
        prompt_ids: prompts in the order wanted.

    Returns:
        [p, R], in units of the column.

    Raises:
        ArtifactError: a prompt or a reply is missing.

    Example:
        >>> table = pl.DataFrame({"prompt_id": ["a", "a"], "sample_id": [0, 1], "score": [0.5, 1.5]})
        >>> every_reply(table, "score", ["a"]).tolist()
        [[0.5, 1.5]]
    """
    grid = Grid.of(table)
    array, place = grid.array(table[column]), {name: i for i, name in enumerate(grid.prompt_ids)}
    absent = [name for name in prompt_ids if name not in place]
    if absent or np.isnan(array).any():
        raise ArtifactError(f"not every reply of every prompt is there (prompts missing: {absent[:3]}); run again")
    return np.asarray(array[[place[name] for name in prompt_ids]])


KEYS = [column for column in EXACT_TARGETS.columns if column not in VALUES]


def distances(of: Everything, row: Row) -> Values:
    """KL(target‖policy) and KL(policy‖target), nats, means over prompts.

    Args:
        of: all replies.
        row: of the table `targets`; a policy that is not listed is the base.

    Returns:
        `forward_kl` and `reverse_kl`.

    Example:
        >>> half = np.log([[0.5, 0.5]])
        >>> row = {"reward": "gold", "beta": 1.0, "policy": "base"}
        >>> round(distances(Everything(half, {"gold": np.log([[1.0, 3.0]])}), row)["forward_kl"], 3)
        0.131

    References:
        docs/theory.md, "Distances to the target".
    """
    target = laws.tilt(of.base, of.rewards[row["reward"]], row["beta"])
    law = of.policies.get(row["policy"], of.base)
    return {"forward_kl": float(kl(target, law).mean()), "reverse_kl": float(kl(law, target).mean())}


def exact_targets(targets: pl.DataFrame, own: Everything, population: Everything) -> pl.DataFrame:
    """The table `targets` with the exact value of every row.

    Args:
        targets: the table of estimates.
        own, population: as for `beside`.

    Returns:
        As `beside`.
    """
    parts = []
    for quantity in targets["quantity"].unique(maintain_order=True):
        rows = targets.filter(pl.col("quantity") == quantity)
        named = rows.rename({"estimate": quantity, "low": f"{quantity}_low", "high": f"{quantity}_high"})
        parts.append(beside(named, KEYS, partial(_one, quantity), own, population))
    return pl.concat(parts)


def _one(quantity: str, of: Everything) -> Callable[[Row], Values]:
    return lambda row: {quantity: distances(of, row)[quantity]}
