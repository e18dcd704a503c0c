"""Beyond the paper's toy: smaller reward classes, the pairs' coverage, and which objective wrong data hurt least."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from alignment_limits.learning.names import in_order, named
from alignment_limits.report.claims import Verdict, judge
from alignment_limits.report.lookup import Estimate
from alignment_limits.report.paired import last, listed, paired, sizes
from alignment_limits.report.text import interval, number


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
                f"d = {level:g} against {named(rival)}: nearer at n = {listed(nearer)}, farther at {listed(farther)}."
            )
            if true <= level <= full / 2 and rival == "pmle":
                good, bad, cases = good + bool(nearer and not farther), bad + bool(farther), cases + 1
    return Verdict(
        "Reverse KL is nearer than PMLE where rewards are a smaller class than policies",
        judge(good, bad, cases),
        f"The target needs d = {true}, a table {full}. " + " ".join(parts),
        "surely nearer at some n and surely farther at none (paired, β held out), for every d from the target's to "
        "half of the table's",
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
    held = known.filter((pl.col("low") <= 1.1 * pl.col("predicted")) & (pl.col("high") >= 0.9 * pl.col("predicted")))
    text = "; ".join(
        f"{r['setting']} {r['level']:g}, {named(r['objective'])}: {number(r['value'])} for {number(r['predicted'])}"
        for r in known.iter_rows(named=True)
    )
    return Verdict(
        "The constant of the rate is that of the pair sampler's coverage",
        judge(held.height, known.height - held.height, known.height),
        f"Forward KL at n = {largest:,} for the first-order one, by sampler: {text}. {wide.height - known.height} "
        "further cases have no finite policy in some seed.",
        "the mean's interval meets ±10 % of the first-order prediction in every case",
    )


def nearest(rates: pl.DataFrame, summary: pl.DataFrame) -> list[list[str]]:
    """For every setting and level at the largest n, β held out: the objective of least mean forward KL.

    Returns:
        setting and level, the nearest objective, its distance, those surely farther (paired by seed), those not.
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
