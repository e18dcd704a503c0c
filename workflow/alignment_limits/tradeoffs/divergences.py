"""Divergences other than KL: their names, and the best law within a budget of each, on blocks of samples.

For a divergence D_f(π‖π₀) = E f(p), p = π/π₀, the largest gain within a budget is reached by p = (f')⁻¹((r − ν)/β), not
below 0, with ν such that p averages 1. The power divergences (E p^α − 1) / (α (α − 1)) give, with x = max r − r,

    α > 1: p ∝ (t − x)₊^(1/(α−1)),    α < 1: p ∝ (t + x)^(−1/(1−α)),    α = 1 (KL): p ∝ e^(−x/t),

so one number t > 0 names a law, and β follows from its normalisation. Rényi's divergence log(E p^α) / (α − 1) increases
with the power divergence, so its best law is the same. Rényi's of order infinity, log max p, and total variation,
E|p − 1| / 2, have sorted samples as their solution: the best ones up to max p, and the worst ones moved to the best.
See docs/theory.md, "Other divergences".
"""

from dataclasses import dataclass

import numpy as np

from alignment_limits.ensembles.scores import Array
from alignment_limits.errors import EstimateError

TOTAL_VARIATION = "total-variation"


@dataclass(frozen=True)
class Divergence:
    """A divergence of a policy from the base.

    Create one with `Divergence.of`.

    Args:
        name, order: the attributes.

    Example:
        >>> Divergence.of("chi2")
        Divergence(name='chi2', order=2.0)

    Attributes:
        name: "chi2", "reverse-kl", "total-variation", or "renyi-" and the order.
        order: α of its power divergence; infinity for "renyi-inf", NaN for total variation.
    """

    name: str
    order: float

    @classmethod
    def of(cls, name: str) -> "Divergence":
        """The divergence of a name.

        Args:
            name: "chi2": E (p − 1)². "reverse-kl": KL(π₀‖π) in nats. "total-variation": E|p − 1| / 2. "renyi-2" and so
                on: log(E p^α) / (α − 1) in nats, for any order above 0; "renyi-1" is KL, "renyi-inf" is log max p.

        Returns:
            The divergence.

        Raises:
            EstimateError: another name.

        Example:
            >>> Divergence.of("renyi-0.5").order
            0.5
        """
        orders = {"chi2": 2.0, "reverse-kl": 0.0, TOTAL_VARIATION: np.nan}
        order = orders.get(name)
        if order is None and name.startswith("renyi-"):
            try:
                order = float(name.removeprefix("renyi-"))
            except ValueError:
                order = -1.0
        if order is None or order < 0 or (order == 0 and name != "reverse-kl"):
            raise EstimateError(
                f"Unknown divergence '{name}': use chi2, reverse-kl, total-variation, or renyi-A with an order A above "
                "0, such as renyi-2 or renyi-inf."
            )
        return cls(name, float(order))

    @property
    def finite(self) -> bool:
        """Whether its limit is finite for rewards without an upper end: probability far up costs more and more."""
        return self.order >= 1

    def power(self, spent: Array) -> Array:
        """A budget in its own units as a budget of the power divergence."""
        a = self.order
        if self.name == "chi2":
            return spent / 2
        if self.name == "reverse-kl" or a in (1.0, np.inf) or np.isnan(a):
            return spent
        return np.expm1((a - 1) * spent) / (a * (a - 1))

    def of_best_of_n(self, n: Array) -> Array:
        """What best-of-n spends if no scores tie; with ties it spends less.

        Args:
            n: draws (N,), at least 1.

        Returns:
            (N,) in the units of the divergence.

        Example:
            >>> [float(Divergence.of(name).of_best_of_n(np.array([4.0]))[0].round(3)) for name in ("chi2", "renyi-inf")]
            [1.286, 1.386]
        """
        a, n = self.order, np.asarray(n, dtype=np.float64)
        if np.isnan(a):
            more = np.where(n > 1, n, 2.0)
            return np.where(n > 1, more ** (-1 / (more - 1)) * (1 - 1 / more), 0.0)
        if a == 0:
            return n - 1 - np.log(n)
        if a == 1:
            return np.log(n) - (n - 1) / n
        if np.isinf(a):
            return np.log(n)
        mean = n**a / (a * (n - 1) + 1)
        return mean - 1 if self.name == "chi2" else np.log(mean) / (a - 1)

    def check(self, spent: Array) -> None:
        """Raise EstimateError unless budgets are positive, and below 1 for total variation."""
        most = 1.0 if self.name == TOTAL_VARIATION else np.inf
        if spent.ndim != 1 or not np.all(np.isfinite(spent) & (spent > 0) & (spent < most)):
            end = " and below 1" if most == 1 else ""
            raise EstimateError(f"Budgets of {self.name} must be above 0{end}; got {spent.tolist()}.")


@dataclass(frozen=True)
class Blocks:
    """Blocks of samples of one prompt each, by their distance from the best.

    Attributes:
        below: x = the block's largest score less the score (B, Q); 0 in the padding.
        present: which cells are samples.
        top: the block's largest score less the prompt's mean (B,).
    """

    below: Array
    present: np.ndarray
    top: Array

    @property
    def counts(self) -> Array:
        """Samples of each block (B,), at least 1."""
        return np.maximum(self.present.sum(axis=1), 1).astype(np.float64)

    def mean(self, values: Array) -> Array:
        """Mean over each block's samples (B,)."""
        return np.asarray(np.where(self.present, values, 0.0).sum(axis=1) / self.counts)

    def law(self, t: Array, order: float) -> tuple[Array, Array, Array]:
        """The best laws with parameter t (B,) > 0: power divergence, gain and β, (B,) each."""
        y = self.below / t[:, None]
        if order == 1:
            w = np.where(self.present, np.exp(-y), 0.0)
            total, rise = self.mean(w), self.mean(w * y)
            return np.maximum(-rise / total - np.log(total), 0.0), self.top - t * rise / total, t
        y = np.maximum(1 - y, 0.0) if order > 1 else 1 + y
        gamma = 1 / (order - 1)
        w = np.where(self.present, y if gamma == 1 else 1 / y if gamma == -1 else y**gamma, 0.0)
        total, other = self.mean(w), self.mean(w * y)
        gain = self.top - t * np.abs(1 - other / total)
        beta = np.abs(order - 1) * t * total ** (1 / gamma)
        if order == 0:
            spent = np.log(total) + self.mean(np.log(np.where(self.present, y, 1.0)))
        else:
            spent = (other / total**order - 1) / (order * (order - 1))
        return np.maximum(spent, 0.0), gain, beta

    def density(self, t: Array, order: float) -> Array:
        """p of each sample (B, Q) under the law with parameter t (B,)."""
        y = self.below / t[:, None]
        if order == 1:
            w = np.exp(-y)
        else:
            w = np.maximum(1 - y, 0.0) ** (1 / (order - 1)) if order > 1 else (1 + y) ** (1 / (order - 1))
        w = np.where(self.present, w, 0.0)
        return w / self.mean(w)[:, None]

    def best_share(self, largest: Array) -> Array:
        """Gain (B, K) of the best samples with densities of at most `largest` (K,)."""
        ordered = np.sort(np.where(self.present, self.below, np.inf), axis=1)
        sums = np.concatenate(
            [np.zeros((len(ordered), 1)), np.cumsum(np.where(np.isfinite(ordered), ordered, 0), axis=1)], axis=1
        )
        number = np.maximum(self.counts[:, None] / largest, 1.0)  # one sample at least
        whole = np.minimum(number.astype(np.int64), ordered.shape[1])
        nearest = np.take_along_axis(sums, whole, axis=1)
        after = np.take_along_axis(sums, np.minimum(whole + 1, ordered.shape[1]), axis=1)
        return self.top[:, None] - (nearest + (number - whole) * (after - nearest)) / number

    def moved(self, share: Array) -> Array:
        """Gain (B, K) over the prompt's mean of the samples with the worst `share` (K,) of them moved to the best."""
        ordered = -np.sort(np.where(self.present, -self.below, np.inf), axis=1)  # the furthest first
        filled = np.where(np.isfinite(ordered), ordered, 0.0)
        sums = np.concatenate([np.zeros((len(ordered), 1)), np.cumsum(filled, axis=1)], axis=1)
        number = self.counts[:, None] * share
        whole = np.minimum(number.astype(np.int64), ordered.shape[1])
        least = np.take_along_axis(sums, whole, axis=1)
        after = np.take_along_axis(sums, np.minimum(whole + 1, ordered.shape[1]), axis=1)
        return (self.top - self.mean(self.below))[:, None] + (least + (number - whole) * (after - least)) / self.counts[
            :, None
        ]
