"""Learning from preferences: every policy learned, the chosen ones, and what they come to over seeds."""

import polars as pl

from alignment_limits.artifacts import Schema

_POLICY = {
    "objective": pl.String,
    "n": pl.Int64,  # pairs; 0 stands for the population
    "seed": pl.Int64,
    "setting": pl.String,
    "forward_kl": pl.Float64,  # mean over contexts of KL(target‖policy), nats; infinite for a policy that ran away
    "reverse_kl": pl.Float64,  # mean over contexts of KL(policy‖target), nats; NaN for a policy that ran away
    "gain": pl.Float64,  # in the reward whose tilt of the base at beta = 1 is the target, nats
    "level": pl.Float64,  # of the setting
    "beta": pl.Float64,  # 0: without regularisation
    "held_out": pl.Float64,  # mean log-loss of preferences, each under the policy learned without its fold
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
        "finite": pl.Float64,  # share of seeds whose policy did not run away
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
        "dimension": pl.Int64,  # of the reward class beside which gamma was estimated
        "n": pl.Int64,
        "seed": pl.Int64,
        "gamma": pl.Float64,
        "low": pl.Float64,
        "high": pl.Float64,
        "identified": pl.Boolean,
    },
)
