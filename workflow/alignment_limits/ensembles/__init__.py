"""Rewards on one scale, and ensembles of them; what scoring, training and the estimators share of score arrays."""
