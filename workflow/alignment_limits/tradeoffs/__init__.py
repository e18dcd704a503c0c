"""More questions of the same samples, on NumPy arrays: what else changes, what it costs, several goals at once.

Scores and columns are arrays (prompts, samples); NaN marks a missing sample.
"""

from alignment_limits.tradeoffs.cost import CostTable, reward_for_cost
from alignment_limits.tradeoffs.length_control import LengthControlTable, length_control
from alignment_limits.tradeoffs.shortfall import ShortfallTable, shortfall
from alignment_limits.tradeoffs.side_effects import SideEffectsTable, side_effects

__all__ = [
    "CostTable",
    "LengthControlTable",
    "ShortfallTable",
    "SideEffectsTable",
    "length_control",
    "reward_for_cost",
    "shortfall",
    "side_effects",
]
