"""Contracts of tables from prompts to training curves, and of rewards on one scale."""

import polars as pl

from alignment_limits.tables.artifacts import Schema

# The prompts of a study, as sent to the model.
PROMPTS = Schema(
    "prompts",
    {"prompt_id": pl.String, "text": pl.String, "reference": pl.String, "source": pl.String},
)

# Documents of prompts, and experts' replies.
DOCUMENTS = Schema(
    "documents",
    # one line per document; one line per reference
    {"prompt_id": pl.String, "text": pl.String, "document": pl.String, "reference": pl.String},
)

# Replies of a model, and their statistics per prompt.
SAMPLES = Schema(
    "samples",
    {
        "prompt_id": pl.String,
        "sample_id": pl.Int32,
        "text": pl.String,
        "token_ids": pl.List(pl.Int32),
        "n_tokens": pl.Int32,
        "logprob": pl.Float64,
        "finish_reason": pl.String,
        "seed": pl.Int64,
    },
)
SAMPLES_SUMMARY = Schema(
    "samples_summary",
    {
        "prompt_id": pl.String,
        "n_samples": pl.Int32,
        "truncation_rate": pl.Float64,
        "distinct_share": pl.Float64,
        "mean_tokens": pl.Float64,
        "mean_logprob": pl.Float64,
        "unknown_share": pl.Float64,
    },
)
# Log-probabilities of the same replies, from a plain forward pass.
READ_AGAIN = Schema(
    "read_again",
    {
        "prompt_id": pl.String,
        "sample_id": pl.Int32,
        "n_tokens": pl.Int32,
        "logprob": pl.Float64,
        "logprob_read": pl.Float64,
    },
)

# Scores of one reward.
SCORES = Schema(
    "scores",
    {"prompt_id": pl.String, "sample_id": pl.Int32, "score": pl.Float64, "truncated": pl.Boolean},
)

# Samples of several laws: rewards and ensembles on the base's scale, a column each, and a column log_ratio/<law> for
# each law except `base`.
POOL = Schema("pool", {"prompt_id": pl.String, "sample_id": pl.Int32, "law": pl.String})

# Features of replies, shared by all trained heads.
FEATURES = Schema(
    "features",
    {"prompt_id": pl.String, "sample_id": pl.Int32, "features": pl.List(pl.Float32), "truncated": pl.Boolean},
)

# Scores of experts' replies, and the shares that decide whether a reward can be gold.
TRIALS = Schema("trials", {"prompt_id": pl.String, "role": pl.String, "score": pl.Float64})
GOLD = Schema(
    "gold",
    {
        "reward": pl.String,
        "beside": pl.String,
        "documents": pl.Int64,
        "above_samples": pl.Float64,
        "above_samples_low": pl.Float64,
        "above_samples_high": pl.Float64,
        "above_other": pl.Float64,
        "above_other_low": pl.Float64,
        "above_other_high": pl.Float64,
        "fit": pl.Boolean,
        "spearman": pl.Float64,
        "spearman_low": pl.Float64,
        "spearman_high": pl.Float64,
    },
)

# Preference pairs among samples, and rewards fitted to them.
PREFERENCES = Schema(
    "preferences",
    {
        "prompt_id": pl.String,
        "chosen_id": pl.Int32,  # sample_id
        "rejected_id": pl.Int32,
        "probability": pl.Float64,  # P(chosen ≻ rejected) of the model, before any departure
        "gamma": pl.Float64,
        "setting": pl.String,
        "seed": pl.Int64,
        "level": pl.Float64,  # of the setting
        "observed": pl.Float64,  # P(chosen ≻ rejected) with the setting's departure; null for a user's pairs
    },
)
FITTED_REWARDS = Schema(
    "fitted_rewards",
    {
        "setting": pl.String,
        "level": pl.Float64,
        "prompt_id": pl.String,
        "reply_id": pl.Int32,  # a sample_id; a sample has a row for each level
        "score": pl.Float64,  # Bradley-Terry, mean 0 over a prompt's samples that are in some pair
    },
)

# Training curves: statistics of each batch of replies, drawn before its training step.
CURVES = Schema(
    "curves",
    {
        "policy": pl.String,
        "objective": pl.String,
        "optimized": pl.String,
        "coefficient": pl.Float64,
        "seed": pl.Int64,
        "step": pl.Int32,
        "reward": pl.Float64,
        "kl": pl.Float64,
        "kl_log_ratio": pl.Float64,
        "length": pl.Float64,
        "entropy": pl.Float64,
        "loss": pl.Float64,
    },
)

# Learning rates that were compared: reward − β·KL at the end of each run, in base standard deviations.
SWEEP = Schema(
    "sweep",
    {
        "recipe": pl.String,
        "objective": pl.String,
        "optimized": pl.String,
        "coefficient": pl.Float64,
        "seed": pl.Int64,
        "learning_rate": pl.Float64,
        "steps": pl.Int64,
        "ended": pl.String,
        "value": pl.Float64,
        "error": pl.Float64,
        "chosen": pl.Boolean,
        "at_end": pl.Boolean,  # the chosen rate is the first or the last that was tried
    },
)

# Policies: the KL of each of their replies.
POLICY_KL = Schema(
    "policy_kl",
    {
        "prompt_id": pl.String,
        "sample_id": pl.Int32,
        "kl": pl.Float64,
        "log_ratio": pl.Float64,
        "logprob": pl.Float64,
        "logprob_base": pl.Float64,
    },
)

# Log-probability of another policy's replies.
LOGPROBS = Schema("logprobs", {"prompt_id": pl.String, "sample_id": pl.Int32, "logprob": pl.Float64})
# Tempered sampling: the replies of every level, from the base (level 0) to the tilt at the largest λ.
TEMPERED = Schema(
    "tempered",
    {
        "prompt_id": pl.String,
        "run": pl.String,  # full, or half: with half the particles
        "level": pl.Int32,
        "particle": pl.Int32,
        "inverse": pl.Float64,  # λ = 1/β
        "text": pl.String,
        "token_ids": pl.List(pl.Int32),
        "n_tokens": pl.Int32,
        "score": pl.Float64,  # the tempering reward, in base standard deviations
        "gold": pl.Float64,
        "log_ratio": pl.Float64,  # log π_β/π₀ = λ score − log Z(λ), with Z by levels
        "log_z": pl.Float64,
        "origins": pl.List(pl.Int32),  # the draw that each token is from
        "drawn": pl.Int64,  # new tokens for this prompt at this level
        "proposed": pl.Int32,
        "accepted": pl.Int32,
    },
)

# Rewards on one scale.
SCALES = Schema(
    "scales",
    {"reward": pl.String, "prompt_id": pl.String, "centre": pl.Float64, "scale": pl.Float64},
)
CLUSTERS = Schema(  # clusters of dependent prompts, by name; null: independent of all others
    "clusters",
    {"prompt_id": pl.String, "cluster": pl.String},
)
PROMPT_IDS = Schema("prompts", {"prompt_id": pl.String})  # of a table of prompts or of their clusters
STANDARDISED = Schema(
    "standardised",
    {"prompt_id": pl.String, "sample_id": pl.Int32},
)
