"""Errors for the person who runs a study: what is wrong, where, and what to do."""


class AlignmentLimitsError(Exception):
    """Base of every error that a user can fix. Scripts print its message without a traceback."""


class ConfigError(AlignmentLimitsError):
    """A key or value in the study file is wrong."""


class SourceError(AlignmentLimitsError):
    """A model, package or data file could not be fetched, found or trusted."""


class ModelError(AlignmentLimitsError):
    """A checkpoint or a tokenizer cannot be loaded as configured, or would give wrong numbers."""


class PromptError(AlignmentLimitsError):
    """The prompts cannot be used."""


class SamplingError(AlignmentLimitsError):
    """The base model could not be sampled."""


class RewardError(AlignmentLimitsError):
    """A reward model gives scores that a study should not use."""


class TrainingError(AlignmentLimitsError):
    """A policy or a reward cannot be trained here with its settings."""


class ArtifactError(AlignmentLimitsError):
    """A table is missing, incomplete, from another study, or breaks its contract."""


class EstimateError(AlignmentLimitsError):
    """The arrays given to an estimator cannot support the estimate."""


class TableError(ArtifactError, PromptError):
    """A user's table or text file cannot be used. The message names the file and the rows."""
