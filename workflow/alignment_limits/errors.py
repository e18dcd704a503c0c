"""Errors written for the person running a study: what is wrong, where, and what to do."""


class AlignmentLimitsError(Exception):
    """Base of every error a user can mend; scripts print its message without a traceback."""


class ConfigError(AlignmentLimitsError):
    """A key or value in the study file is wrong."""


class SourceError(AlignmentLimitsError):
    """A model, package or data file could not be fetched, found or trusted."""


class ModelError(AlignmentLimitsError):
    """A checkpoint or a tokenizer cannot be loaded as what it should be, or cannot be read without a wrong number."""


class PromptError(AlignmentLimitsError):
    """The prompts cannot be used as they are."""


class SamplingError(AlignmentLimitsError):
    """The base model could not be sampled."""


class RewardError(AlignmentLimitsError):
    """A reward model gives scores no study should be built on."""


class TrainingError(AlignmentLimitsError):
    """A policy or a reward cannot be trained here as its settings say."""


class ArtifactError(AlignmentLimitsError):
    """A table is missing, incomplete, of another study, or does not keep its contract."""


class EstimateError(AlignmentLimitsError):
    """The arrays given to an estimator cannot support the estimate."""


class TableError(ArtifactError, PromptError):
    """A table or text file that a user brought cannot be used as it is: with the file and the rows."""
