"""The frontier of scores that do not fit in memory: exact sums over prompts, merged in any order."""

from alignment_limits.limits.streaming.reader import read_frontier
from alignment_limits.limits.streaming.sums import FrontierSums, merge, octaves, sum_shard

__all__ = ["FrontierSums", "merge", "octaves", "read_frontier", "sum_shard"]
