"""Rewards on one scale, and ensembles of them. Scoring, training and the estimators share these score arrays."""
