"""What the study says about published claims: holds, holds partly, does not hold, or cannot be told.

The claims are those of "Theoretical Limits of Language Model Alignment" (arXiv 2605.07105).
Every rule compares 95% intervals, never point estimates, uses reliable rows only, and is printed next to its verdict.
Differences and ratios get the widest interval their parts allow, so a verdict errs towards "cannot be told". The
thresholds are our choice.

What the study says about over-optimisation, a claim of Gao et al. (2210.10760) and of HedgeTune (2506.19248).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from alignment_limits.limits.onset import OPPOSED, OVER
from alignment_limits.report.headline import spearman
from alignment_limits.report.numbers import (
    Estimate,
    at_kl,
    best_of,
    estimate,
    fixed_beta,
    interval,
    number,
    peak,
    reference_kl,
    say_kl,
)

HOLDS, PARTLY, FAILS, UNKNOWN = "holds", "holds partly", "does not hold", "cannot be told"
NEAR = 0.85  # share of the limit called "near": Gaussian rewards give 0.91–0.94, exponential 0.66–0.78
PAIRS = 3  # fewest pairs of proxies that must differ surely before a trend in error is claimed
EXACT = 1e-9  # relative error of an identity that holds exactly in float64
CLOSE = 1e-3


@dataclass(frozen=True)
class Verdict:
    """A claim, one of the four verdicts, the numbers behind it, and the rule that led to it."""

    claim: str
    verdict: str
    sentence: str
    rule: str


def judge(for_it: int, against: int, cases: int) -> str:
    """Verdict on "in every case": all surely for it; some; none and one surely against; or nothing sure."""
    if cases and for_it == cases:
        return HOLDS
    if for_it:
        return PARTLY
    return FAILS if against else UNKNOWN


def claims(
    frontier: pl.DataFrame,
    best_of_n: pl.DataFrame,
    agreement: pl.DataFrame,
    *,
    gold: str,
    proxies: Sequence[str],
    members: Mapping[str, Sequence[str]],
) -> list[Verdict]:
    """All verdicts, in the paper's order.

    Args:
        agreement: from `within_prompt_spearman`.
        members: rewards of each ensemble.
    """
    return [
        identity(frontier),
        near_the_limit(best_of_n, gold),
        grows_with_error(frontier, agreement, gold, proxies),
        grows_with_inverse_beta(frontier, gold, proxies),
        ensembles_shrink(frontier, gold, members),
    ]


def identity(frontier: pl.DataFrame) -> Verdict:
    """gain = β·(KL + reverse KL) on every row at fixed β of a reward evaluated on itself, average budget."""
    rows = frontier.filter(
        (pl.col("at") == "beta") & (pl.col("budget") == "average") & (pl.col("optimized") == pl.col("evaluated"))
    ).filter(pl.all_horizontal(pl.col("gain", "beta", "kl", "kl_reverse").is_finite()))
    error = (pl.col("gain") - pl.col("beta") * (pl.col("kl") + pl.col("kl_reverse"))).abs()
    worst = rows.select((error / pl.max_horizontal(pl.col("gain").abs(), 1e-3)).max()).item()
    verdict = UNKNOWN if worst is None else HOLDS if worst <= EXACT else PARTLY if worst <= CLOSE else FAILS
    sentence = (
        "No tilt was tabulated."
        if worst is None
        else f"Over {rows.height} tilts of {rows['optimized'].n_unique()} rewards, gain and β × Jeffreys "
        f"differ by at most {worst:.1e} of the gain. This is an identity of the weighted sample: it checks "
        "the program, not the model. (Gain and both KLs carry one common correction factor, which cancels.)"
    )
    return Verdict(
        "The gain is β times the Jeffreys divergence, exactly in sample",
        verdict,
        sentence,
        f"largest relative error: up to {EXACT:g} holds, up to {CLOSE:g} partly",
    )


def near_the_limit(best_of_n: pl.DataFrame, gold: str) -> Verdict:
    """Best-of-n's share of the limit at its own KL against `NEAR`, over all reliable n ≥ 2."""
    found = {b: _shares(best_of_n, gold, b) for b in ("average", "per-prompt")}
    verdicts = {b: _near(s) for b, s in found.items()}
    verdict = _both(verdicts["average"], verdicts["per-prompt"], told=bool(found["per-prompt"]))
    sentence = " ".join(_say_shares(b, s) for b, s in found.items())
    undecided = [b for b, each in verdicts.items() if each == UNKNOWN]
    if verdict == PARTLY and undecided:
        sentence += f" The claim could not be decided for the {undecided[0]} budget, only for the other."
    return Verdict(
        "Best-of-n comes near the limit",
        verdict,
        sentence,
        f"near: the whole interval of the share is at least {NEAR:g}; far: all of it is below. All n near "
        "on the average budget: holds; some near on either budget: partly (best-of-n spends the same KL on "
        "every prompt, so the per-prompt limit is its own); none near and one far on both budgets: does "
        "not hold",
    )


def _shares(table: pl.DataFrame, gold: str, budget: str) -> dict[int, Estimate]:
    rows = best_of(table, gold, gold, budget).iter_rows(named=True)
    found = {int(r["n"]): estimate(r, "efficiency") for r in rows}
    return {n: e for n, e in found.items() if e.bounded}


def _both(average: str, per_prompt: str, *, told: bool) -> str:
    """The verdict over both budgets; `told` is whether the per-prompt budget has any share at all."""
    if average == HOLDS:
        return HOLDS
    if average == PARTLY or per_prompt in (HOLDS, PARTLY):
        return PARTLY
    return FAILS if average == FAILS and (per_prompt == FAILS or not told) else UNKNOWN


def _near(shares: Mapping[int, Estimate]) -> str:
    near = sum(e.low >= NEAR for e in shares.values())
    return judge(near, sum(e.high < NEAR for e in shares.values()), len(shares))


def _say_shares(budget: str, shares: Mapping[int, Estimate]) -> str:
    if not shares:
        return f"No n has a reliable share of the limit of the {budget} budget."
    parts = ", ".join(f"{interval(e)} at n = {n}" for n, e in shares.items())
    open_at = ", ".join(str(n) for n, e in shares.items() if e.low < NEAR <= e.high)
    undecided = f" Near or far could not be decided at n = {open_at}." if open_at else ""
    return f"Share of the {budget}-budget limit: {parts}.{undecided}"


def grows_with_error(frontier: pl.DataFrame, agreement: pl.DataFrame, gold: str, proxies: Sequence[str]) -> Verdict:
    """Over pairs of proxies that surely differ in error: does the worse one surely lose more gold?"""
    kl = reference_kl(frontier, gold)
    known = {p: (spearman(agreement, p), at_kl(frontier, p, gold, kl)) for p in proxies}
    known = {p: (rho, gain) for p, (rho, gain) in known.items() if rho.bounded and gain.bounded}
    signs = [_concordant(known[a], known[b]) for a, b in itertools.combinations(known, 2)]
    more, less = signs.count(1), signs.count(-1)
    told = HOLDS if not less else PARTLY if more > less else FAILS
    verdict = told if more + less >= PAIRS else UNKNOWN
    ranked = sorted(known, key=lambda p: -known[p][0].value)
    at = say_kl(kl)
    listed = _list(f"{p}: Spearman {number(known[p][0].value)}, gold {interval(known[p][1])}" for p in ranked)
    sentence = (
        f"Of {math.comb(len(proxies), 2)} pairs of proxies, {more + less} differ surely both in error and in "
        f"gold at {at}: in {more} the worse proxy loses more, in {less} less.{listed}"
    )
    return Verdict(
        "What a proxy loses grows with its error",
        verdict,
        sentence,
        f"error is 1 − within-prompt Spearman, loss is gold at {at} short of the ideal; a pair counts "
        f"when the intervals of both are disjoint. At least {PAIRS} such pairs, all with the worse proxy "
        "losing more: holds; most of them: partly; otherwise does not hold; fewer pairs: cannot be told",
    )


def _list(parts: Iterable[str]) -> str:
    """The parts as one more sentence; nothing if there are none."""
    text = "; ".join(parts)
    return f" {text}." if text else ""


def _concordant(a: tuple[Estimate, Estimate], b: tuple[Estimate, Estimate]) -> int:
    """1: the proxy that surely agrees less with gold surely gains less; −1: surely more; 0: not sure."""
    return _surely(a[0], b[0]) * _surely(a[1], b[1])


def _surely(a: Estimate, b: Estimate) -> int:
    return (a.low > b.high) - (a.high < b.low)


def grows_with_inverse_beta(frontier: pl.DataFrame, gold: str, proxies: Sequence[str]) -> Verdict:
    """Loss in gain − β·KL under a proxy's tilt: larger at the strongest tilt than at the weakest?"""
    losses = {p: loss_by_beta(frontier, gold, p) for p in proxies}
    ends = {p: (x[0], x[-1]) for p, x in losses.items() if len(x) > 1}
    more = sum(_surely(last[1], first[1]) == 1 for first, last in ends.values())
    less = sum(_surely(last[1], first[1]) == -1 for first, last in ends.values())
    listed = _list(
        f"{p}: {interval(first[1])} at β = {first[0]:g}, {interval(last[1])} at β = {last[0]:g}"
        for p, (first, last) in ends.items()
    )
    sentence = f"Loss of {more} of {len(proxies)} proxies surely grows as β falls.{listed}"
    return Verdict(
        "What a proxy loses grows with 1/β",
        verdict=judge(more, less, len(proxies)),
        sentence=sentence,
        rule="loss is the ideal's gain − β·KL minus that of the proxy's tilt, both in gold; the intervals "
        "at the weakest and at the strongest reliable tilt must be disjoint. All proxies grow: holds; "
        "some: partly; none and one falls: does not hold",
    )


def loss_by_beta(frontier: pl.DataFrame, gold: str, proxy: str) -> list[tuple[float, Estimate]]:
    """(β, regularised loss in base s.d. of gold) from the weakest reliable tilt to the strongest."""
    ideal = {r["beta"]: r for r in fixed_beta(frontier, gold, gold).iter_rows(named=True)}
    out = []
    for row in fixed_beta(frontier, proxy, gold).iter_rows(named=True):
        beta = row["beta"]
        if beta in ideal:
            loss = _objective(ideal[beta], beta) - _objective(row, beta)
            if loss.bounded:
                out.append((float(beta), loss))
    return out


def _objective(row: dict[str, object], beta: float) -> Estimate:
    return estimate(row, "gain") - estimate(row, "kl").times(beta)


def ensembles_shrink(frontier: pl.DataFrame, gold: str, members: Mapping[str, Sequence[str]]) -> Verdict:
    """Gold at the reference KL under each ensemble against its members' mean, and against its best member."""
    kl = reference_kl(frontier, gold)
    at = say_kl(kl)
    better = worse = best = 0
    parts = []
    for name, rewards in members.items():
        gain = at_kl(frontier, name, gold, kl)
        each = [at_kl(frontier, r, gold, kl) for r in rewards]
        if not gain.bounded or not each or not all(e.bounded for e in each):
            continue
        low, mid, high = (math.fsum(getattr(e, k) for e in each) / len(each) for k in ("low", "value", "high"))
        better += gain.low > high
        worse += gain.high < low
        best += gain.low > max(e.high for e in each)
        parts.append(f"{name}: {interval(gain)}, members' mean {interval(Estimate(mid, low, high, True, ''))}")
    sentence = (
        f"Of {len(members)} ensembles, {better} surely keep more gold at {at} than their members do on "
        f"average, {worse} surely less, and {best} surely beat their best member.{_list(parts)}"
    )
    return Verdict(
        "Ensembles shrink the loss",
        judge(better, worse, len(members)),
        sentence,
        f"an ensemble's gold at {at} against the mean of its members': the intervals must be disjoint. "
        "All ensembles better: holds; some: partly; none and one worse: does not hold",
    )


PATHS = {"tilt": ("tilted ever harder", "nats"), "best-of-n": ("along best-of-n", "draws")}


def turns_down(over_optimisation: pl.DataFrame, proxies: Sequence[str]) -> Verdict:
    """Does gold first rise and then fall significantly, on either path, as each proxy is optimised harder?

    That it does not cannot be shown: the samples reach only so far, and a fall may lie beyond. A proxy under which
    gold falls from the start is opposed to gold: that is another finding, and counted by itself.

    Args:
        over_optimisation: `limits/over_optimisation.parquet`.
    """
    rows = over_optimisation.filter(pl.col("optimized").is_in(list(proxies)))
    turned = set(_with(OVER, rows)["optimized"])
    opposed = sorted(set(_with(OPPOSED, rows)["optimized"]) - turned)
    first = (
        f"Of {len(proxies)} proxies, {len(turned)} significantly raise gold and then take it down, on one path or both."
    )
    are = "is" if len(opposed) == 1 else "are"
    against = f"{', '.join(opposed)} {are} opposed to gold: it falls from the start, which is no over-optimisation."
    paths = [_say(path, rows.filter(pl.col("path") == path)) for path in PATHS]
    return Verdict(
        "Optimised hard enough, a proxy takes gold down again (Gao et al., arXiv 2210.10760)",
        judge(len(turned), 0, len(proxies)),
        " ".join(part for part in (first, against if opposed else "", *paths, _forms(rows)) if part),
        "gold turns when the intervals of its rise to the peak and of its fall from there to the path's reliable end "
        "both exclude 0; where it ends significantly below the base without such a rise, the proxy is opposed to "
        "gold, which does not count. All proxies turn: holds; some: partly; none: cannot be told, for gold may turn "
        "where these samples do not reach. Gao et al. saw it for trained policies and one family of reward models; "
        "that is not repeated here",
    )


def _with(finding: str, rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(pl.col("finding") == finding)


def _say(path: str, rows: pl.DataFrame) -> str:
    words, unit = PATHS[path]
    names = _with(OVER, rows)["optimized"].to_list()
    peaks = {name: peak(rows, name, path) for name in names}
    listed = "; ".join(f"{n} from {interval(e)} {unit}" if e.known else f"{n} ({e.reason})" for n, e in peaks.items())
    ends = rows.filter(pl.col("end").is_finite())["end"].to_list()
    if not ends:
        return f"{words.capitalize()}, no path could be judged."
    low, high = f"{min(ends):.2g}", f"{max(ends):.2g}"
    reach = f"to {low} {unit}" if low == high else f"to between {low} and {high} {unit}"
    return f"{words.capitalize()} ({reach}), gold falls for {listed or 'none'}."


def _forms(rows: pl.DataFrame) -> str:
    """How many paths along best-of-n the form d(alpha - beta d) describes, and bends downwards."""
    rows = rows.filter(pl.col("path") == "best-of-n")
    fits = rows.filter("fit_reliable")
    if not rows.height:
        return ""
    bent = fits.filter(pl.col("beta_low") > 0).height
    return (
        f"Their form d(α − β·d), d = √KL, describes best-of-n by {fits.height} of {rows.height} proxies (misfit at "
        f"most 5% of the largest gain), with β significantly positive for {bent}: gains that flatten, which alone is "
        "no turn."
    )
