"""Limits within budgets of a divergence, from all samples, their halves and their quarters.

Each block of samples has a curve of gain G against divergence D, named by one number t and with slope dG/dD = β. It is
computed at nodes of t. Under the average budget all blocks of a level have one β, with mean D = κ; under the per-prompt
budget each block has D = κ. Either is found by interpolation between nodes. The limit there is G + β (κ − D), which an
error of t changes by its square only. So a second look at t leaves an error far below that of the samples.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from alignment_limits.ensembles.scores import Array
from alignment_limits.limits.curve import CorrectedCurve
from alignment_limits.limits.samples import Quartered
from alignment_limits.limits.tilt import LEVELS, OF_LEVEL, block_weights
from alignment_limits.tradeoffs.divergences import TOTAL_VARIATION, Blocks, Divergence

NODES = 56
WIDEST, NARROWEST = 60.0, 1e-4  # of the law's parameter t, in units of a prompt's spread
LOOKS = 3  # of the solver of t and of β
STEEP_LOOKS = 16  # above order 2, where the curve of a few distinct scores bends sharply


@dataclass(frozen=True)
class LevelLimits:
    """Limits at K budgets.

    Attributes:
        levels: contributions at all samples, halves and quarters (3, P, K).
        ess: effective sample size of the best law's weights (P, K).
        reached: number of levels that reach each budget (K,).
    """

    levels: Array
    ess: Array
    reached: np.ndarray


@dataclass(frozen=True)
class Level:
    """All blocks of one level: of P prompts, B blocks each, S splits.

    Attributes:
        blocks: in the order of splits, prompts, blocks of a prompt.
        share: of each block in its prompt's mean, over S (S, P, B).
        spread: of the prompt of each block.
    """

    blocks: Blocks
    share: Array
    spread: Array

    @classmethod
    def of(cls, splits: list[Quartered], spread: Array, level: int) -> "Level":
        """Level 0 (all samples), 1 (halves) or 2 (quarters)."""
        splits = splits[:1] if level == 0 else splits
        count = 2**level
        below, present, top = [], [], []
        for part in splits:
            prompts = len(part.rewards)
            r, there = part.rewards.reshape(prompts * count, -1), part.present.reshape(prompts * count, -1)
            best = np.max(r, axis=1, where=there, initial=-np.inf)
            best = np.where(np.isfinite(best), best, 0.0)
            there = np.array(there)
            there[:, 0] |= ~there.any(axis=1)  # an empty block, which counts for nothing, has any cell
            below.append(np.where(there, best[:, None] - r, 0.0))
            present.append(there)
            top.append(best + np.repeat(part.offset, count))
        weights = np.stack([block_weights(part.sizes)[:, OF_LEVEL[level]] for part in splits]) / len(splits)
        blocks = Blocks(np.concatenate(below), np.concatenate(present), np.concatenate(top))
        return cls(blocks, weights, np.tile(np.repeat(spread, count), len(splits)))

    def by_prompt(self, values: Array) -> Array:
        """Values of blocks (N, K) as averages over each prompt's blocks (P, K)."""
        return np.einsum("spb,spbk->pk", self.share, values.reshape(*self.share.shape, -1))

    def mean(self, values: Array) -> Array:
        """Mean over prompts of values of blocks (N, ...)."""
        weights = self.share.ravel() / self.share.shape[1]
        return np.tensordot(weights, values, axes=1)


def level_limits(curve: CorrectedCurve, kind: Divergence, amounts: Array) -> LevelLimits:
    """The limits of a curve's samples at budgets (K,), in units of the divergence.

    Args:
        curve: with the reward, its random splits and the budget's convention.
        kind: the divergence.
        amounts: budgets.

    Returns:
        Limits of the prompts with enough samples, in the curve's units.
    """
    count = len(amounts)
    if curve.sd == 0:
        none = np.zeros((LEVELS, curve.prompts, count))
        return LevelLimits(none, np.ones(none.shape[1:]), np.zeros(count, dtype=int))
    levels = [Level.of(curve.splits, curve.spread, level) for level in range(LEVELS)]
    sizes = levels[0].blocks.counts
    if kind.name == TOTAL_VARIATION:
        solve = _moved if curve.budget == "per-prompt" else _moved_together
        values = np.stack([solve(level, amounts) for level in levels])
        return LevelLimits(values, np.repeat(sizes[:, None], count, axis=1), np.full(count, LEVELS))
    if np.isinf(kind.order):
        values = np.stack([level.by_prompt(level.blocks.best_share(np.exp(amounts))) for level in levels])
        reached = np.sum(amounts[:, None] < np.log(np.median(sizes)) - np.log([1.0, 2.0, 4.0]), axis=1)
        values[:, :, reached == 0] = np.nan
        return LevelLimits(values, sizes[:, None] / np.exp(amounts), reached)
    kappa = kind.power(amounts)
    curves = [Curves.of(level, kind.order) for level in levels]
    found = [each.per_prompt(kappa) if curve.budget == "per-prompt" else each.together(kappa) for each in curves]
    if curve.budget == "per-prompt":
        room = np.array([largest(float(np.median(sizes)) / part, kind.order) for part in (1.0, 2.0, 4.0)])
        reached = np.where((kappa >= curves[0].most[:, None]).all(axis=0), 0, np.sum(kappa[:, None] < room, axis=1))
    else:
        room = np.array([float(level.mean(each.most)) for level, each in zip(levels, curves, strict=True)])
        reached = np.cumprod(kappa[:, None] < room, axis=1).sum(axis=1)
    values = np.stack([level.by_prompt(each) for level, (each, _) in zip(levels, found, strict=True)])
    for level in range(LEVELS):
        values[level, :, reached <= level] = np.nan
    density = [levels[0].blocks.density(t, kind.order) for t in found[0][1].T]
    ess = np.stack([sizes / levels[0].blocks.mean(p**2) for p in density], axis=1)
    return LevelLimits(values, ess, reached)


def largest(samples: float, order: float) -> float:
    """The power divergence of one of some equally likely samples."""
    if order == 1:
        return float(np.log(samples))
    return float((samples ** (order - 1) - 1) / (order * (order - 1))) if order else np.inf


@dataclass(frozen=True)
class Curves:
    """Each block's curve at nodes of t, from wide to narrow laws.

    Attributes:
        level: its blocks.
        order: of the power divergence.
        log_t, log_spent, log_beta: (N, J) at the nodes.
        most: divergence at the last node (N,), the largest.
    """

    level: Level
    order: float
    log_t: Array
    log_spent: Array
    log_beta: Array
    most: Array

    @classmethod
    def of(cls, level: Level, order: float) -> "Curves":
        unit = np.where(level.spread > 0, level.spread, 1.0)
        wide = WIDEST * (1.0 if order == 1 else max(1.0, 1 / abs(order - 1)))
        nodes = unit[:, None] * np.geomspace(wide, NARROWEST, NODES)
        spent, _, beta = (
            np.stack(each, axis=1) for each in zip(*(level.blocks.law(t, order) for t in nodes.T), strict=True)
        )
        rise = np.maximum.accumulate(spent, axis=1)
        return cls(level, order, np.log(nodes), _log(rise), _log(beta), rise[:, -1])

    @property
    def looks(self) -> int:
        return STEEP_LOOKS if self.order > 2 else LOOKS

    def law(self, log_t: Array) -> tuple[Array, Array, Array]:
        return self.level.blocks.law(np.exp(log_t), self.order)

    def per_prompt(self, kappa: Array) -> tuple[Array, Array]:
        """Contributions of blocks that each spend kappa (K,), and their t, (N, K) each."""
        out = []
        for each in kappa:
            target = np.full(len(self.most), np.log(each))
            log_t = invert(self.log_spent, self.log_t, target, lambda x: _log(self.law(x)[0]), self.looks)
            spent, gain, beta = self.law(log_t)
            out.append((np.where(each >= self.most, gain, gain + beta * (each - spent)), np.exp(log_t)))
        values, t = (np.stack(each, axis=1) for each in zip(*out, strict=True))
        return values, t

    def together(self, kappa: Array) -> tuple[Array, Array]:
        """Contributions of blocks with one β and mean divergence kappa (K,), and their t, (N, K) each."""
        out = []
        for each in kappa:
            low, high = float(self.log_beta[:, -1].min()), float(self.log_beta[:, 0].max())
            for _ in range(40):
                middle = (low + high) / 2
                low, high = (middle, high) if self._spent(middle) > each else (low, middle)
            log_beta = (low + high) / 2
            slope = (np.log(self._spent(log_beta + 0.05)) - np.log(self._spent(log_beta - 0.05))) / 0.1
            for look in range(LOOKS):
                target = np.full(len(self.most), -log_beta)
                log_t = invert(-self.log_beta, self.log_t, target, lambda x: -_log(self.law(x)[2]), self.looks)
                spent, gain, _ = self.law(log_t)
                if look < LOOKS - 1 and slope < 0:
                    log_beta += float(np.clip(np.log(each / max(self.level.mean(spent), 1e-300)) / slope, -0.5, 0.5))
            out.append((gain + np.exp(log_beta) * (each - spent), np.exp(log_t)))
        values, t = (np.stack(each, axis=1) for each in zip(*out, strict=True))
        return values, t

    def _spent(self, log_beta: float) -> float:
        """Mean divergence at one β, by interpolation."""
        target = np.full(len(self.most), -log_beta)
        return float(self.level.mean(np.exp(invert(-self.log_beta, self.log_spent, target))))


def _log(values: Array) -> Array:
    return np.log(np.maximum(values, 1e-300))


def invert(y: Array, x: Array, target: Array, exact: Callable[[Array], Array] | None = None, looks: int = 0) -> Array:
    """x (N,) at which y = target, by interpolation between nodes (N, J) with y increasing, then by `exact` y of x.

    Beyond the last node it is the last one. Further looks are by the Illinois rule, within the two nodes.
    """
    j = np.clip(np.sum(y <= target[:, None], axis=1) - 1, 0, y.shape[1] - 2)[:, None]
    y0, y1, x0, x1 = (np.take_along_axis(a, k, axis=1)[:, 0] for a in (y, x) for k in (j, j + 1))
    y0, y1 = y0 - target, y1 - target
    out = _chord(x0, x1, y0, y1)
    last = np.zeros(len(out))
    for _ in range(looks):
        assert exact is not None
        error = exact(out) - target
        below = error < 0
        y1 = np.where(below & (last < 0), y1 / 2, np.where(below, y1, error))
        y0 = np.where(~below & (last > 0), y0 / 2, np.where(below, error, y0))
        x0, x1 = np.where(below, out, x0), np.where(below, x1, out)
        last = np.where(below, -1.0, 1.0)
        out = _chord(x0, x1, y0, y1)
    return out


def _chord(x0: Array, x1: Array, y0: Array, y1: Array) -> Array:
    """Where the line through two points is 0, between them."""
    rises = y1 > y0
    part = np.clip(np.where(rises, -y0 / np.where(rises, y1 - y0, 1.0), 0.0), 0.0, 1.0)
    return x0 + part * (x1 - x0)


def _moved(level: Level, shares: Array) -> Array:
    """Contributions (P, K) if the same share of each prompt moves."""
    return level.by_prompt(level.blocks.moved(shares))


def _moved_together(level: Level, shares: Array) -> Array:
    """Contributions (P, K) if the samples furthest from their block's best move, of whatever prompt.

    With the distance τ beyond which samples move, the limit is τ κ + mean (x − τ)₊, at any τ with a mean share of κ.
    """
    blocks = level.blocks
    x = np.where(blocks.present, blocks.below, 0.0)
    cell = (level.share.ravel() / level.share.shape[1] / blocks.counts)[:, None] * blocks.present
    order = np.argsort(-x, axis=None, kind="stable")
    mass, base = np.cumsum(cell.ravel()[order]), blocks.top - blocks.mean(blocks.below)
    places = np.minimum(np.searchsorted(mass, shares), len(order) - 1)
    taus = x.ravel()[order][places]
    values = [
        base + blocks.mean(np.maximum(x - tau, 0.0)) + tau * share for tau, share in zip(taus, shares, strict=True)
    ]
    return level.by_prompt(np.stack(values, axis=1))
