"""The limit with the mean length of replies held fixed, and how much of a gain comes with longer replies.

Among policies with KL ≤ κ whose mean length is the base model's, the largest gain is reached by a tilt by r + μ f with
the one weight μ that leaves the mean of f (length, or any other column) unchanged. By duality it is the smallest of
the ordinary limits of r + μ f at κ:

    max {E_π r − E_π₀ r : KL ≤ κ, E_π f = E_π₀ f} = min over μ of G*_{r+μf}(κ),    dG*_{r+μf}/dμ = E_{π_μ} f − E_π₀ f.

So it is estimated as a limit is, with its correction, interval and verdict. An error of μ changes nothing to first
order. The budget is the average one: length
and KL are both limited in the mean over prompts.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike

from alignment_limits.ensembles.scores import (
    Array,
    Columns,
    Flags,
    Words,
    centre,
    check_evaluated,
    check_scores,
    enough_samples,
    within_prompt_sd,
)
from alignment_limits.errors import EstimateError
from alignment_limits.limits.bending import bend_bound
from alignment_limits.limits.bootstrap import PromptBootstrap, limit_interval, no_lower_than_of_a_variance
from alignment_limits.limits.correction import remaining
from alignment_limits.limits.curve import CorrectedCurve, CurvePoints, judge_points
from alignment_limits.limits.means import together
from alignment_limits.limits.reliability import AVERAGE

FREE, HELD, RESIDUAL = "free", "held", "residual"
STEP = 0.05  # of the weight, for derivatives, in units of sd(reward) / sd(column)
NO_GAIN = "no gain to compare with"


@dataclass(frozen=True, repr=False)
class LengthControlTable(Columns):
    """Rows at each KL, for three tilts: of the reward, of the reward with the column held, of the residual reward.

    Attributes:
        tilt: "free" (by r), "held" (by r + μ f, so that the mean of f is the base's), or "residual" (by r − b f, b the
            slope of r on f within prompts).
        kl: nats per reply.
        weight: μ of "held", −b of "residual", 0 of "free", in units of the optimized reward per unit of the column.
        gain: in the evaluated reward.
        change: of the mean of the column.
        lost: share of the gain of the free tilt that this tilt does not reach; NaN for "free".
        explained: of "free": share of the gain that the slope b predicts from the change of the column; NaN for others.
        gain_reliable, change_reliable, lost_reliable, explained_reliable: verdicts, each with its reason.
        reliable, reason: the verdict on the gain.

    Intervals (bootstrap over prompts) are `*_low` and `*_high`.
    """

    shown = ("kl", "gain", "lost")

    tilt: Words
    kl: Array
    weight: Array
    gain: Array
    gain_low: Array
    gain_high: Array
    change: Array
    change_low: Array
    change_high: Array
    lost: Array
    lost_low: Array
    lost_high: Array
    explained: Array
    explained_low: Array
    explained_high: Array
    gain_reliable: Flags
    gain_reason: Words
    change_reliable: Flags
    change_reason: Words
    lost_reliable: Flags
    lost_reason: Words
    explained_reliable: Flags
    explained_reason: Words
    reliable: Flags
    reason: Words


@dataclass(frozen=True)
class _Path:
    """A tilt at K budgets: contributions (P, K) to the gain and to the change of the column, and what limits them."""

    weight: Array
    gain: Array
    change: Array
    left: Array  # remaining bias of the gain (K,)
    change_left: Array
    reason: np.ndarray  # why gain and change are not reliable
    few: str = ""  # why too few prompts carry a share of the gain


def length_control(
    optimized: ArrayLike,
    length: ArrayLike,
    evaluated: ArrayLike | None = None,
    *,
    kls: ArrayLike,
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    keys: np.ndarray | None = None,
    clusters: ArrayLike | None = None,
) -> LengthControlTable:
    """The gain of the tilt by a reward, and of tilts that leave the mean of a column, such as length, unchanged.

    Args:
        optimized: scores (prompts, samples) of base samples; NaN marks a missing sample.
        length: the column to hold, of the same samples. Where it is missing (NaN) by chance, the sample is left out.
        evaluated: the reward whose gain is given, of the same samples; default: the optimized one.
        kls: budgets in nats; the budget is the mean KL over prompts.
        replicates, seed, level, keys, clusters: as for `limits.frontier`.

    Returns:
        For each of the tilts "free", "held" and "residual" a row at each KL.

    Raises:
        EstimateError: scores that cannot be used, or a column that does not differ within any prompt.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> length = rng.normal(50.0, 10.0, size=(200, 64))
        >>> reward = 0.06 * length + 0.8 * rng.normal(size=(200, 64))  # 36 % of the variance is length's
        >>> table = length_control(reward, length, kls=[0.5])
        >>> table.gain.round(2)  # √(2 KL) times the spread of the reward, and of its part without length
        array([0.99, 0.8 , 0.79])
        >>> table.explained[0].round(2), table.lost[1].round(2)
        (np.float64(0.35), np.float64(0.19))

    References:
        docs/theory.md, "Length held fixed"; docs/tradeoffs.md.
    """
    r, f, v, rows = _checked(optimized, length, evaluated)
    kappa = np.atleast_1d(np.asarray(kls, dtype=np.float64))
    names = np.arange(len(rows))[rows] if keys is None else np.asarray(keys)[rows]
    own = np.array_equal(r, v, equal_nan=True)
    unit_r, unit_f = within_prompt_sd(r), within_prompt_sd(f)
    if unit_f == 0 or unit_r == 0:
        which = "column" if unit_f == 0 else "optimized reward"
        raise EstimateError(f"The {which} does not differ within any prompt: there is nothing to hold.")
    labels = None if clusters is None else np.asarray(clusters)[rows]
    boot = PromptBootstrap(len(r), replicates=replicates, seed=seed, level=level, keys=names, clusters=labels)
    curve = _Curve(r / unit_r, centre(f) / unit_f, v, own, boot, {"seed": seed, "keys": names})
    cross, square = np.nansum(centre(r) / unit_r * curve.f, axis=1), np.nansum(curve.f**2, axis=1)
    slope = float(cross.sum() / square.sum())
    paths = {FREE: curve.at(0.0, kappa), HELD: curve.held(kappa, -slope), RESIDUAL: curve.at(-slope, kappa)}
    scale = unit_r if own else 1.0
    parts = [_rows(name, path, paths[FREE], kappa, boot, scale, unit_f) for name, path in paths.items()]
    columns = {k: np.concatenate([part[k] for part in parts]) for k in parts[0]}
    columns["weight"] = columns["weight"] * unit_r / unit_f
    columns |= _explained(paths[FREE], own, slope, cross, square, boot, len(kappa))
    return LengthControlTable(**{field.name: columns[field.name] for field in fields(LengthControlTable)})


def _checked(
    optimized: ArrayLike, length: ArrayLike, evaluated: ArrayLike | None
) -> tuple[Array, Array, Array, np.ndarray]:
    """Reward, column and evaluated reward of the samples that have the column, and the prompts (P,) that have any."""
    r, f = check_scores(optimized, "optimized"), np.asarray(length, dtype=np.float64)
    v = check_evaluated(r, {"evaluated": r if evaluated is None else evaluated})["evaluated"]
    if f.shape != r.shape:
        raise EstimateError(f"The column has shape {f.shape}, the optimized reward {r.shape}.")
    both = ~np.isnan(r) & ~np.isnan(f)
    rows = both.any(axis=1)
    if not rows.any():
        raise EstimateError("The column has no value at any sample of the optimized reward.")
    r, f, v = (np.where(both, array, np.nan)[rows] for array in (r, f, v))
    return r, check_evaluated(r, {"column": f})["column"], v, rows


@dataclass(frozen=True)
class _Curve:
    """Tilts by r + μ f, with both in units of their spread within prompts, f centred, and v evaluated."""

    r: Array
    f: Array
    v: Array
    own: bool
    boot: PromptBootstrap
    draws: dict[str, Any]

    def read(self, weight: float, kappa: Array) -> tuple[Array, CurvePoints]:
        """The combined reward, and its curve with f and v carried along."""
        combined = self.r + weight * self.f if weight else self.r
        carried = [self.f, self.r if self.own else self.v]
        return combined, CorrectedCurve(combined, carried, **self.draws).at(kappa)

    def at(self, weight: float, kappa: Array) -> _Path:
        """The tilt with a given weight."""
        combined, points = self.read(weight, kappa)
        reason, left = self.judged(combined, points)
        left[:, 1:] = np.hypot(left[:, 1:], self.bending(combined, kappa, linear=self.own and weight == 0))
        enough = enough_samples(combined)
        few = AVERAGE.missing(points.share[enough], self.boot.units * float(enough.mean()))
        gain, change = points.values[..., 2], points.values[..., 1]
        return _Path(np.full(len(kappa), weight), gain, change, left[:, 2], left[:, 1], reason, few)

    def judged(self, combined: Array, points: CurvePoints) -> tuple[np.ndarray, Array]:
        """Why the gains are not reliable, and their remaining bias (K, V) apart from that of bending."""
        verdict = judge_points(combined, points, clusters=self.boot.clusters, widened=True)
        return verdict.reason, remaining(points.levels, points.correction.factor, verdict.ess)

    def bending(self, combined: Array, kappa: Array, *, linear: bool) -> Array:
        """What bending adds to the bias of the column and of the evaluated reward, (K, 2); 0 for a `linear` reward."""
        carried = [self.f] if linear else [self.f, self.r if self.own else self.v]
        bound = np.nan_to_num(bend_bound(combined, carried, kappa, **self.draws))
        return np.concatenate([bound, np.zeros((len(kappa), 2 - len(carried)))], axis=1)

    def held(self, kappa: Array, start: float) -> _Path:
        """At each KL the tilt with the weight that leaves the mean of f unchanged."""
        parts = []
        guess = (np.sqrt(0.5 / max(kappa[kappa > 0].min(initial=1.0), 1e-9)), start)
        for each in kappa:
            guess = solve(self.r, self.f, float(each), guess) if each > 0 else guess
            at, weight = np.array([each]), guess[1]
            combined, points = self.read(weight, at)
            reason, left = self.judged(combined, points)
            if self.own:  # where the mean of f is unchanged, the gain in r is that in r + μ f
                gain, gain_left = points.values[..., 0], left[:, 0]
            else:  # an error of the weight changes the gain in v in proportion to the change of f that is left
                further = self.read(weight + STEP, at)[1]
                rate = further.levels[0][:, 1:] - points.levels[0][:, 1:]
                ratio = np.where(rate[:, 0] > 0, rate[:, 1] / np.where(rate[:, 0] > 0, rate[:, 0], 1.0), 0.0)
                gain = points.values[..., 2] - ratio * points.values[..., 1]
                left[:, 1:] = np.hypot(left[:, 1:], self.bending(combined, at, linear=False))
                gain_left = np.hypot(left[:, 2], ratio * left[:, 1])
            parts.append((np.array([weight]), gain, points.values[..., 1], gain_left, left[:, 1], reason))
        weights, gain, change, gain_left, change_left, reason = (
            np.concatenate(each, axis=-1) for each in zip(*parts, strict=True)
        )
        return _Path(weights, gain, change, gain_left, change_left, reason)


def solve(r: Array, f: Array, kappa: float, guess: tuple[float, float]) -> tuple[float, float]:
    """β and μ of the plug-in tilt by r + μ f with mean KL κ and an unchanged mean of f.

    They minimise the dual β κ + β E log E₀ e^{(r + μ f)/β}, which is convex; its derivatives are κ − KL and the change
    of the mean of f.

    Args:
        r, f: (prompts, samples), in units near their spread; NaN marks a missing sample.
        kappa: κ > 0, nats.
        guess: β and μ to start from.

    Returns:
        β and μ. If the samples do not reach this KL, β is near 0.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> f, rest = rng.normal(size=(2, 64, 256))
        >>> beta, weight = solve(0.6 * f + 0.8 * rest, f, 0.5, (1.0, 0.0))
        >>> round(beta, 1), round(weight, 1)  # 0.8 / √(2 κ), and −0.6
        (0.8, -0.6)
    """
    present, count = ~np.isnan(r), np.sum(~np.isnan(r), axis=1)
    centred, held = np.nan_to_num(centre(r)), np.nan_to_num(centre(f))

    def dual(x: np.ndarray) -> tuple[float, np.ndarray]:
        beta = float(np.exp(x[0]))
        c = (centred + x[1] * held) / beta
        top = np.max(c, axis=1, where=present, initial=-np.inf)
        e = np.exp(c - top[:, None], where=present, out=np.zeros_like(c))
        total = e.sum(axis=1)
        log_z = np.log(total / count) + top
        kl = np.einsum("ij,ij->i", e, c) / total - log_z
        change = np.einsum("ij,ij->i", e, held) / total
        return beta * (kappa + log_z.mean()), np.array([beta * (kappa - kl.mean()), change.mean()])

    start = np.array([np.log(guess[0]), guess[1]])
    found = scipy.optimize.minimize(dual, start, jac=True, method="BFGS", options={"gtol": 1e-7, "maxiter": 200})
    return float(np.exp(np.clip(found.x[0], -12.0, 12.0))), float(found.x[1])


def _rows(
    name: str, path: _Path, free: _Path, kappa: Array, boot: PromptBootstrap, scale: float, unit_f: float
) -> dict[str, np.ndarray]:
    """Columns of one tilt."""
    gain = path.gain.mean(axis=0)
    low, high = limit_interval(boot, path.gain, path.left)
    count = len(kappa)
    held = name == HELD
    change = np.zeros_like(path.change) if held else path.change
    change_low, change_high = limit_interval(boot, change, np.zeros(count) if held else path.change_left)
    lost, (lost_low, lost_high), lost_reason = np.full(count, np.nan), (np.full(count, np.nan),) * 2, path.reason
    if name != FREE:
        lost, lost_low, lost_high, lost_reason = _lost(path, free, boot)
    reasons = {
        "gain": path.reason,
        "change": np.full(count, "", dtype=object) if held else path.reason,
        "lost": np.full(count, NO_GAIN, dtype=object) if name == FREE else lost_reason,
    }
    out: dict[str, np.ndarray] = {
        "tilt": np.full(count, name, dtype=object), "kl": kappa, "weight": path.weight,
        "gain": scale * gain, "gain_low": scale * low, "gain_high": scale * high,
        "change": unit_f * change.mean(axis=0), "change_low": unit_f * change_low, "change_high": unit_f * change_high,
        "lost": lost, "lost_low": lost_low, "lost_high": lost_high,
        "reliable": path.reason == "", "reason": path.reason,
    }  # fmt: skip
    for quantity, reason in reasons.items():
        out |= {f"{quantity}_reliable": reason == "", f"{quantity}_reason": reason}
    return out


def _lost(path: _Path, free: _Path, boot: PromptBootstrap) -> tuple[Array, Array, Array, np.ndarray]:
    """Share of the free tilt's gain that another tilt does not reach, its interval, and why it is not reliable."""
    gain, whole = path.gain.mean(axis=0), free.gain.mean(axis=0)
    low_whole = boot.interval(free.gain)[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = gain / whole
        each = share + (path.gain - share * free.gain) / whole  # each prompt's influence on the ratio
        apart = np.maximum(path.left / np.abs(gain), free.left / np.abs(whole))
        low, high = limit_interval(boot, each, np.nan_to_num(np.abs(share) * apart))
    none = np.where(low_whole > 0, free.few, NO_GAIN).astype(object)
    return 1 - share, 1 - high, 1 - low, together(free.reason, path.reason, none)


def _explained(
    free: _Path, own: bool, slope: float, cross: Array, square: Array, boot: PromptBootstrap, count: int
) -> dict[str, np.ndarray]:
    """Share of the free tilt's gain that the slope predicts, b × change / gain, in its first rows."""
    rest = np.full(2 * count, np.nan)
    nothing = np.full(2 * count, NO_GAIN, dtype=object)
    if not own:
        empty = np.concatenate([rest, rest[:count]])
        reason = np.concatenate([nothing, nothing[:count]])
        return {"explained": empty, "explained_low": empty, "explained_high": empty} | {
            "explained_reliable": reason == "", "explained_reason": reason,
        }  # fmt: skip
    gain, change = free.gain.mean(axis=0), free.change.mean(axis=0)
    mean_square, mean_cross = square.mean(), cross.mean()
    with np.errstate(divide="ignore", invalid="ignore"):
        value = slope * change / gain
        # each prompt's influence on the product of two ratios
        each = (cross - mean_cross)[:, None] * change / (mean_square * gain)
        each = each - value * ((square - mean_square) / mean_square)[:, None]
        each = each + slope * (free.change - change) / gain - value * (free.gain - gain) / gain
        left = np.hypot(slope * free.change_left / gain, value * free.left / gain)
    low, high = limit_interval(boot, value + each, np.nan_to_num(left))
    # With one slope and spreads s of prompts it falls with var(s) / E s². Prompts that happen to be alike show too
    # small a variance, and too small an error of it.
    low = -no_lower_than_of_a_variance(boot, -(value + each), -low)
    low_gain = boot.interval(free.gain)[0]
    reason = together(free.reason, np.where(low_gain > 0, free.few, NO_GAIN).astype(object))
    reason = np.concatenate([reason, nothing])
    columns = {"explained": value, "explained_low": low, "explained_high": high}
    return {name: np.concatenate([values, rest]) for name, values in columns.items()} | {
        "explained_reliable": reason == "", "explained_reason": reason,
    }  # fmt: skip
