"""Studies of other sizes, drawn from a pilot: what a study of P' prompts and M' samples of each would look like."""

from dataclasses import dataclass

import numpy as np

from alignment_limits.limits.arrays import Array
from alignment_limits.limits.ranks import tied

DISCRETE = 0.5  # share of tied samples from which on a prompt's law is taken to be its levels


@dataclass(frozen=True)
class Pilot:
    """Scores (P, M), NaN = no such sample; which prompts have tied scores (P,); residuals of the others, pooled.

    A prompt's law is stood in for by its own samples. Where more are wanted than it has: by its levels, if its scores
    tie; else by the residuals of all untied prompts in units of their spread, as its own end at its largest.
    """

    scores: Array
    discrete: np.ndarray
    pool: Array

    @classmethod
    def of(cls, scores: Array) -> "Pilot":
        """The pilot of checked scores."""
        present = ~np.isnan(scores)
        discrete = tied(scores).sum(axis=1) > DISCRETE * present.sum(axis=1)
        some = scores[~discrete]
        if not len(some):
            return cls(scores, discrete, np.empty(0))
        sd = np.nanstd(some, axis=1, ddof=1, keepdims=True)
        residuals = (some - np.nanmean(some, axis=1, keepdims=True)) / np.where(sd > 0, sd, 1.0)
        return cls(scores, discrete, residuals[~np.isnan(some)])

    def draw(self, prompts: int, samples: int, rng: np.random.Generator) -> Array:
        """One study of prompts drawn with replacement, (prompts, samples)."""
        rows = rng.integers(0, len(self.scores), prompts)
        out = np.empty((prompts, samples))
        for row in np.unique(rows):
            which = np.flatnonzero(rows == row)
            own = self.scores[row][~np.isnan(self.scores[row])]
            size = (len(which), samples)
            if samples <= len(own):
                out[which] = rng.permuted(np.broadcast_to(own, (len(which), len(own))), axis=1)[:, :samples]
            elif self.discrete[row] or not len(self.pool):
                out[which] = rng.choice(own, size)
            else:
                out[which] = own.mean() + own.std(ddof=1) * rng.choice(self.pool, size)
        return out
