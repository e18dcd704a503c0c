"""Contracts of what is computed from scores: policies, the report's numbers, learning, exact values, trained proxies.

Also what a contract of an estimator's result consists of; the estimators' contracts are in `tables/estimates.py`. Types
and further columns are those of the results of `limits`. A contract lists the public columns, in order. The result's
other columns follow them. A new column is a new field of the result and needs no change here.
"""

from collections.abc import Mapping
from typing import Any

import polars as pl

from alignment_limits.ensembles.scores import Columns
from alignment_limits.tables.artifacts import Schema


def contract(name: str, result: type[Columns], public: str, verdicts: Mapping[str, Any], **labels: Any) -> Schema:
    """The contract of a table of a result of `limits`.

    Args:
        name: of the table, for messages.
        result: its class.
        public: the columns whose order is fixed.
        verdicts: columns of verdicts, with the columns that they are about.
        labels: columns that are not from the result, and their types.
    """
    known = result.polars_schema() | labels
    return Schema(name, {column: known[column] for column in public.split()} | known, verdicts)


def with_interval(name: str) -> tuple[str, str, str]:
    """A quantity's column and those of its interval."""
    return name, f"{name}_low", f"{name}_high"


def own_verdicts(*names: str) -> dict[str, tuple[str, ...]]:
    """Columns of verdicts for quantities that have their own."""
    return {f"{name}_reliable": with_interval(name) for name in names}


# Policies compared with the limit: the columns of policies/placement.py (Placement), with labels.
POLICIES = Schema(
    "policies",
    {
        "policy": pl.String,
        "objective": pl.String,
        "optimized": pl.String,
        "coefficient": pl.Float64,
        "seed": pl.Int64,
        "kl": pl.Float64,
        "kl_low": pl.Float64,
        "kl_high": pl.Float64,
        "kl_estimator": pl.String,
        "evaluated": pl.String,
        "gain": pl.Float64,
        "gain_low": pl.Float64,
        "gain_high": pl.Float64,
        "limit": pl.Float64,
        "efficiency": pl.Float64,
        "reliable": pl.Boolean,  # of the row, as of its efficiency
        "limit_reliable": pl.Boolean,
        "efficiency_reliable": pl.Boolean,
        "gain_reliable": pl.Boolean,
        "win_rate_reliable": pl.Boolean,
        "kl_reliable": pl.Boolean,
        "limit_from": pl.String,  # base: the limit is from the base's samples; pool: also from the policy's
    },
    verdicts={
        "reliable": ("limit",),
        "limit_reliable": ("limit",),
        "efficiency_reliable": with_interval("efficiency"),
        **own_verdicts("gain", "win_rate", "kl"),
    },
)

# Gain and KL of policies at each prompt, in base standard deviations and nats per reply.
BY_PROMPT = Schema(
    "by_prompt",
    {
        "policy": pl.String,
        "evaluated": pl.String,
        "prompt_id": pl.String,
        "gain": pl.Float64,
        "kl": pl.Float64,
        "trained": pl.Boolean,  # whether the policy was trained on this prompt; null: not known
    },
)
# Parts of a trained policy's distance from the tilt at its β, in base standard deviations.
GAP = Schema(
    "gap",
    {
        "policy": pl.String,
        "objective": pl.String,
        "optimized": pl.String,
        "coefficient": pl.Float64,
        "seed": pl.Int64,
        "ended": pl.String,
        "part": pl.String,  # total, and what it is the sum of
        "value": pl.Float64,  # NaN: unknown, and within `rest`
        "low": pl.Float64,
        "high": pl.Float64,
        "basis": pl.String,  # estimated, theory, exact, unknown
        "against": pl.String,  # the policy that it is compared with; null: none
        "reliable": pl.Boolean,
        "reason": pl.String,
    },
    verdicts={"reliable": ("value", "low", "high")},
)

# The numbers of the report.
HEADLINE = Schema(
    "headline",
    {
        "group": pl.String,
        "subject": pl.String,
        "quantity": pl.String,
        "value": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "unit": pl.String,
        "reliable": pl.Boolean,
        "note": pl.String,
        "at_least": pl.Float64,  # bounds of a limit, also where it is not reliable
        "at_most": pl.Float64,
    },
)


# Learned policies: all, the chosen ones, and summaries over seeds.
_POLICY = {
    "objective": pl.String,
    "n": pl.Int64,  # pairs; 0 means the population
    "seed": pl.Int64,
    "setting": pl.String,
    "forward_kl": pl.Float64,  # mean over contexts of KL(target‖policy), nats; infinite for a policy that diverged
    "reverse_kl": pl.Float64,  # mean over contexts of KL(policy‖target), nats; NaN for a policy that diverged
    "gain": pl.Float64,  # in nats, for the reward whose tilt of the base at beta = 1 is the target
    "level": pl.Float64,  # of the setting
    "beta": pl.Float64,  # 0: without regularisation
    "held_out": pl.Float64,  # mean log-loss of preferences, each with the policy learned without its fold
    "predicted": pl.Float64,  # forward_kl to first order, without regularisation
}
SWEEP = Schema("sweep", _POLICY)
RATES = Schema("rates", _POLICY | {"tuning": pl.String})  # none, fixed, oracle, held-out
LEARNING_SUMMARY = Schema(
    "learning_summary",
    {
        "setting": pl.String,
        "level": pl.Float64,
        "objective": pl.String,
        "tuning": pl.String,
        "beta": pl.Float64,  # the median over seeds
        "n": pl.Int64,
        "quantity": pl.String,  # forward_kl, reverse_kl, gain, predicted
        "value": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "finite": pl.Float64,  # share of seeds whose policy did not diverge
    },
)
SLOPES = Schema(
    "slopes",
    {
        "setting": pl.String,
        "level": pl.Float64,
        "objective": pl.String,
        "tuning": pl.String,
        "beta": pl.Float64,
        # slope: of log forward KL against log n; floor: forward KL as n grows at a fixed beta; excess: above exact
        "quantity": pl.String,
        "value": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "exact": pl.Float64,  # the population minimiser's floor
        "n_from": pl.Int64,
    },
)
GAMMA = Schema(
    "gamma",
    {
        "dimension": pl.Int64,  # of the reward class that gamma was estimated with
        "n": pl.Int64,
        "seed": pl.Int64,
        "gamma": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "identified": pl.Boolean,
    },
)

# Exact values next to estimates, and log-probabilities of every reply.
# and a column for each policy: log π(y|x) of every reply
EXACT_POLICIES = Schema("exact_policies", {"prompt_id": pl.String, "sample_id": pl.Int32})

VALUES = {
    "quantity": pl.String,
    "estimate": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "exact": pl.Float64,
    "population": pl.Float64,
    "holds_exact": pl.Boolean,
    "holds_population": pl.Boolean,
}
_PAIR = {"optimized": pl.String, "evaluated": pl.String}
EXACT_FRONTIER = Schema(
    "exact_frontier",
    _PAIR
    | {"samples_from": pl.String, "at": pl.String, "budget": pl.String}
    | {"beta": pl.Float64, "kl": pl.Float64, "reliable": pl.Boolean}
    | VALUES,
)
EXACT_BEST_OF_N = Schema(
    "exact_best_of_n",
    {"method": pl.String}
    | _PAIR
    | {"budget": pl.String, "n": pl.Int32, "temperature": pl.Float64, "reliable": pl.Boolean}
    | VALUES,
)
EXACT_OF_POLICIES = Schema(
    "exact_of_policies",
    {
        "policy": pl.String,
        "objective": pl.String,
        "optimized": pl.String,
        "coefficient": pl.Float64,
        "seed": pl.Int64,
        "evaluated": pl.String,
        "reliable": pl.Boolean,
    }
    | VALUES,
)

# How far policies are from the target of a study's preferences.
_LABELS = {
    "policy": pl.String,
    "objective": pl.String,
    "optimized": pl.String,
    "coefficient": pl.Float64,
    "seed": pl.Int64,
    "setting": pl.String,
    "pairs": pl.Int64,
    "reward": pl.String,
    "beta": pl.Float64,
}
# quantity: forward_kl KL(target‖policy), reverse_kl KL(policy‖target); π₀ is the policy `base`
TARGETS = Schema(
    "targets",
    _LABELS
    | {
        "quantity": pl.String,
        "estimate": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "plugin": pl.Float64,
        "ess": pl.Float64,
        "ess_least": pl.Float64,
        "ess_share": pl.Float64,
        "pareto_k": pl.Float64,
        "reliable": pl.Boolean,
        "reason": pl.String,
    },
)
EXACT_TARGETS = Schema("exact_targets", _LABELS | {"reliable": pl.Boolean} | VALUES)

# The cost of proxies of different quality.
PROXIES = Schema(
    "proxies",
    {
        "labels": pl.Int32,
        "member": pl.Int32,
        "beta": pl.Float64,
        "error_variance": pl.Float64,
        "spearman": pl.Float64,
        "gap": pl.Float64,
        "gap_low": pl.Float64,
        "gap_high": pl.Float64,
        "gap_predicted": pl.Float64,
        "reliable": pl.Boolean,  # of the gap
        "gold_gain_at_kl": pl.Float64,
        "at_kl": pl.Float64,
        "gold_gain_at_kl_reliable": pl.Boolean,
    },
    verdicts={"reliable": ("gap", "gap_low", "gap_high"), "gold_gain_at_kl_reliable": ("gold_gain_at_kl",)},
)
PROXY_ONSETS = Schema(
    "proxy_onsets",
    {
        "labels": pl.Int32,
        "member": pl.Int32,
        "path": pl.String,  # tilt or best-of-n
        "peak": pl.Float64,  # in nats or draws, like its interval and `end`
        "peak_low": pl.Float64,
        "peak_high": pl.Float64,
        "gain": pl.Float64,
        "drop": pl.Float64,
        "drop_low": pl.Float64,
        "drop_high": pl.Float64,
        "end": pl.Float64,
        "found": pl.Boolean,
        "reason": pl.String,
    },
)
PROXY_ENSEMBLES = Schema(
    "proxy_ensembles",
    {
        "shared": pl.String,  # shared by members: labels, features, neither
        "aggregator": pl.String,
        "k": pl.Int32,
        "beta": pl.Float64,
        "rho": pl.Float64,
        "rho_low": pl.Float64,
        "rho_high": pl.Float64,
        "gap": pl.Float64,
        "gap_low": pl.Float64,
        "gap_high": pl.Float64,
        "saved": pl.Float64,  # gap of single members minus this one, on the same prompts
        "saved_low": pl.Float64,
        "saved_high": pl.Float64,
        "gap_predicted": pl.Float64,
        "gap_floor": pl.Float64,
        "reliable": pl.Boolean,  # of the gap
        "gold_gain_at_kl": pl.Float64,
        "at_kl": pl.Float64,
        "gold_gain_at_kl_reliable": pl.Boolean,
    },
    verdicts={"reliable": ("gap", "gap_low", "gap_high"), "gold_gain_at_kl_reliable": ("gold_gain_at_kl",)},
)
