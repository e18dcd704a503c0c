"""How many prompts, and samples of each, a study needs: from a pilot, for given KLs and interval width."""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike

from alignment_limits.errors import EstimateError
from alignment_limits.limits.arrays import Array, check_scores
from alignment_limits.limits.bootstrap import normal_quantile
from alignment_limits.limits.curve import CorrectedCurve
from alignment_limits.limits.diagnostics import (
    FEWEST_PROMPTS,
    FEWEST_SAMPLES,
    HEAVY_TAIL,
    SMALLEST_ESS,
    tail_ratio,
)
from alignment_limits.limits.picks import SAMPLES_PER_DRAW

HEAVY = "heavy upper tail: intervals fall short with any number of prompts"
MARGIN = 1.2  # a pilot's effective sample size is itself an estimate


@dataclass(frozen=True)
class Plan:
    """One row per KL, equal 1-D arrays.

    prompts : needed for the half-width asked for. samples : per prompt, for a reliable verdict at this KL.
    half_width : relative half-width the pilot itself reaches. reason : what sets `samples`, or why there is no
    answer (then prompts is NaN and samples a lower bound).
    """

    kl: Array
    gain: Array
    half_width: Array
    prompts: Array
    samples: Array
    reason: np.ndarray

    def columns(self) -> dict[str, np.ndarray]:
        """Columns by name, in order."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def plan(
    pilot: ArrayLike,
    kls: ArrayLike,
    *,
    half_width: float = 0.05,
    most_draws: int = 1,
    budget: str = "average",
    level: float = 0.95,
    seed: int = 0,
) -> Plan:
    """Prompts and samples per prompt for a relative interval of +- `half_width` of the limit at each KL.

    Parameters
    ----------
    pilot : (P, M) scores of a small study of the same prompts' kind, at least 16 x 16.
    most_draws : largest n of best-of-n to be compared with the limit (needs 16 n samples).

    Notes
    -----
    Prompts: (z sd / (half_width gain))^2 with the sd of per-prompt contributions at the pilot's M. Samples: the
    verdict asks for an effective sample size of 10 and for quarters that can show the KL, M > 4 e^KL; how fast the
    effective size grows with M is read from the pilot and its halves (with a margin of 20%).
    """
    scores = check_scores(pilot, "pilot")
    kappa = np.atleast_1d(np.asarray(kls, dtype=np.float64))
    prompts = len(scores)
    room = int(np.median(np.sum(~np.isnan(scores), axis=1)))
    if prompts < FEWEST_PROMPTS or room < FEWEST_SAMPLES:
        raise EstimateError(
            f"A pilot of {prompts} prompts x {room} samples cannot plan a study; it needs {FEWEST_PROMPTS} x "
            f"{FEWEST_SAMPLES} or more."
        )
    if not half_width > 0:
        raise EstimateError(f"half_width {half_width} must be positive.")
    points = CorrectedCurve(scores, budget=budget, seed=seed).at(kappa)
    gain, sd = points.values[..., 0].mean(axis=0), points.values[..., 0].std(axis=0, ddof=1)
    size = np.median(points.ess, axis=0)
    growth = _growth(scores, points.inverse, size, seed)
    heavy = tail_ratio(scores) > HEAVY_TAIL
    z = normal_quantile(level)
    rows: dict[str, list[object]] = {name: [] for name in ("prompts", "samples", "reason")}
    for j, each in enumerate(kappa):
        floor = {
            f"best-of-{most_draws} against the limit": float(SAMPLES_PER_DRAW * most_draws),
            "quarters of the samples must show this KL": 4.0 * np.exp(each),
            "the fewest any estimate needs": float(FEWEST_SAMPLES),
        }
        shown = not heavy and points.reached[j] == 3 and np.isfinite(gain[j]) and gain[j] > 0
        without = HEAVY if heavy else f"the pilot's {room} samples cannot show this KL"
        needed = np.nan
        if shown:
            floor["effective sample size"] = room * (MARGIN * SMALLEST_ESS / size[j]) ** (1.0 / growth[j])
            needed = max(float(np.ceil((z * sd[j] / (half_width * gain[j])) ** 2)), FEWEST_PROMPTS)
        cause = max(floor, key=lambda name: floor[name])
        rows["prompts"].append(needed)
        rows["samples"].append(np.ceil(floor[cause]))
        rows["reason"].append(cause if shown else without)
    with np.errstate(divide="ignore", invalid="ignore"):
        reached = z * sd / np.sqrt(prompts) / gain
    return Plan(
        kappa,
        gain,
        reached,
        np.array(rows["prompts"], dtype=np.float64),
        np.array(rows["samples"], dtype=np.float64),
        np.array(rows["reason"], dtype=object),
    )


def _growth(scores: Array, inverse: Array, size: Array, seed: int) -> Array:
    """Power b of ESS ~ M^b at fixed lambda, from all samples against a random half of them; between 1/3 and 1."""
    rng = np.random.default_rng(seed)
    halved = np.where(rng.random(scores.shape) < 0.5, scores, np.nan)
    below = halved - np.nanmax(np.where(np.isnan(halved), -np.inf, halved), axis=1, keepdims=True)
    out = np.ones(inverse.shape[1])
    for j in range(inverse.shape[1]):
        lam = inverse[:, j][:, None]
        if not np.all(np.isfinite(lam)):
            continue
        with np.errstate(invalid="ignore"):
            e = np.where(np.isfinite(below), np.exp(np.where(np.isfinite(below), lam * below, 0.0)), 0.0)
        total = e.sum(axis=1)
        known = total > 0
        half = float(np.median(total[known] ** 2 / (e[known] ** 2).sum(axis=1)))
        out[j] = np.clip(np.log2(size[j] / half), 1 / 3, 1.0)
    return out
