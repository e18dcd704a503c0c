"""Estimators on arrays: limits, best-of-n, proxies, ensembles. NumPy in, NumPy out, nothing heavy imported.

Names load their own module on first use (PEP 562), so code fingerprints of rules stay as narrow as their
imports.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "frontier": "frontiers",
    "limit_at": "frontiers",
    "FrontierTable": "frontiers",
    "tilt": "tilting",
    "gain_from_jeffreys": "tilting",
    "gain_from_covariance": "tilting",
    "CorrectedCurve": "curve",
    "best_of_n": "bestofn",
    "BestOfNTable": "methods",
    "soft_best_of_n": "relatives",
    "best_of_poisson": "relatives",
    "chi2_pessimism": "relatives",
    "per_sequence_kl": "ranks",
    "PromptBootstrap": "bootstrap",
    "pareto_k": "pareto",
    "tie_rate": "diagnostics",
    "prompt_ceilings": "diagnostics",
    "log_m_ceiling": "diagnostics",
    "standardise": "standardisation",
    "apply_standardisation": "standardisation",
    "Standardised": "standardisation",
    "AGGREGATORS": "ensembles",
    "aggregate": "ensembles",
    "sub_gaussian_bound": "bounds",
    "gao_fit": "bounds",
    "GaoFit": "bounds",
    "member_errors": "ensemble_study",
    "MemberErrors": "ensemble_study",
    "study_ensembles": "ensemble_study",
    "EnsembleTable": "ensemble_study",
    "tail_ratio": "diagnostics",
    "WORLDS": "worlds",
    "plan": "planner",
    "sum_shard": "streaming",
    "merge": "streaming",
    "octaves": "streaming",
    "FrontierSums": "streaming",
    "read_frontier": "streamed",
    "Plan": "planner",
    "proxy_gap": "gaps",
    "ProxyGapTable": "gaps",
    "hacking_onset": "onset",
    "stopping_point": "onset",
    "Onset": "onset",
    "over_optimisation": "overoptimisation",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_HOME[name]}")
    # No public name may also be a module of this package: importing that module would shadow it (tested).
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
