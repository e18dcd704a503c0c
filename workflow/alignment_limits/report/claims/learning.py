"""Policies compared seed by seed: every seed is a world and data of its own, in which all objectives learn.

Verdicts on the claims of [B]: each holds, holds partly, does not hold, or cannot be decided.

Intervals are over seeds, each a world and data of its own; differences between objectives are paired by seed. [B] is
"Beyond RLHF: A Unified Theoretical Framework of Alignment" (arXiv 2506.01523); the thresholds are our choice.

Beyond the paper's toy: smaller reward classes, the pairs' coverage, and which objective wrong data hurt least.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from alignment_limits.preferences.objectives import first_setting
from alignment_limits.preferences.rates import mean_interval
from alignment_limits.report.claims.limits import FAILS, HOLDS, PARTLY, UNKNOWN, Verdict, judge
from alignment_limits.report.numbers import Estimate, interval, number
from alignment_limits.study.objectives import in_order, named


def paired(rows: pl.DataFrame, tuning: str, a: str, b: str) -> Estimate:
    """Mean over seeds of the forward KL of a minus that of b, with its 95% interval; infinite where one ran away."""
    chosen = rows.filter(pl.col("tuning") == tuning)
    both = chosen.filter(pl.col("objective") == a).join(chosen.filter(pl.col("objective") == b), on=["seed", "n"])
    left, right = both["forward_kl"].to_numpy(), both["forward_kl_right"].to_numpy()
    sure = int(np.isfinite(left).all()) - int(np.isfinite(right).all())
    if sure:  # one always finite, the other not: known without a t-test
        return Estimate(-sure * np.inf, -sure * np.inf, -sure * np.inf)
    with np.errstate(invalid="ignore"):
        return Estimate(*mean_interval(left - right))


def last(rows: pl.DataFrame) -> int:
    """The largest n."""
    return int(rows["n"].to_numpy().max())


def sizes(rows: pl.DataFrame) -> list[int]:
    """All n, in order."""
    return list(rows["n"].unique().sort())


def of_row(row: Mapping[str, Any]) -> Estimate:
    """A row's value with its interval."""
    return Estimate(row["value"], row["low"], row["high"], True, "")


def listed(sizes_: Sequence[int]) -> str:
    """`no n`, or `n =` and the sizes, several by their ends."""
    if not sizes_:
        return "no n"
    several = f" to {sizes_[-1]:,} ({len(sizes_)} sizes)" if len(sizes_) > 1 else ""
    return f"n = {sizes_[0]:,}{several}"


THREE = ("pmle", "distillation", "reverse-kl")
SAME = 1e-6  # relative difference of two exact solutions of one problem
RATE = 0.05  # of a slope from −1
NEAR = 1.1  # of the oracle's distance


def learning_claims(
    rates: pl.DataFrame, summary: pl.DataFrame, slopes: pl.DataFrame, p: Mapping[str, Any]
) -> list[Verdict]:
    """All verdicts that the study's tables can give.

    Args:
        rates, summary, slopes: `learning/*.parquet`.
        p: the study file's `learning`: world, slope_from, objectives, settings.
    """
    setting, level = first_setting(summary)
    here = (pl.col("setting") == setting) & (pl.col("level") == level)
    own, means, lines = rates.filter(here & (pl.col("n") > 0)), summary.filter(here), slopes.filter(here)
    out = []
    if p["world"]["reward_dimension"] is None and setting == "as-modelled":
        out += [coincide(own), rate(lines, p["slope_from"]), diverge(means, p["slope_from"])]
    if {"reverse-kl", "rlhf"} <= set(p["objectives"]):
        out += [never_worse(own), levels_off(means)]
    if lines.filter(pl.col("quantity") == "excess").height:
        out.append(floors(lines))
        if "rlhf" in p["objectives"]:
            out.append(collapses(lines, means))
    out.append(honest(means, p["slope_from"]))
    if "reward-dimension" in p["settings"]:
        out.append(smaller_class(rates, p["world"]))
    if "tempered-pairs" in p["settings"]:
        out.append(coverage(summary))
    return out


def coincide(rows: pl.DataFrame) -> Verdict:
    """PMLE, distillation and reverse KL at β = 0, seed by seed and n by n."""
    wide = rows.filter(
        (pl.col("tuning") == "none") & pl.col("objective").is_in(THREE) & pl.col("forward_kl").is_finite()
    )
    found = wide.group_by("seed", "n").agg(
        count=pl.len(), spread=(pl.col("forward_kl").max() - pl.col("forward_kl").min()) / pl.col("forward_kl").max()
    )
    found = found.filter(pl.col("count") == len(THREE))
    worst = float(found["spread"].to_numpy().max(initial=0))
    verdict = UNKNOWN if not found.height else HOLDS if worst <= SAME else FAILS
    sentence = (
        f"In {found.height} data sets that determine a policy, the distances of the three solvers to the target differ "
        f"by a relative {worst:.1e} at most."
    )
    return Verdict(
        "Without regularisation PMLE, distillation and reverse KL are one estimator in a tabular class",
        verdict,
        sentence,
        f"The claim holds if the largest relative difference of the forward KL is at most {SAME:g}",
    )


def rate(slopes: pl.DataFrame, slope_from: int) -> Verdict:
    """Slopes of log forward KL against log n at β = 0."""
    rows = slopes.filter(
        (pl.col("quantity") == "slope") & (pl.col("tuning") == "none") & pl.col("objective").is_in(THREE)
    )
    found = {r["objective"]: of_row(r) for r in rows.iter_rows(named=True)}
    within = sum(e.low >= -1 - RATE and e.high <= -1 + RATE for e in found.values())
    outside = sum(e.high < -1 - RATE or e.low > -1 + RATE for e in found.values())
    return Verdict(
        "The forward KL to the target falls as 1/n",
        judge(within, outside, len(found)),
        f"A rate of 1/n is a slope of −1 of log KL against log n, here from n = {slope_from:,} on.",
        f"The claim holds if the interval of each slope is within −1 ± {RATE:g}, and partly if some are. It does not "
        "hold if none is and one interval is outside that range",
        tuple(f"{named(o)}: slope {interval(e)}" for o, e in found.items()),
    )


def diverge(means: pl.DataFrame, slope_from: int) -> Verdict:
    """Share of seeds whose data determine an unregularised policy, by n."""
    rows = means.filter((pl.col("tuning") == "none") & (pl.col("objective") == "pmle") & (pl.col("n") > 0))
    share = dict(rows.filter(pl.col("quantity") == "forward_kl").sort("n").select("n", "finite").iter_rows())
    below = [s for n, s in share.items() if n < slope_from]
    above = [s for n, s in share.items() if n >= slope_from]
    text = ", ".join(f"{100 * s:.0f} % at n = {n:,}" for n, s in share.items() if s < 1 or n == slope_from)
    verdict = (
        UNKNOWN if not below or not above else HOLDS if max(above) == min(above) == 1 and min(below) < 1 else PARTLY
    )
    return Verdict(
        "Few pairs are separable, and without regularisation the policies diverge",
        verdict,
        f"Seeds whose pairs determine a finite policy in every context: {text}.",
        f"The claim holds if the pairs of all seeds determine a policy from n = {slope_from:,} on, and those of some "
        "seed do not below (Ford's condition, checked exactly)",
    )


def never_worse(rows: pl.DataFrame) -> Verdict:
    """Forward KL of reverse KL minus RLHF's, paired by seed, for both ways of choosing β."""
    parts, better, worse, cases = [], 0, 0, 0
    for tuning in ("oracle", "held-out"):
        found = {n: paired(rows.filter(pl.col("n") == n), tuning, "reverse-kl", "rlhf") for n in sizes(rows)}
        sure = [n for n, e in found.items() if e.high < 0]
        lost = [n for n, e in found.items() if e.low > 0]
        better, worse, cases = better + len(sure), worse + len(lost), cases + len(found)
        by = f", significantly farther at {listed(lost)}" if lost else ""
        from_n = f"significantly nearer at {listed(sure)}"
        way = "β of the oracle" if tuning == "oracle" else "β chosen on held-out pairs"
        parts.append(f"{way}: {from_n}{by}, of {len(found)} n")
    verdict = FAILS if worse and not better else PARTLY if worse else HOLDS if better else UNKNOWN
    return Verdict(
        "With β tuned for each n, reverse KL does no worse than RLHF",
        verdict,
        f"Reverse KL is significantly nearer to the target than RLHF in {better} of {cases} comparisons, and farther "
        f"in {worse}.",
        "The mean difference of the forward KL is paired by seed. The claim holds if it is significantly smaller at "
        "some n and significantly larger at none",
        tuple(parts),
    )


def levels_off(means: pl.DataFrame) -> Verdict:
    """Both at the largest n, compared with RLHF's best over all β on the population."""
    rows = means.filter((pl.col("quantity") == "forward_kl") & (pl.col("tuning") == "oracle"))
    largest = last(rows)

    def at(objective: str, n: object) -> Estimate:
        found = rows.filter((pl.col("objective") == objective) & (pl.col("n") == n))
        return of_row(found.row(0, named=True))

    ours, theirs, floor = at("reverse-kl", largest), at("rlhf", largest), at("rlhf", 0)
    base = means.filter(
        (pl.col("quantity") == "forward_kl") & (pl.col("objective") == "base") & (pl.col("n") == largest)
    )
    holds = ours.high < floor.value / 2 and theirs.high >= floor.value
    verdict = HOLDS if holds else PARTLY if ours.high < theirs.low else FAILS if ours.low > theirs.high else UNKNOWN
    sentence = (
        f"At n = {largest:,} the distance of reverse KL is {interval(ours)} nats, that of RLHF {interval(theirs)} "
        f"nats. On the population, RLHF's smallest distance over the grid of β is {number(floor.value)} nats. The base "
        f"model is at {number(base['value'][0])} nats."
    )
    return Verdict(
        "Reverse KL goes to the target, RLHF levels off well above",
        verdict,
        sentence,
        "The claim holds if reverse KL at the largest n is significantly below half of RLHF's best on the population, "
        "and RLHF is not significantly below that best. It holds partly if reverse KL is only significantly nearer "
        "than RLHF",
    )


def floors(slopes: pl.DataFrame) -> Verdict:
    """Intercepts of forward KL in 1/n at fixed β against the population minimisers."""
    excess = slopes.filter(pl.col("quantity") == "excess")
    found = {(r["objective"], r["beta"]): of_row(r) for r in excess.iter_rows(named=True)}
    exact = {
        (r["objective"], r["beta"]): (r["value"], r["exact"])
        for r in slopes.filter(pl.col("quantity") == "floor").iter_rows(named=True)
    }
    match = [k for k, e in found.items() if e.low <= 0 <= e.high]
    near = [k for k, e in found.items() if k not in match and abs(e.value) <= 0.05 * exact[k][1]]
    verdict = HOLDS if len(match) == len(found) else PARTLY if len(match) + len(near) == len(found) else FAILS
    return Verdict(
        "At fixed β each method stops at the population minimiser of its objective",
        verdict,
        f"{len(match)} of {len(found)} floors agree with the exact values, and {len(near)} more are within 5%.",
        "A floor is the intercept of the forward KL in 1/n over the last five n. It agrees if the interval of its mean "
        "difference from the exact value, seed by seed, contains 0. The claim holds if all floors agree, and partly if "
        "the others are within 5% of the exact value",
        tuple(f"{named(o)} at β = {b:g}: measured {number(v)}, exact {number(x)}" for (o, b), (v, x) in exact.items()),
    )


def collapses(slopes: pl.DataFrame, means: pl.DataFrame) -> Verdict:
    """RLHF's exact floors at fixed β, compared with the distance of the base model."""
    rows = slopes.filter((pl.col("quantity") == "floor") & (pl.col("objective") == "rlhf")).sort("beta")
    exact = dict(rows.select("beta", "exact").iter_rows())
    base = means.filter((pl.col("quantity") == "forward_kl") & (pl.col("objective") == "base"))["value"][0]
    first, *_, last = exact.values()
    verdict = HOLDS if first > base > last > 0 else PARTLY if first > last > 0 else FAILS
    return Verdict(
        "RLHF under-fits at any fixed β, and collapses as β falls",
        verdict,
        f"These are exact distances of RLHF on the population. The base model is at {number(base)} nats.",
        "The claim holds if RLHF is farther from the target than the base model at the smallest fixed β, and nearer, "
        "but not at the target, at the largest",
        tuple(f"forward KL {number(x)} nats at β = {b:g}" for b, x in exact.items()),
    )


def honest(means: pl.DataFrame, slope_from: int) -> Verdict:
    """Forward KL with β chosen on held-out pairs over that with the oracle's β."""
    rows = means.filter((pl.col("quantity") == "forward_kl") & (pl.col("n") > 0))
    wide = rows.filter(pl.col("tuning") == "oracle").join(
        rows.filter(pl.col("tuning") == "held-out"), on=["objective", "n"], suffix="_own"
    )
    wide = wide.filter(pl.col("value").is_finite() & pl.col("value_own").is_finite())
    wide = wide.with_columns(ratio=pl.col("value_own") / pl.col("value"))
    large = wide.filter(pl.col("n") >= slope_from)
    near, far = int((large["ratio"] <= NEAR).sum()), int((large["ratio"] > NEAR).sum())
    worst = [
        f"{named(o)}: at most {part['ratio'].to_numpy().max():.3g} times the oracle's"
        for (o,), part in large.group_by(["objective"], maintain_order=True)
    ]
    few = wide.filter(pl.col("n") < slope_from)["ratio"].to_numpy()
    below = f" Below that n the ratio is up to {few.max():.3g}." if few.size else ""
    return Verdict(
        "A coefficient chosen on held-out pairs does as well as the oracle's",
        judge(near, far, near + far),
        f"The ratio of the mean forward KL to the oracle's is given from n = {slope_from:,} on.{below}",
        f"The claim holds if the ratio is at most {NEAR:g} in every case from n = {slope_from:,} on, and partly if in "
        "some",
        tuple(worst),
    )


def smaller_class(rates: pl.DataFrame, world: Mapping[str, Any]) -> Verdict:
    """Reverse KL with linear rewards against PMLE and DPO in the full policy class, at the same pairs."""
    rows = rates.filter((pl.col("setting") == "reward-dimension") & (pl.col("n") > 0))
    true, full = world["target_dimension"], world["contexts"] * (world["responses"] - 1)
    parts, good, bad, cases = [], 0, 0, 0
    rivals = [o for o in ("pmle", "dpo") if o in rows["objective"].unique()]
    for level in rows["level"].unique().sort():
        own = rows.filter(pl.col("level") == level)
        for rival in rivals:
            found = {n: paired(own.filter(pl.col("n") == n), "held-out", "reverse-kl", rival) for n in sizes(own)}
            nearer, farther = [n for n, e in found.items() if e.high < 0], [n for n, e in found.items() if e.low > 0]
            parts.append(
                f"d = {level:g}, compared with {named(rival)}: nearer at {listed(nearer)}, farther at {listed(farther)}"
            )
            if true <= level <= full / 2 and rival == "pmle":
                good, bad, cases = good + bool(nearer and not farther), bad + bool(farther), cases + 1
    return Verdict(
        "Reverse KL is nearer than PMLE where rewards are a smaller class than policies",
        judge(good, bad, cases),
        f"The target needs d = {true} reward features. A table of all rewards has d = {full}.",
        "The claim holds if reverse KL is significantly nearer at some n and significantly farther at none, for every "
        "d from the target's to half of the table's. Differences are paired by seed, with β chosen on held-out pairs",
        tuple(parts),
    )


def coverage(summary: pl.DataFrame) -> Verdict:
    """n · forward KL without regularisation at the largest n, against the closed form's constant, by sampler."""
    largest = last(summary)
    rows = summary.filter(pl.col("setting").is_in(["tempered-pairs", "best-of-n-pairs"]) & (pl.col("n") == largest))
    rows = rows.filter((pl.col("tuning") == "none") & pl.col("objective").is_in(["pmle", "reverse-kl"]))
    keys = ["setting", "level", "objective"]
    wide = rows.filter(pl.col("quantity") == "forward_kl").join(
        rows.filter(pl.col("quantity") == "predicted").select(*keys, predicted="value"), on=keys
    )
    known = wide.filter(pl.col("value").is_finite() & pl.col("predicted").is_finite()).sort(keys)
    near = known.filter((pl.col("low") <= 1.1 * pl.col("predicted")) & (pl.col("high") >= 0.9 * pl.col("predicted")))
    cases = tuple(
        f"{r['setting']} {r['level']:g}, {named(r['objective'])}: measured {number(r['value'])}, predicted "
        f"{number(r['predicted'])}"
        for r in known.iter_rows(named=True)
    )
    return Verdict(
        "The constant of the rate is that of the pair sampler's coverage",
        judge(near.height, known.height - near.height, known.height),
        f"The forward KL at n = {largest:,} is compared with its first-order prediction in {known.height} cases. In "
        f"{wide.height - known.height} further cases some seed has no finite policy.",
        "The claim holds if the interval of the mean meets ±10% of the first-order prediction in every case",
        cases,
    )


def nearest(rates: pl.DataFrame, summary: pl.DataFrame) -> list[list[str]]:
    """For every setting and level at the largest n, with β from held-out pairs: the objective of least mean forward KL.

    Returns:
        setting and level, the nearest objective, its distance, those significantly farther (paired by seed), those not.
    """
    n = last(summary)
    own = rates.filter((pl.col("n") == n) & (pl.col("tuning") == "held-out"))
    means = summary.filter((pl.col("n") == n) & (pl.col("tuning") == "held-out") & (pl.col("quantity") == "forward_kl"))
    out = []
    for (setting, level), part in means.group_by(["setting", "level"], maintain_order=True):
        best = part.sort("value").row(0, named=True)
        rows = own.filter((pl.col("setting") == setting) & (pl.col("level") == level))
        others = [o for o in in_order(part["objective"]) if o != best["objective"]]
        apart = [o for o in others if paired(rows, "held-out", best["objective"], o).high < 0]
        distance = interval(Estimate(best["value"], best["low"], best["high"]))
        rest = [o for o in others if o not in apart]
        names = [", ".join(map(named, some)) or "–" for some in (apart, rest)]
        out.append([f"{setting} {level:g}", named(best["objective"]), distance, *names])
    return out
