"""More questions of the same samples, on NumPy arrays: what else changes, what it costs, several goals at once.

Scores and columns are arrays (prompts, samples); NaN marks a missing sample.
"""

from alignment_limits.tradeoffs.binary import average_limit, best_of_n_rates, best_pass_rates, binary_kl
from alignment_limits.tradeoffs.closed_policies import ClosedTable, kl_from_scores
from alignment_limits.tradeoffs.compromises import CompromiseTable, constrained_limit, worst_case_limit
from alignment_limits.tradeoffs.cost import CostTable, reward_for_cost
from alignment_limits.tradeoffs.divergence_limits import DivergenceTable, divergence_limit
from alignment_limits.tradeoffs.divergences import Divergence
from alignment_limits.tradeoffs.label_noise import LabelNoiseTable, label_noise
from alignment_limits.tradeoffs.length_control import LengthControlTable, length_control
from alignment_limits.tradeoffs.majority import Picks, best_of_majority, majority, pass_at_k
from alignment_limits.tradeoffs.several_golds import FrontTable, pareto_front
from alignment_limits.tradeoffs.shortfall import ShortfallTable, shortfall
from alignment_limits.tradeoffs.side_effects import SideEffectsTable, side_effects
from alignment_limits.tradeoffs.verifiable import VerifiableTable, verifiable

__all__ = [
    "ClosedTable",
    "CompromiseTable",
    "CostTable",
    "Divergence",
    "DivergenceTable",
    "FrontTable",
    "LabelNoiseTable",
    "LengthControlTable",
    "Picks",
    "ShortfallTable",
    "SideEffectsTable",
    "VerifiableTable",
    "average_limit",
    "best_of_majority",
    "best_of_n_rates",
    "best_pass_rates",
    "binary_kl",
    "constrained_limit",
    "divergence_limit",
    "kl_from_scores",
    "label_noise",
    "length_control",
    "majority",
    "pareto_front",
    "pass_at_k",
    "reward_for_cost",
    "shortfall",
    "side_effects",
    "verifiable",
    "worst_case_limit",
]
