"""More questions of the same samples, on NumPy arrays: what else changes, what it costs, several goals at once.

Scores and columns are arrays (prompts, samples); NaN marks a missing sample.
"""

from alignment_limits.tradeoffs.closed_policies import ClosedTable, kl_from_scores
from alignment_limits.tradeoffs.cost import CostTable, reward_for_cost
from alignment_limits.tradeoffs.label_noise import LabelNoiseTable, label_noise
from alignment_limits.tradeoffs.length_control import LengthControlTable, length_control
from alignment_limits.tradeoffs.shortfall import ShortfallTable, shortfall
from alignment_limits.tradeoffs.side_effects import SideEffectsTable, side_effects

__all__ = [
    "ClosedTable",
    "CostTable",
    "LabelNoiseTable",
    "LengthControlTable",
    "ShortfallTable",
    "SideEffectsTable",
    "kl_from_scores",
    "label_noise",
    "length_control",
    "reward_for_cost",
    "shortfall",
    "side_effects",
]
