"""Estimators on NumPy arrays: the limit of reward within a KL budget, best-of-n, wrong rewards.

Scores are arrays (prompts, samples); NaN marks a missing sample. `streaming` is for scores that do not fit in memory.
"""

from alignment_limits.ensembles.scales import AGGREGATORS, aggregate, apply_standardisation, standardise
from alignment_limits.limits.best_of_n import best_of_n, best_of_poisson, chi2_pessimism, soft_best_of_n
from alignment_limits.limits.bootstrap import PromptBootstrap
from alignment_limits.limits.compare import BestOfNTable
from alignment_limits.limits.curve import CorrectedCurve
from alignment_limits.limits.ensembles import study_ensembles
from alignment_limits.limits.frontier import FrontierTable, frontier, limit_at
from alignment_limits.limits.labels import LabelTable, common_samples, label_check
from alignment_limits.limits.levels import pool_levels
from alignment_limits.limits.onset import hacking_onset, stopping_point
from alignment_limits.limits.over_optimisation import gao_fit, over_optimisation, sub_gaussian_bound
from alignment_limits.limits.plan import Plan, plan
from alignment_limits.limits.prediction import predict_best_of_n
from alignment_limits.limits.proxy_gap import ProxyGapTable, proxy_gap
from alignment_limits.limits.ranks import per_sequence_kl
from alignment_limits.limits.samples import Pool
from alignment_limits.limits.sequential import Level, Tempering, temper
from alignment_limits.limits.tempered import TemperedTable, tempered_limit
from alignment_limits.limits.tilt import gain_from_covariance, gain_from_jeffreys, pareto_k, tilt
from alignment_limits.limits.worlds import WORLDS

__all__ = [
    "AGGREGATORS",
    "WORLDS",
    "BestOfNTable",
    "CorrectedCurve",
    "FrontierTable",
    "LabelTable",
    "Level",
    "Plan",
    "Pool",
    "PromptBootstrap",
    "ProxyGapTable",
    "TemperedTable",
    "Tempering",
    "aggregate",
    "apply_standardisation",
    "best_of_n",
    "best_of_poisson",
    "chi2_pessimism",
    "common_samples",
    "frontier",
    "gain_from_covariance",
    "gain_from_jeffreys",
    "gao_fit",
    "hacking_onset",
    "label_check",
    "limit_at",
    "over_optimisation",
    "pareto_k",
    "per_sequence_kl",
    "plan",
    "pool_levels",
    "predict_best_of_n",
    "proxy_gap",
    "soft_best_of_n",
    "standardise",
    "stopping_point",
    "study_ensembles",
    "sub_gaussian_bound",
    "temper",
    "tempered_limit",
    "tilt",
]
